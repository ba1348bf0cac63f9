"""Reads runs from where they were logged, and finds those that belong together."""
