"""Printing long texts."""

import os
import sys


def print_while_read(text: str) -> None:
    """Print a text, as far as it is read: `head` and `less` may end before.

    Characters that the locale's encoding lacks, as ISO 8859 lacks – and δ, become question marks.
    """
    encoding = sys.stdout.encoding or "utf-8"  # a StringIO has none
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes there when it ends
