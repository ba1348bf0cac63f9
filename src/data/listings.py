"""Finding files in folders that are listed once each: a query per file is slow on a cluster."""

import os
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from src.data.messages import first_names
from src.data.records import DataError
from src.utils.text import is_text

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".tga"}
)
HIDDEN = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is one that systems leave behind, such as .DS_Store, ._a.jpg or Thumbs.db."""
    return name.startswith(".") or name.casefold() in HIDDEN


def entries_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible folders and files in a folder, sorted.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry.name, entry.is_dir()) for entry in entries if not is_hidden(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from error
    folders, files = ([folder / name for name, is_folder in visible if is_folder == kind] for kind in (True, False))
    return folders, files


def walk(top: Path) -> list[str]:
    """Return the paths of the visible files below a folder, relative to it and sorted.

    Raises:
        DataError: a folder cannot be read, or a name is not UTF-8.
    """
    seen: set[str] = set()
    relatives = []
    for folder, subfolders, names in os.walk(top, followlinks=True, onerror=_refuse):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else [name for name in subfolders if not is_hidden(name)]
        if real in seen:  # a link to a folder above would never end
            continue
        seen.add(real)
        prefix = "" if folder == str(top) else os.path.relpath(folder, top) + "/"
        relatives += [prefix + name for name in names if not is_hidden(name)]
    if wrong := [name for name in relatives if not is_text(name)]:
        names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in wrong]
        raise DataError(f"{top} has files whose names are not UTF-8: {first_names(names)}; rename them")
    return sorted(relatives)


def in_any_case(path: Path, known: dict[Path, Path] | None = None) -> Path:
    """Return a path as the disk has it, if names in it differ from those on disk in upper and lower case alone.

    Args:
        known: what earlier calls have found, for calls about many paths: each lists the folders above a missing one.
    """
    known = {} if known is None else known
    if path in known or path.exists() or path == path.parent:
        return known.get(path, path)
    parent = in_any_case(path.parent, known)
    try:
        alike = [name for name in os.listdir(parent) if name.casefold() == path.name.casefold()]
    except OSError:
        alike = []
    known[path] = parent / alike[0] if len(alike) == 1 else path
    return known[path]


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read ({error.strerror})") from error


class Listings:
    """The names in folders, as they were when first asked for.

    Args:
        suffixes: of the files that `find_alike` finds, in lower case.
    """

    def __init__(self, suffixes: Collection[str]) -> None:
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
