"""The paper's tables and figures, rebuilt from W&B logs: `python -m analysis table1`."""
