"""Progress bars, on a terminal and in a log."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def refresh_interval() -> float:
    """Return the seconds between two states of a progress bar: a log file is no screen."""
    return 0.1 if sys.stderr.isatty() else 30.0


def progress_bar(items: Iterable[T], description: str) -> "tqdm[T]":
    """Return an iterator over items that shows, from half a second on, how many are done and the time left."""
    return tqdm(items, desc=description, delay=0.5, leave=False, mininterval=refresh_interval())
