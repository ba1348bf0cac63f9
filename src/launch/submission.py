"""Note in the runs' folders which job each was submitted as, even if the submitting command is killed."""

import logging
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths

from src.launch.slurm_arrays import Refused
from src.runs.run_lock import acquire, is_process_alive, this_process
from src.runs.slurm_queue import Queue
from src.utils.files import DamagedFile, read_json, write_json

logger = logging.getLogger(__name__)

WAIT_S = 0.5  # seconds between two checks whether another command has ended
PATTERN = "submitting-*.json"  # of the files that list what is being submitted, in <outputs>/.slurm


class Submission:
    """An array of jobs that is being submitted.

    The command may end after SLURM has accepted the jobs and before they are noted in the runs' folders. So what is
    being submitted is first listed in a file, under a token that is also the jobs' comment. The file is removed once
    all jobs are noted, or if SLURM refuses them.

    Args:
        outputs: the folder of all runs.
        notes: the note of each run by its name, in the order of the array, without the job id.
        folder: submitit's, for the jobs' logs.
    """

    def __init__(self, outputs: Path, notes: dict[str, dict[str, Any]], folder: str):
        self.outputs, self.notes, self.folder = outputs, notes, folder
        self.token = secrets.token_hex(6)
        self.file = outputs / ".slurm" / PATTERN.replace("*", self.token)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"notes": notes, "folder": folder, "process": this_process()}
        write_json(self.file, content)

    def __enter__(self) -> "Submission":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        # After others, such as Ctrl-C or a full disk, SLURM may have taken the jobs: the next command looks for them.
        if error is None or issubclass(error, Refused):
            self.file.unlink(missing_ok=True)

    def note(self, jobs: Sequence[str]) -> None:
        """Write into each run's folder which job it is, by their ids in the order of the array."""
        with ThreadPoolExecutor(8) as pool:  # on a file server, syncing each file takes time
            written = [
                pool.submit(_write_note, self.outputs / name, note, job, self.folder)
                for (name, note), job in zip(self.notes.items(), jobs, strict=True)
            ]
        for one in written:
            one.result()  # or its error


@contextmanager
def alone(outputs: Path) -> Iterator[None]:
    """Wait until no other command submits runs of this folder, and make others wait.

    So runs that two commands have in common are submitted once: the second finds them queued.
    """
    folder = outputs / ".submitting"
    folder.mkdir(parents=True, exist_ok=True)
    lock = acquire(folder)
    if lock is None:
        print(f"waiting for another command that submits runs of {outputs}", file=sys.stderr, flush=True)
    while lock is None:
        time.sleep(WAIT_S)
        lock = acquire(folder)
    try:
        yield
    finally:
        lock.release()


def note_forgotten_jobs(outputs: Path, queue: Queue) -> int:
    """Note the queued jobs of commands that ended before noting them; return the number of runs."""
    found = 0
    for file in sorted((outputs / ".slurm").glob(PATTERN)):
        token = file.stem.partition("-")[2]
        try:
            content = read_json(file) or {}
            notes, folder, process = content["notes"], content["folder"], content["process"]
        except (DamagedFile, KeyError, TypeError) as error:
            logger.warning("%s is ignored: %s", file, error)
            continue
        alive = is_process_alive(process)
        if alive:
            continue
        queued = next((job for job, entry in queue.items() if token in entry.comment.split()), None)
        if queued is not None:
            array, is_array, _ = queued.partition("_")  # a run alone is no array
            for index, (name, note) in enumerate(notes.items()):
                _write_note(outputs / name, note, f"{array}_{index}" if is_array else array, folder)
            found += len(notes)
        if queued is not None or alive is False:
            file.unlink(missing_ok=True)
    return found


def _write_note(directory: Path, note: dict[str, Any], job: str, folder: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    log = JobPaths(folder, job_id=job).stdout
    write_json(directory / "submitted.json", {"job": job, **note, "log": str(log)})
