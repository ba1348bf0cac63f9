"""Parts of messages about data sets."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence


def first_names(names: Sequence[str], count: int = 5) -> str:
    """Return the first `count` names, joined by commas, and the number of names if it is greater."""
    return ", ".join(names[:count]) + (f", … ({len(names)} in all)" if len(names) > count else "")


def look_alike(name: str) -> str:
    """Return what names have in common that differ only in case, in spaces or in how Unicode composes their letters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that look alike."""
    groups = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[look_alike(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]
