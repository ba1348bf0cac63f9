"""The state of a run, read from its folder.

A run's folder contains `config.yaml` as resolved, `data.json`, `checkpoint.pt`, the W&B log, `claim.<n>` (the lock and
its holder), `submitted.json` (the job on a cluster), `failed.json` (why the last attempt failed) and, written last,
`summary.json`. What belongs to data as they were before they were changed is set aside in `earlier-<n>`.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from src.runs.run_lock import PREFIX, read_lock
from src.utils.files import read_json


class State(StrEnum):
    """The states of a run."""

    FINISHED = "finished"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # started, but neither finished nor failed, and no process works on it
    FAILED = "failed"
    SUBMITTED = "submitted"  # to a cluster, but not started
    MISSING = "missing"


def state(directory: Path) -> State:
    """Return the state of the run in this folder, which need not exist."""
    try:
        names = set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return State.MISSING
    if "summary.json" in names:
        return State.FINISHED
    if not any(name.startswith(PREFIX) for name in names):
        return State.SUBMITTED if "submitted.json" in names else State.MISSING
    lock = read_lock(directory)
    if lock is not None and lock["alive"]:
        return State.RUNNING
    return State.FAILED if "failed.json" in names else State.INTERRUPTED


def refused_failure(directory: Path) -> dict[str, Any] | None:
    """Return why the run in this folder has failed, if it is retried only on request; else None.

    An attempt that failed before its first step, as with a broken image, left nothing to keep: it is made again.
    """
    failure = read_json(directory / "failed.json")
    return failure if failure and failure.get("training_had_begun", True) else None
