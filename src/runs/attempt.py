"""An attempt at a run: the run is locked, and then finishes, fails, or is interrupted."""

import logging
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from src.runs.log_again import Redo, lack_of_log
from src.runs.run_lock import RunLock, acquire, slurm_job
from src.runs.set_aside import set_aside, set_damaged_aside, set_results_aside
from src.runs.state import RunFolder, read_run
from src.utils.distributed import World, is_lost_peer
from src.utils.errors import UserError, explain
from src.utils.files import DamagedFile, read_json, write_json
from src.utils.signals import Interrupted, Interruption

logger = logging.getLogger(__name__)


class RunGuard:
    """Lets the code that works on a run check for stop requests and for a lost lock.

    With several processes, only the main one, which saves checkpoints, stops on request. If another process stopped at
    another step, the main one could not reach its checkpoint.

    Args:
        lock: the main process's; None on the others, where nothing is checked.
    """

    def __init__(self, lock: RunLock | None, interruption: Interruption):
        self._lock, self._interruption = lock, interruption
        self.training_has_begun = False
        self.attempt = lock.number if lock is not None else 0  # each attempt at a run has a higher number

    def note_step(self) -> None:
        """Note that a step was taken; a failure from now on is retried only on request."""
        self.training_has_begun = True

    def check_stop(self) -> None:
        """Raise Interrupted if a signal to stop has arrived."""
        if self._lock is not None:
            self._interruption.check()

    def exit_code(self) -> int:
        """Return the exit code of a process that ends because another one of its run did: that of a signal, or 1."""
        return 1 if self._interruption.signum is None else 128 + self._interruption.signum

    def check_lock(self) -> None:
        """Raise LockLost if another process has taken over the run."""
        if self._lock is not None:
            self._lock.check()

    def write(self, write: Callable[[], None]) -> None:
        """Check the lock, and call a function that writes to the run's folder; once more if the folder was unreachable.

        Raises:
            LockLost: another process has taken over the run.
        """
        self.check_lock()
        try:
            write()
        except UserError:
            if self._lock is None or os.path.exists(self._lock.file):
                raise
            self.check_lock()  # which waits
            write()


@contextmanager
def hold_run(
    directory: Path,
    name: str,
    world: World,
    *,
    retry: bool = False,
    redo: Redo = Redo.NOTHING,
    on_other_data: Mapping[str, Any] | None = None,
) -> Iterator[RunGuard | None]:
    """Hold a run's lock while the body works on the run; the body must write `summary.json` last.

    An exception in the body is noted in `failed.json` by the process in which it is raised.

    Args:
        directory: the run's folder.
        name: the run's human-readable name.
        world: the processes that call this together; the main one holds the lock.
        retry: whether to retry a run that has failed.
        redo: what of a finished run with an incomplete log is to be made again; it is set aside.
        on_other_data: an entry of `data.json` for outdated data: if the folder has results on them, they are set aside.

    Yields:
        The guard that the body must check regularly; None if the run is finished or another process works on it.

    Raises:
        UserError: the run has failed before, its folder cannot be used, or another process of this run has ended.
        Interrupted: a signal to stop has arrived; checkpoints that were saved remain.
    """
    lock = None
    if world.is_main:
        lock = _lock_unfinished(directory, name, retry=retry, redo=redo, on_other_data=on_other_data)
    try:
        if not world.broadcast(lock is not None):
            yield None
            return
        with Interruption() as interruption:
            guard = RunGuard(lock, interruption)
            try:
                yield guard
            except Interrupted as stop:
                # W&B's service, or a process that loads images, may be stopped together with the run; SLURM goes by the
                # signal.
                if interruption.signum is not None:
                    raise Interrupted(interruption.signum) from stop
                raise
            except Exception as error:
                # When the processes of a run are stopped together, one may end before the others reach a checkpoint.
                if interruption.signum is not None:
                    logger.warning("%s: %s", type(error).__name__, error)
                    raise Interrupted(interruption.signum) from error
                if is_lost_peer(error):
                    raise UserError(
                        f"{name}: another process of this run is gone; run the same command again to resume {directory}"
                    ) from error
                if lock is None or not lock.lost:
                    _note_failure(directory, error, guard.training_has_begun)
                raise
    finally:
        if lock is not None:
            lock.release()


def _lock_unfinished(
    directory: Path, name: str, *, retry: bool, redo: Redo, on_other_data: Mapping[str, Any] | None
) -> RunLock | None:
    """Return the lock of a run to work on; None if the run is finished or another process works on it."""
    _make_usable(directory)
    failure = read_run(directory).refused_failure
    if failure is not None and not retry:
        raise UserError(f"{name} has failed before ({directory}): {failure['error']}. To retry it, add retry=true")
    lock = acquire(directory)
    if lock is None:
        logger.info("%s is being worked on by another process: %s", name, directory)
        return None
    try:
        found = read_run(directory)  # another process may have finished it just before the lock was acquired
        log_lacks = redo != Redo.NOTHING and found.summary is not None and lack_of_log(found, thorough=retry)
        if found.summary is not None and on_other_data and on_other_data.items() <= _noted_data(found).items():
            set_aside(directory)
        elif log_lacks:
            (set_results_aside if redo == Redo.LOG else set_aside)(directory)
        elif found.summary is not None:
            logger.info("%s is finished: %s", name, directory)
            lock.release()
            return None
        elif os.path.lexists(directory / "summary.json"):
            set_damaged_aside(directory / "summary.json")
        (directory / "failed.json").unlink(missing_ok=True)
        for file in directory.iterdir():  # temporary files of a process that was killed while writing
            # Notes on the run's job are written without the lock, perhaps just now.
            if re.fullmatch(r"\.(?!submitted\.).+\.\d+", file.name):
                file.unlink(missing_ok=True)
    except BaseException:
        lock.release()
        raise
    return lock


def _make_usable(directory: Path) -> None:
    """Create a run's folder if there is none.

    Raises:
        UserError: it cannot be created or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{directory} cannot be created: {error.strerror}") from None
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        try:
            owner = directory.owner()
        except (KeyError, OSError):
            owner = "another user"
        raise UserError(
            f"{directory} belongs to {owner}, and you may not write to it. To share a folder of outputs, see "
            "docs/clusters.md; to work on runs of your own, add outputs=DIR"
        )


def _noted_data(found: RunFolder) -> Mapping[str, Any]:
    """Return what is noted of the data that a finished run used."""
    try:
        noted = read_json(found.directory / "data.json")
    except DamagedFile:
        noted = None
    return noted or (found.summary or {}).get("data") or {}


def _note_failure(directory: Path, error: Exception, training_had_begun: bool) -> None:
    lines = traceback.format_exception(error)
    message = explain(error) or f"{type(error).__name__}: {error}"
    note = {"error": message, "time": time.time(), "training_had_begun": training_had_begun, "job": slurm_job()}
    note["traceback"] = "".join(lines)
    try:
        write_json(directory / "failed.json", note)
    except UserError as problem:
        logger.error("%s. This could not be noted: %s", message, problem)
