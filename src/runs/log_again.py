"""Decide whether a finished run must log again because its log is incomplete, and how."""

import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from src.runs.log_parts import part_files
from src.runs.state import RunFolder, State
from src.runs.wandb_log import NO_END, check_log
from src.utils.errors import UserError

logger = logging.getLogger(__name__)


class Redo(StrEnum):
    """What of a finished run is made again."""

    NOTHING = "nothing"
    LOG = "log"  # from the rows in the checkpoint; a run that keeps none is repeated, which takes seconds
    TRAINING = "training"


def lack_of_log(found: RunFolder, *, thorough: bool) -> str:
    """Return what a finished run's log lacks, in words; "" if nothing.

    Args:
        thorough: whether to read the log rather than look at the sizes of its files.
    """
    if found.state == State.UNLOGGED or not thorough:
        return found.reason
    try:
        problems = [check_log(file) for file in part_files(found.directory)]
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    # The part of an attempt that was killed has no end.
    damage = [problem for problem in problems if problem and not problem.endswith(NO_END)]
    if damage:
        return "; ".join(damage)
    return "its log has no end" if all(problems) else ""


def redo_for_log(
    found: RunFolder, mode: str, *, retry: bool, keeps_all_rows: Callable[[Path], bool] | None = None
) -> Redo:
    """Return what of a finished run must be made again to complete its log, and log that.

    Args:
        mode: of W&B; "disabled" asks for no log.
        retry: whether to read the log, and to train again where nothing else helps.
        keeps_all_rows: returns whether a run can be logged again from a checkpoint; None for a run that needs none.

    Raises:
        UserError: the run would have to be trained again, and `retry` is False.
    """
    lack = "" if mode == "disabled" else lack_of_log(found, thorough=retry)
    if not lack:
        return Redo.NOTHING
    directory = found.directory
    if keeps_all_rows is None or keeps_all_rows(directory / "checkpoint.pt"):
        logger.info("%s has finished, but %s: logging it again", directory, lack)
        return Redo.LOG
    if not retry:
        raise UserError(
            f"{directory} has finished, but {lack}, and it has no checkpoint that keeps what was logged. To train it "
            "again, add retry=true; what it holds is moved to a subfolder"
        )
    logger.info("%s has finished, but %s: training it again", directory, lack)
    return Redo.TRAINING
