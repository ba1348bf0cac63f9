"""Reading runs from where they were logged."""
