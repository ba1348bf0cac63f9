"""Reads the numbers that the paper publishes."""

import pandas as pd

from src.utils import paths


def published_table(name: str) -> pd.DataFrame:
    """Return a table of the paper: "table1" to "table6"; NaN where it has a dash."""
    return pd.read_csv(paths.ANALYSIS / f"paper/{name}.csv")
