"""Bringing runs of earlier versions up to date without training them again."""

import logging
from pathlib import Path
from typing import Any

from src.runs.run_lock import acquire
from src.runs.tracking import Tracker
from src.utils.files import read_json, write_json

logger = logging.getLogger(__name__)


def log_identity(directory: Path, name: str, config: dict[str, Any], identity: dict[str, Any]) -> None:
    """Log what a finished run is, if the version that made it did not: version 0.1 logged no identity.

    Adds a part without rows to the run's W&B log, with the configuration, the identity and the command, and what the
    summary has of the data and of where the run took place. Does nothing if another process is doing so, or if logging
    is disabled.

    Args:
        config: resolved, as plain dicts.
    """
    if config["wandb"]["mode"] == "disabled":
        return
    lock = acquire(directory)
    if lock is None:
        return
    try:
        summary = read_json(directory / "summary.json")
        facts = {"run_id": directory.name, "identity": identity}
        facts |= {key: summary[key] for key in ("environment", "data") if key in summary}
        with Tracker(directory, name, {**config, **facts}, **config["wandb"]):
            pass
        write_json(directory / "summary.json", {**summary, "identity": identity, "command": config["command"]})
        logger.info("%s: logged what it is, which an earlier version did not", name)
    finally:
        lock.release()
