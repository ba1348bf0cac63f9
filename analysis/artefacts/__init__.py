"""One module for each table and figure of the paper: its build(runs) returns the artefact."""
