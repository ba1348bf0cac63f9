"""Writing files atomically: a killed process or a full disk leaves the last complete file."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.utils.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file at a temporary path in the same folder, and rename it once it is complete and on disk.

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
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with null for NaN, which JSON does not have."""
    text = json.dumps(_without_nan(value), indent=2) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
