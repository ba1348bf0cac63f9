"""The state of a run, read from its folder. All other code reads it here.

A run's folder contains `config.yaml` as resolved, `data.json`, `checkpoint.pt`, the W&B log, `claim.<n>` (the lock and
its holder), `submitted.json` (the job on a cluster), `failed.json` (why the last attempt failed) and, written last,
`summary.json`. Results on data that were changed since are set aside in `earlier-<n>`.

Reading changes nothing, in one's own folders and in others', and tolerates any damage.
"""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from src.runs.log_parts import missing_log
from src.runs.run_lock import PREFIX, read_lock
from src.runs.slurm_queue import HIDDEN, Queue, QueuedJob, ask_queue, hides_others
from src.utils.errors import UserError
from src.utils.files import DamagedFile, read_json


class State(StrEnum):
    """The states of a run."""

    FINISHED = "finished"
    RUNNING = "running"
    SUBMITTED = "submitted"  # to a cluster, where its job waits
    INTERRUPTED = "interrupted"  # started, but neither finished nor failed, and no process works on it
    FAILED = "failed"
    MISSING = "missing"
    WAITING = "waiting for another run"  # its job may start only after another one
    GONE = "gone from the queue"  # submitted, but its job is no longer queued and has never worked on it
    UNLOGGED = "finished without a log"  # the results are there, but not all of the log
    DAMAGED = "damaged"  # a file without which the state is unknown cannot be read


# What an intact file must contain: a key, and the type of its value.
NOTES: dict[str, tuple[str, type]] = {
    "summary.json": ("metrics", dict),
    "failed.json": ("error", str),
    "submitted.json": ("job", str),
}
ASKING_S = 15.0  # seconds that SLURM may take to answer when only a state is shown
FILLED = {"data.json", "checkpoint.pt"}  # files that take long to read, so only checked for not being empty


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder says about the run."""

    directory: Path
    state: State
    reason: str = ""  # for the state, in words, where it needs one
    damage: list[str] = field(default_factory=list)  # a line for each file that cannot be read, which names it
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    submitted: dict[str, Any] | None = None
    submitter: int | None = None  # the number of the user who has submitted it
    lock: dict[str, Any] | None = None  # of a run that has not finished
    has_checkpoint: bool = False

    @property
    def refused_failure(self) -> dict[str, Any] | None:
        """Why the run has failed, if it is retried only on request; else None.

        An attempt that failed before its first step, as with a broken image, left nothing to keep, so it is repeated.
        """
        return self.failure if self.failure and self.failure.get("training_had_begun", True) else None

    @property
    def needs_queue(self) -> bool:
        """Whether the state depends on whether the run's job is still queued."""
        if self.submitted is None or self.summary is not None:
            return False
        return self.failure is None or self.failure.get("job") != self.submitted["job"]


def state(directory: Path) -> State:
    """Return the state of the run in this folder, which need not exist, without asking the queue."""
    return read_run(directory).state


def read_runs(directories: Iterable[Path]) -> tuple[dict[Path, RunFolder], str]:
    """Read the folders of runs, and ask the queue once if the state of one depends on it.

    Returns:
        What each folder says; and why the queue could not be asked, "" if it was or need not be.
    """
    runs = {directory: read_run(directory) for directory in directories}
    doubtful = [directory for directory, run in runs.items() if run.needs_queue]
    if not doubtful:
        return runs, ""
    try:
        owners = [runs[directory].submitter for directory in doubtful]
        queue = ask_queue((owner for owner in owners if owner is not None), ASKING_S)
    except UserError as error:
        return runs, str(error)
    # Read again: a job that is no longer queued may have come to its end since the first reading.
    return runs | {directory: read_run(directory, queue) for directory in doubtful}, ""


def check_outputs(outputs: Path, option: str = "--outputs ") -> None:
    """Raise a UserError if what was given as the folder of all runs, by an option, is that of one run."""
    if re.fullmatch("[0-9a-f]{10}", outputs.resolve().name) and (outputs / "config.yaml").is_file():
        parent = os.path.normpath(outputs / "..")
        raise UserError(f"{option}{outputs}: this is the folder of one run; give that of all runs, {option}{parent}")


def submitters(outputs: Path) -> set[int]:
    """Return the numbers of the users who have submitted runs of a folder of outputs."""
    return {owner for note in outputs.glob("*/submitted.json") if (owner := _owner(note)) is not None}


def read_run(directory: Path, queue: Queue | None = None) -> RunFolder:
    """Read a run's folder, which need not exist.

    Args:
        queue: the jobs that wait or run; None if SLURM was not asked.
    """
    try:
        names = set(os.listdir(directory))
    except FileNotFoundError:
        return RunFolder(directory, State.MISSING)
    except OSError as error:
        reason = f"{directory} cannot be read: {error.strerror}"
        return RunFolder(directory, State.DAMAGED, reason, [reason])
    damage: list[str] = []
    notes = {name: _read_note(directory / name, damage) for name in NOTES if name in names}
    damage += [f"{directory / name} is damaged: it is empty" for name in FILLED & names if _is_empty(directory / name)]
    found = RunFolder(
        directory,
        State.MISSING,
        damage=damage,
        summary=notes.get("summary.json"),
        failure=notes.get("failed.json"),
        submitted=notes.get("submitted.json"),
        submitter=_owner(directory / "submitted.json") if "submitted.json" in names else None,
        lock=None if notes.get("summary.json") else _read_lock(directory, names, damage),
        has_checkpoint="checkpoint.pt" in names,
    )
    run_state, reason = _decide(found, _with_hidden_job(found, queue))
    return replace(found, state=run_state, reason=reason)


def _decide(found: RunFolder, queue: Queue | None) -> tuple[State, str]:
    """Return the state of a run and its reason, from what its folder holds and SLURM's queue."""
    if found.summary is not None:
        lack = _lack_of_log(found)
        return (State.UNLOGGED, lack) if lack else (State.FINISHED, "")
    job = found.submitted["job"] if found.submitted else None
    if found.lock is not None and _is_alive(found.lock, job, queue):
        return State.RUNNING, ""
    queued = queue.get(job) if queue is not None and job else None
    failure = found.failure
    if queued is not None and (failure is None or failure.get("job") != job):
        return (State.WAITING if queued.waits_for_another else State.SUBMITTED), queued.reason
    if failure is not None:
        return State.FAILED, failure["error"]
    if found.damage:
        return State.DAMAGED, found.damage[0]
    gone = f"its job {job} is no longer queued" if job and queue is not None else ""
    if found.lock is not None:
        return State.INTERRUPTED, gone
    if job is None:
        return State.MISSING, ""
    return (State.GONE, gone) if gone else (State.SUBMITTED, "")


def _with_hidden_job(found: RunFolder, queue: Queue | None) -> Queue | None:
    """Return the queue with the job of a run that it may lack only because the job is another user's.

    It is taken to run while there are heartbeats, and to wait otherwise.
    """
    if queue is None or found.submitted is None or found.submitted["job"] in queue:
        return queue
    if found.submitter in (None, os.getuid()) or not hides_others():
        return queue
    is_running = found.lock is not None and found.lock["recent"]
    return queue | {found.submitted["job"]: QueuedJob(not is_running, HIDDEN)}


def _lack_of_log(found: RunFolder) -> str:
    noted = (found.summary or {}).get("log")
    try:
        return missing_log(found.directory, noted if isinstance(noted, dict) else None)
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"


def _is_alive(lock: dict[str, Any], submitted: str | None, queue: Queue | None) -> bool:
    """Return whether the holder of a lock is alive, by this machine, SLURM's queue, or else this machine's clock.

    Args:
        submitted: the run's job; of other users' jobs the queue may not have been asked.
    """
    if lock["alive"] is not None:
        return bool(lock["alive"])
    job = lock.get("job")
    if queue is not None and job and (job in queue or job == submitted):
        return job in queue and not queue[job].pending
    return bool(lock["recent"])


def _read_lock(directory: Path, names: set[str], damage: list[str]) -> dict[str, Any] | None:
    if not any(name.startswith(PREFIX) for name in names):
        return None
    try:
        lock = read_lock(directory)
    except OSError as error:
        damage.append(f"{directory}/{PREFIX}* cannot be read: {error.strerror}")
        return None
    if lock is not None and "released" not in lock and not lock["recent"]:  # else it may still be being written
        damage.append(f"{lock['file']} is damaged: it names no process")
    return lock


def _read_note(file: Path, damage: list[str]) -> dict[str, Any] | None:
    """Return the content of one of NOTES; None if it is gone or damaged."""
    key, kind = NOTES[file.name]
    try:
        content = read_json(file)
    except DamagedFile as error:
        damage.append(str(error))
        return None
    if content is None or (isinstance(content, dict) and isinstance(content.get(key), kind)):
        return content
    damage.append(f"{file} is damaged: it has no {key}")
    return None


def _is_empty(file: Path) -> bool:
    try:
        status = os.stat(file)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _owner(file: Path) -> int | None:
    """Return the number of the user who has written a file; None if it is gone."""
    try:
        return os.stat(file).st_uid
    except OSError:
        return None
