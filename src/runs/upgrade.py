"""Bring finished runs up to date without training them again."""

import logging
from pathlib import Path
from typing import Any

from src.runs.log_parts import ATTEMPT, note_parts
from src.runs.run_lock import acquire
from src.runs.state import read_run
from src.utils.files import DamagedFile, read_json, write_json

logger = logging.getLogger(__name__)


def bring_up_to_date(
    directory: Path, name: str, config: dict[str, Any], identity: dict[str, Any], data: dict[str, Any] | None = None
) -> None:
    """Write what a finished run's folder lacks: a current quick look at its data, and what version 0.1 did not log.

    That version logged no identity, and a fingerprint of less of the data. A part without rows is added to the run's
    W&B log, with the configuration, the identity, the command, the data, and what the summary has of where the run took
    place. Nothing is logged if logging is disabled. Does nothing if another process works on the run.

    Args:
        config: resolved, as plain dicts.
        data: the content of `data.json` to write; None to leave the file as it is.
    """
    summary = read_run(directory).summary
    if summary is None:  # another process has begun it anew meanwhile
        return
    data_facts = _data_facts(directory, summary, data)
    to_log = config["wandb"]["mode"] != "disabled" and ("identity" not in summary or data_facts != summary.get("data"))
    if data is None and not to_log:
        return
    try:
        lock = acquire(directory)
    except OSError as error:
        logger.warning("%s cannot be brought up to date: %s", directory, error)
        return
    if lock is None:
        return
    try:
        if read_run(directory).summary is None:
            return
        if data is not None:
            write_json(directory / "data.json", data)
        if to_log:
            facts = {"run_id": directory.name, "identity": identity}
            facts |= {"environment": summary["environment"]} if "environment" in summary else {}
            facts |= {"data": data_facts} if data_facts else {}
            from src.runs.tracking import Tracker  # imports torch and wandb

            with Tracker(directory, name, {**config, **facts, ATTEMPT: lock.number}, **config["wandb"]):
                pass
            noted = {"command": config["command"], "log": note_parts(directory)}
            write_json(directory / "summary.json", {**summary, **facts, **noted})
            logger.info("%s: logged what it is, which an earlier version did not", name)
    finally:
        lock.release()


def _data_facts(directory: Path, summary: dict[str, Any], data: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what is to be logged of a run's data; None for a run without any."""
    logged: dict[str, Any] | None = summary.get("data")
    if logged is None or "parts" in logged:
        return logged
    try:
        noted = data or read_json(directory / "data.json") or {}
    except DamagedFile:
        return logged
    return {key: value for key, value in noted.items() if key != "details"} if "parts" in noted else logged
