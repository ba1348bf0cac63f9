"""Writing files so that a killed process or a full disk leaves the last good one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src.utils.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name beside `path`, and moves the file there once it is whole and on disk.

    Raises:
        UserError: it cannot be written; what was at `path` is still there.
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
    """Writes JSON atomically; NaN is written as null, which JSON has."""
    text = json.dumps(_without_nan(value), indent=2) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def read_json(path: Path) -> Any:
    """What a JSON file holds; None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
