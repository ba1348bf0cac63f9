"""Progress bars, on a terminal and in a log."""

import sys


def refresh_interval() -> float:
    """Return the seconds between two states of a progress bar: a log file is no screen."""
    return 0.1 if sys.stderr.isatty() else 30.0
