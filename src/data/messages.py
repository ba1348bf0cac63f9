"""Parts of messages about data sets."""

from collections.abc import Sequence


def first_names(names: Sequence[str], count: int = 5) -> str:
    """Return the first `count` names, joined by commas, and the number of names if it is greater."""
    return ", ".join(names[:count]) + (f", … ({len(names)} in all)" if len(names) > count else "")
