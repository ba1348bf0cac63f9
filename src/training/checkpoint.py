"""Checkpoints: everything that a run needs to resume as if nothing had happened."""

import io
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from src.runs.kept_rows import KeptRows
from src.runs.lineage import Lineage
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.files import write_atomically
from src.utils.text import one_line

logger = logging.getLogger(__name__)
WIDTH = 300  # characters of torch's messages, which list every layer


def save_checkpoint(path: Path, parts: dict[str, Any], progress: dict[str, Any], lineage: Lineage) -> None:
    """Save the state of each part (anything with `state_dict`), all random states, plain values, and the lineage.

    Raises:
        UserError: the file cannot be written; the previous checkpoint is still there.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    random: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state_all()
    # Into memory first: torch's own writer neither reports a full disk as such nor closes the file.
    buffer = io.BytesIO()
    torch.save({**state, "random": random, "progress": progress, "lineage": lineage.to_plain()}, buffer)
    write_atomically(path, lambda file: file.write_bytes(buffer.getbuffer()))


def load_checkpoint(path: Path, parts: dict[str, Any], lineage: Lineage) -> dict[str, Any] | None:
    """Restore each part and all random states, and return the plain values; None if there is no checkpoint.

    A damaged file is renamed with a warning, and training starts over.

    Args:
        lineage: the run's; the checkpoint's attempts are put before it.

    Raises:
        UserError: the file cannot be read, or belongs to another run, other data or another model.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # unpickling what is damaged may raise anything
        aside = path.with_name(f"{path.stem}.damaged{path.suffix}")
        path.rename(aside)
        reason = one_line(error, WIDTH)
        logger.warning("%s is damaged (%s). It is now %s, and the run starts anew", path, reason, aside.name)
        return None
    try:
        lineage.continue_from(state.get("lineage"), path, state["progress"]["step"])
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in state["random"]:
            for index, random in enumerate(state["random"]["cuda"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(random, index)  # there may be fewer GPUs than when it was saved
        return state["progress"]
    except UserError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:  # the file may hold anything
        reason = one_line(error, WIDTH)
        raise UserError(f"{path} belongs to another model: {reason}. Delete it to start this run anew") from error


def load_on_all(world: World, path: Path, parts: dict[str, Any], lineage: Lineage) -> dict[str, Any] | None:
    """Restore a checkpoint on all processes; arguments, result and errors are those of :func:`load_checkpoint`."""
    progress = load_checkpoint(path, parts, lineage) if world.is_main else None
    world.barrier()  # the main process goes first, as it may rename a damaged file
    if not world.is_main:
        progress = load_checkpoint(path, parts, lineage)
    world.barrier()
    return progress


def load_weights(directory: Path, network: nn.Module, data: str | None = None) -> None:
    """Load the final weights of a finished run, and nothing else, into a network.

    Args:
        directory: the run's folder.
        network: of the same architecture.
        data: the fingerprint of the data that the run must have been trained on; None for any.

    Raises:
        UserError: the run's weights are gone, or belong to another network or other data.
    """
    path = directory / "checkpoint.pt"
    remedy = f"delete {directory}, and the same command trains that run again"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights, kept = state["model"], dict(state.get("lineage") or {})
    except FileNotFoundError:
        raise UserError(f"{directory} has finished, but its weights, {path.name}, are gone: {remedy}") from None
    except Exception as error:  # unpickling what is damaged may raise anything
        raise UserError(f"{path} cannot be read ({one_line(error, WIDTH)}): {remedy}") from error
    if kept.get("run_id", directory.name) != directory.name:
        raise UserError(f"{path} is of run {kept['run_id']}: {remedy}")
    if None not in (data, kept.get("data")) and kept["data"] != data:
        raise UserError(f"{path} was trained on other data than this run's: {remedy}")
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        why = "as with another detector, another number of classes, or loss=ohem for only one of the two"
        raise UserError(f"{path} is of another network, {why}: {one_line(error, WIDTH)}") from error


def keeps_all_rows(path: Path) -> bool:
    """Return whether a run can be logged again from its checkpoint, without training."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return KeptRows.from_plain(state["progress"]["rows"]).from_the_start
    except Exception:  # there is none, or it is damaged; unpickling what is damaged may raise anything
        return False
