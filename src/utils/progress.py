"""Progress bars, on a terminal and in a log."""

import sys
from collections.abc import Iterable, Sized
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def refresh_interval() -> float:
    """Return the seconds between two updates of a progress bar: few on a terminal, many in a log file."""
    return 0.1 if sys.stderr.isatty() else 30.0


def progress_bar(items: Iterable[T], description: str, *, done: int = 0, shown: bool = True) -> "tqdm[T]":
    """Return an iterator over items that shows, after half a second, how many are done and the time left.

    Args:
        items: those that are left.
        description: before the bar.
        done: how many were done before, as by an interrupted run.
        shown: False for a process that shows nothing, as with several processes all but one.
    """
    return tqdm(
        items,
        desc=description,
        total=done + len(items) if isinstance(items, Sized) else None,
        initial=done,
        delay=0.5,
        leave=False,
        mininterval=refresh_interval(),
        disable=not shown,
    )
