"""One attempt at a run: claimed, stopped, failed or finished."""

import logging
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from src.claim import Claim, take_claim
from src.distributed import Processes, has_lost_others
from src.errors import UserError
from src.files import read_json, write_json
from src.interruption import Interrupted, Interruption

logger = logging.getLogger(__name__)


class Hold:
    """What the work on a run asks now and then: whether to stop, and whether the run is still its own.

    Of several processes only the first, which saves, is ever told to stop; were another to stop at another step, the
    first could not come to its checkpoint.
    """

    def __init__(self, claim: Claim | None, interruption: Interruption):
        self._claim, self._interruption = claim, interruption

    def check(self) -> None:
        """Raises Interrupted if somebody has asked to stop."""
        if self._claim is not None:
            self._interruption.check()

    def check_claim(self) -> None:
        """Raises ClaimLost if another process has taken over."""
        if self._claim is not None:
            self._claim.check()


def attempt(
    directory: Path, name: str, work: Callable[[Hold], None], processes: Processes, retry: bool = False
) -> None:
    """Does the work of a run in its folder, unless that is done, another process is at it, or it has failed before.

    Args:
        directory: the run's folder.
        name: of the run, for people.
        work: writes `summary.json` last.
        processes: those that call this together; the first holds the claim.
        retry: whether to try again what has failed.

    Raises:
        UserError: the run has failed before.
        Interrupted: a signal asked to stop; what `work` has saved stands.
        Whatever `work` raises, which is noted in `failed.json` by the process in which it is raised.
    """
    claim = _begin(directory, name, retry) if processes.first else None
    try:
        if not processes.share(claim is not None):
            return
        with Interruption() as interruption:
            try:
                work(Hold(claim, interruption))
            except Interrupted:
                raise
            except Exception as error:
                # Being stopped together, the processes of a run may lose each other before they come to a checkpoint.
                if interruption.signum is not None:
                    logger.warning("%s: %s", type(error).__name__, error)
                    raise Interrupted(interruption.signum) from error
                if has_lost_others(error):
                    raise UserError(
                        f"{name}: another process of this run has gone; the same command goes on from {directory}"
                    ) from error
                if claim is None or not claim.lost:
                    _note_failure(directory, error)
                raise
    finally:
        if claim is not None:
            claim.release()


def _begin(directory: Path, name: str, retry: bool) -> Claim | None:
    directory.mkdir(parents=True, exist_ok=True)
    failure = read_json(directory / "failed.json")
    if failure is not None and not retry:
        raise UserError(f"{name} has failed before ({directory}): {failure['error']}. To try it again add retry=true")
    claim = take_claim(directory)
    if claim is None:
        logger.info("%s is being worked on by another process: %s", name, directory)
    elif (directory / "summary.json").exists():  # since we looked
        logger.info("%s is finished: %s", name, directory)
        claim.release()
        return None
    else:
        (directory / "failed.json").unlink(missing_ok=True)
        for file in directory.iterdir():  # what a process killed while it was writing has left
            if re.fullmatch(r"\..+\.\d+", file.name):
                file.unlink()
    return claim


def _note_failure(directory: Path, error: Exception) -> None:
    lines = traceback.format_exception(error)
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    note = {"error": message, "time": time.time(), "traceback": "".join(lines)}
    try:
        write_json(directory / "failed.json", note)
    except UserError as problem:
        logger.error("%s. This could not be noted: %s", message, problem)
