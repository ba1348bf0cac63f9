"""How many random problems a test tries: few by default, many under `pytest --exhaustive`."""

import os


def trials(few: int, many: int) -> range:
    """Return the seeds of the problems to try; a failure names its seed."""
    return range(many if os.environ.get("EXHAUSTIVE") else few)
