"""Printing long texts."""

import os
import sys


def print_while_read(text: str) -> None:
    """Print a text, as far as it is read: `head` and `less` may end before."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes there when it ends
