"""A quick look at a folder: the names, sizes and times of its files show unchanged data without reading them."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path


def look_at(folder: str | Path, left_out: str | Path) -> str:
    """Return 32 hexadecimal digits that change whenever a file is added to a folder, removed from it, or written.

    Symbolic links are followed. What begins with a dot is left out. A file's change time is part of the look, because
    copying tools restore the other times; so a copy of the same files gives another look.

    Args:
        folder: with everything below it.
        left_out: a folder to skip if it is below `folder`: that of the outputs, in which runs write.
    """
    digest = blake2b(digest_size=16)
    for name, fields in _files(str(folder), "", {_identity(left_out), _identity(folder)}):
        digest.update(f"{name}\0{fields}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def stamp(path: str | Path) -> list[int]:
    """Return the size of a file and when it was last written and changed, in nanoseconds."""
    return _stamp(os.stat(path))


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _files(folder: str, prefix: str, seen: set[tuple[int, int] | None]) -> Iterator[tuple[str, str]]:
    """Yield the name and the stamp of each file below a folder, in a fixed order; each folder once."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        yield prefix, type(error).__name__
        return
    for entry in visible:
        name = prefix + entry.name
        try:
            if not entry.is_dir():
                yield name, str(_stamp(entry.stat()))
                continue
        except OSError as error:  # such as a link to nothing
            yield name, type(error).__name__
            continue
        identity = _identity(entry.path)
        if identity not in seen:
            seen.add(identity)
            yield from _files(entry.path, f"{name}/", seen)


def _identity(folder: str | Path) -> tuple[int, int] | None:
    """Return what tells a folder from others under any name; None if there is no such folder."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
