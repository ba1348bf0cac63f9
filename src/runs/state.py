"""How far a run is, as its folder tells.

A run's folder holds `config.yaml` as resolved, `data.json`, `checkpoint.pt`, the W&B log, `claim.<n>` (the lock,
with who works on it), `submitted.json` (its job on a cluster), `failed.json` (why the last attempt failed) and, last,
`summary.json`.
"""

import os
from enum import StrEnum
from pathlib import Path

from src.runs.run_lock import read_lock


class State(StrEnum):
    """How far a run is."""

    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # begun, not finished, not failed, and nobody works on it
    FAILED = "failed"
    SUBMITTED = "submitted"  # to a cluster, but it has not begun
    MISSING = "missing"


def state(directory: Path) -> State:
    """The state of the run in this folder, which need not exist."""
    try:
        names = set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return State.MISSING
    if "summary.json" in names:
        return State.FINISHED
    if not any(name.startswith("claim.") for name in names):
        return State.SUBMITTED if "submitted.json" in names else State.MISSING
    if read_lock(directory)["alive"]:
        return State.RUNNING
    return State.FAILED if "failed.json" in names else State.INTERRUPTED
