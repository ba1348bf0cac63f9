"""Parts of messages about data sets."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

# Keys are sentences such as "dropped {count} boxes, in {names}", values the names to count and to list in them.
Notes = dict[str, list[str]]


def shown(value: object, length: int = 100) -> str:
    """Return a value as a message shows it: its text, escaped where it cannot be printed, and not too long."""
    text = str(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= length else f"{text[:length]}…"


def first_names(names: Sequence[str], count: int = 5) -> str:
    """Return the first `count` names, joined by commas, and the number of names if it is greater."""
    return ", ".join(shown(name) for name in names[:count]) + (
        f", … ({len(names)} in all)" if len(names) > count else ""
    )


def add_notes(notes: Notes, more: Notes) -> None:
    """Add the names of further notes to notes."""
    for text, names in more.items():
        notes.setdefault(text, []).extend(names)


def summary(notes: Notes) -> str:
    """Return notes in one line, without those that have no names."""
    return "; ".join(text.format(count=len(names), names=first_names(names)) for text, names in notes.items() if names)


def look_alike(name: str) -> str:
    """Return a form that is equal for names that differ only in case, spaces, composed letters or invisible characters.

    Text that is copied from web pages, or from files with a byte order mark, may hold some of the last.
    """
    visible = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that look alike."""
    groups = defaultdict(list)
    for name in dict.fromkeys(names):
        groups[look_alike(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]
