"""How many random problems a test tries: few by default, many under `pytest --exhaustive`."""

import os

EXHAUSTIVE = bool(os.environ.get("EXHAUSTIVE"))


def trials(few: int, many: int) -> range:
    """Return the seeds of the problems to try; a failure names its seed."""
    return range(many if EXHAUSTIVE else few)
