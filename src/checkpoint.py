"""Writing files so that a killed process leaves the last good one, and checkpoints made of all that a run needs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from src.errors import UserError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary name beside `path`, and moves the file there once it is whole and on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_checkpoint(path: Path, parts: dict[str, Any], progress: dict[str, Any]) -> None:
    """Saves the state of each part (anything with ``state_dict``), all random states, and plain values."""
    state = {name: part.state_dict() for name, part in parts.items()}
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state_all()
    write_atomically(path, lambda file: torch.save({**state, "random": random, "progress": progress}, file))


def load_checkpoint(path: Path, parts: dict[str, Any]) -> dict[str, Any] | None:
    """Restores each part and all random states, and returns the plain values; None if there is no checkpoint.

    Raises:
        UserError: the file is damaged or belongs to another model.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in state["random"]:
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
    except (RuntimeError, KeyError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} cannot be resumed from: {error}. Delete it to start this run anew") from error
    return state["progress"]
