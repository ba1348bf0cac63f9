"""A lock on a run, so that one process at a time works on it, also on file systems shared between machines.

The lock is a series of files `claim.1`, `claim.2`, … in the run's folder; the one with the highest number counts. A
process takes over a run by creating the next file. Creating a file that must not exist yet is atomic on NFS as well,
where file locks are unreliable. The holder touches its file every few seconds. A holder that was killed is detected by
the absence of these heartbeats: whoever wants the run watches the file for a minute of its own clock. The clocks of two
machines are never compared, as they may differ by more than that.
"""

import functools
import json
import logging
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

from src.utils.errors import UserError

logger = logging.getLogger(__name__)

HEARTBEAT_S = 5.0  # seconds between two heartbeats
STALE_AFTER_S = 60.0  # seconds without a heartbeat after which the holder counts as dead
UNREACHABLE_S = 60.0  # seconds for which the holder waits for an unreachable file system
GONE = -1.0  # the time of the last heartbeat of a file that is no longer there
PREFIX = "claim."  # of the files; not lock.<n>, because the outputs of earlier versions contain claim.<n>


class LockLost(UserError):
    """Another process has taken over the run, since this one sent no heartbeats for too long."""


class RunLock:
    """The lock on a run that this process holds until :meth:`release`; created by :func:`acquire`."""

    def __init__(self, directory: Path, number: int):
        self.directory, self.number = directory, number
        self.file = _file(directory, number)
        self.lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, name="run lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise :class:`LockLost` if another process has taken over; call this before writing to the run's folder.

        If the folder is unreachable, as a file server may be for a while, wait for at most UNREACHABLE_S seconds.
        """
        give_up = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                self._look()
                break
            except OSError as error:
                if time.monotonic() > give_up:
                    raise UserError(f"{self.directory} cannot be reached: {error.strerror}") from error
                time.sleep(HEARTBEAT_S / 10)
        if self.lost:
            raise LockLost(f"{self.directory}: this process did not respond for so long that another has taken over")

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        self._thread.join()
        # The file stays: without the highest number, a slow process could use a number a second time. It is changed in
        # place and keeps its length, which works on a full disk.
        try:
            self._look()
            if not self.lost:
                with open(self.file, "r+") as stream:
                    text = stream.read()
                    stream.seek(0)
                    stream.write(json.dumps({**json.loads(text), "released": True}).ljust(len(text)))
        except (OSError, ValueError) as error:  # the next process waits until it finds that this one sends no heartbeat
            logger.warning("%s could not be released: %s", self.file, error)

    def _look(self) -> None:
        """Note whether another process has taken over."""
        self.lost = self.lost or _highest(self.directory) != self.number

    def _send_heartbeats(self) -> None:
        was_reached = True
        while not self._released.wait(HEARTBEAT_S):
            try:
                os.utime(self.file)
                was_reached = True
            except OSError as error:
                try:
                    self._look()
                except OSError:  # out of reach, perhaps for seconds only
                    if was_reached:
                        logger.warning("%s is out of reach (%s); trying again", self.directory, error.strerror)
                    was_reached = False


def acquire(directory: Path) -> RunLock | None:
    """Return the lock on the run in this folder, or None if a living process holds it.

    Wait for a heartbeat of a holder on another machine, at most :data:`STALE_AFTER_S` seconds, and say so.
    """
    number = _highest(directory)
    if number and _is_alive(directory, number):
        return None
    file = _file(directory, number + 1)
    try:
        with open(file, "x") as stream:
            try:
                json.dump(this_process(), stream)
                stream.flush()
            except OSError:
                file.unlink()
                raise
    except FileExistsError:
        return None
    # If this process was slow since it listed the folder, others may have created higher numbers meanwhile.
    if _highest(directory) != number + 1:
        file.unlink()
        return None
    for other in _numbers(directory):
        if other <= number:
            _file(directory, other).unlink(missing_ok=True)
    return RunLock(directory, number + 1)


def read_lock(directory: Path) -> dict[str, Any] | None:
    """Return the last holder of a run: host, pid, SLURM job, and whether it is `alive`; None if there was no holder.

    This neither waits nor writes: it is for showing a state, not for taking over a run. `alive` is None if this machine
    cannot tell for certain; `recent` is whether the last heartbeat was in the last minute by this machine's clock.
    The content of a damaged file is left out.
    """
    heartbeat = GONE
    while heartbeat == GONE:  # another process takes over
        number = _highest(directory)
        if not number:
            return None
        file = _file(directory, number)
        content, heartbeat = _read_file(directory, number)
    if heartbeat != _seen.get(file, (None, 0.0))[0]:
        _seen[file] = heartbeat, time.monotonic()
    recent = time.time() - heartbeat < STALE_AFTER_S
    return {**content, "file": str(file), "alive": is_process_alive(content), "recent": recent}


# The last heartbeat that this process has seen of each file, and when by its own clock. If the holders of many runs
# have died on other machines, only the first run then takes a minute.
_seen: dict[Path, tuple[float, float]] = {}


def _is_alive(directory: Path, number: int) -> bool:
    """Return whether the holder is alive; wait for a heartbeat if it is on another machine."""
    file, begin = _file(directory, number), time.monotonic()
    watched = said = False
    while True:
        content, heartbeat = _read_file(directory, number)
        if heartbeat == GONE:  # another process has taken over
            return True
        alive = is_process_alive(content)
        if alive is not None:
            return alive
        if heartbeat != _seen.get(file, (None, 0.0))[0]:
            if watched:
                return True
            _seen[file] = heartbeat, time.monotonic()
        watched = True
        left = _seen[file][1] + STALE_AFTER_S - time.monotonic()
        if left <= 0:
            return False
        if not said and time.monotonic() - begin > 1.5 * HEARTBEAT_S:
            said = True
            holder = f"process {content.get('pid')} on {content.get('host')}"
            logger.info("%s: waiting at most %.0f s for a sign of life of %s", directory, left, holder)
        time.sleep(min(0.25, HEARTBEAT_S / 4))


def is_process_alive(content: dict[str, Any]) -> bool | None:
    """Return whether the process of a lock file is alive; None if this machine cannot tell."""
    here = this_process()
    if content.get("released"):
        return False
    if content.get("machine") == here["machine"] and isinstance(content.get("pid"), int):
        started = _start_time(content["pid"])
        return None if started is None and _is_hidden(content["pid"]) else started == content.get("started")
    same_job = content.get("job") and content["job"] == here["job"]
    if same_job and isinstance(content.get("restarts"), int) and content["restarts"] < here["restarts"]:
        return False  # SLURM restarts a job only after it has ended elsewhere; within one start, both may be alive
    return None


def this_process() -> dict[str, Any]:
    """Return the content of a lock file that this process holds."""
    pid = os.getpid()
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return {
        "host": platform.node(),
        "machine": _machine(),
        "pid": pid,
        "started": _start_time(pid),
        "job": slurm_job(),
        "restarts": int(restarts) if restarts.isdigit() else 0,
        "released": False,
    }


def slurm_job() -> str | None:
    """Return the id of the SLURM job, or the task of an array, that this process belongs to."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")


@functools.cache
def _machine() -> str:
    """Return an id of the namespace in which process ids are unique: this boot, and this container."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{platform.node()} {os.getppid()}"  # without /proc, only heartbeats show that a process is alive


def _start_time(pid: int) -> str | None:
    """Return when a process was started, in the kernel's clock ticks; None if it is not running."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _is_hidden(pid: int) -> bool:
    """Return whether a process exists but is hidden, as /proc may hide other users' processes."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not Path(f"/proc/{pid}/stat").exists()
    except OSError:
        pass
    return False


def _read_file(directory: Path, number: int) -> tuple[dict[str, Any], float]:
    """Return the content of a lock file, empty if damaged or half written, and the time of its last heartbeat."""
    try:
        with open(_file(directory, number), "rb") as stream:  # opening makes NFS fetch the time from the server
            text, heartbeat = stream.read(), os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return {}, GONE
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = {}
    return content if isinstance(content, dict) else {}, heartbeat


def _file(directory: Path, number: int) -> Path:
    return directory / f"{PREFIX}{number}"


def _numbers(directory: Path) -> list[int]:
    suffixes = [name.removeprefix(PREFIX) for name in os.listdir(directory) if name.startswith(PREFIX)]
    return [int(suffix) for suffix in suffixes if suffix.isdigit()]


def _highest(directory: Path) -> int:
    return max(_numbers(directory), default=0)
