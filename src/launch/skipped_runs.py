"""Decide which runs of a sweep need not, or must not, be submitted, and why."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from src.config.plain import to_plain
from src.data.run_data import DataChanged, compare_data
from src.runs.provenance import code_digest
from src.runs.slurm_queue import HIDDEN
from src.runs.state import RunFolder, State


def reason_to_skip(found: RunFolder, config: Mapping[str, Any]) -> str | None:
    """Return why a run must not be submitted, regardless of its data; None if it may be."""
    if found.state == State.RUNNING:
        return "being worked on"
    if found.state in (State.SUBMITTED, State.WAITING):
        if found.reason == HIDDEN:
            return (
                "submitted by another user, whose jobs SLURM does not show. If they are no longer queued, delete "
                "submitted.json in the runs' folders"
            )
        if has_other_code(found) and found.submitter not in (None, os.getuid()):
            return "queued already by another user, with different code"
        if has_other_code(found):
            return "queued already, with different code; to replace these jobs add resubmit=true"
        return "queued already"
    if found.state == State.FAILED and found.refused_failure and not config.get("retry", False):
        return "failed before; to try them again add retry=true. `python -m src.status` shows why"
    return None


def has_other_code(found: RunFolder) -> bool:
    """Return whether a submitted run's job has a copy of different code."""
    return found.submitted is not None and Path(str(found.submitted.get("code"))).name != code_digest()


def reason_in_data(found: RunFolder, config: Mapping[str, Any], look: Callable[..., str]) -> str | None:
    """Return why a run need not be submitted: it is finished, or its folder has results on other data.

    Args:
        look: see `compare_data`.
    """
    finished = found.summary is not None
    if not finished and not found.has_checkpoint:
        return None
    if "dataset" in config:
        root = config["dataset"]["root"]
        if not Path(root).expanduser().is_dir():
            return f"finished; their data could not be compared, as {root} is not there" if finished else None
        try:
            compare_data(
                found.directory,
                to_plain(config["dataset"]),
                weights=config["model"].get("weights"),
                outputs=config["outputs"],
                workers=config["workers"],
                look=look,
            )
        except DataChanged as change:
            if config["retry"]:
                return None
            return f"{change.difference}. {change.remedy}"
    return _reason_of_finished(found, config) if finished else None


def _reason_of_finished(found: RunFolder, config: Mapping[str, Any]) -> str | None:
    """Return why a finished run need not be submitted; None if it must complete its log."""
    if found.state == State.FINISHED:
        return "finished"
    if config["wandb"]["mode"] == "disabled":
        return "finished without a log, as wandb.mode=disabled asks for none"
    is_training = "dataset" in config and config["attack"]["name"] == "none"
    if is_training and not found.has_checkpoint and not config["retry"]:
        return "finished without a log, and without a checkpoint to log from; to train them again add retry=true"
    return None
