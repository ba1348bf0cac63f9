"""Writing files atomically: a killed process or a full disk leaves the last complete file."""

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.utils.errors import UserError


class DamagedFile(UserError):
    """A file whose content cannot be read, or is not what it should be; the message names it."""


def share_with_group(folder: Path) -> None:
    """Make whatever this process and its children create group-writable, if a folder is meant for a group.

    It is, if the group may write to it and new files in it belong to the group: `chmod g+ws FOLDER`.
    """
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return
    if mode & stat.S_ISGID and mode & stat.S_IWGRP:
        os.umask(os.umask(0o077) & ~stat.S_IRWXG)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file at a temporary path in the same folder, and rename it once it is complete and on disk.

    The file has the permissions that the umask and the folder give a new one, so that a group can share a folder.

    Args:
        write: called with the temporary path.

    Raises:
        UserError: the file cannot be written; an earlier file at `path` remains.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with null in place of NaN, which JSON lacks."""
    text = json.dumps(_without_nan(value), indent=2) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if there is no such file.

    Raises:
        DamagedFile: it cannot be read, or holds no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DamagedFile(f"{path} is damaged: it holds no JSON") from None


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
