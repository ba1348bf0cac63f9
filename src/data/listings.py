"""Finding files by name in folders that are listed once each: a query per file is slow on a cluster."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path


class Listings:
    """The names in folders, as they were when first asked for.

    Args:
        suffixes: of the files that `find_alike` finds, in lower case.
    """

    def __init__(self, suffixes: Iterable[str]) -> None:
        self._suffixes = tuple(suffixes)
        self._names: dict[Path, frozenset[str]] = {}
        self._alike: dict[Path, dict[str, list[str]]] = {}

    def names(self, folder: Path) -> frozenset[str]:
        """Return the names in a folder; none where it does not exist."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(entry.name for entry in entries)
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def find(self, folders: Iterable[Path], name: str) -> Path | None:
        """Return the path of a name in the first of several folders that has it."""
        return next((folder / name for folder in folders if name in self.names(folder)), None)

    def find_alike(self, folders: Iterable[Path], name: str) -> Path | None:
        """Return the only file whose name differs from `name` in case, in Unicode's normal form or by an extension."""
        for folder in folders:
            if folder not in self._alike:
                by_form: dict[str, list[str]] = {}
                self._alike[folder] = by_form
                for other in sorted(self.names(folder)):
                    if not other.lower().endswith(self._suffixes):
                        continue
                    for form in {fold(other), fold(os.path.splitext(other)[0])}:
                        by_form.setdefault(form, []).append(other)
            matches = self._alike[folder].get(fold(name), [])
            if len(matches) == 1:
                return folder / matches[0]
        return None


def fold(name: str) -> str:
    """Return a name without differences of case and of Unicode's normal form."""
    return unicodedata.normalize("NFC", name).casefold()
