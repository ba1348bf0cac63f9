"""A lock on a run, so that one process at a time works on it, also on file systems shared between machines.

The lock is a series of files `claim.1`, `claim.2`, … in the run's folder; the one with the highest number counts. A
process takes over a run by creating the next file. Creating a file that must not exist yet is atomic on NFS as well,
where file locks are unreliable. The holder touches its file every few seconds. A holder that was killed is detected by
the absence of these heartbeats, and the clocks of two machines are never compared.
"""

import json
import os
import platform
import threading
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from src.utils.errors import UserError

HEARTBEAT_S = 5.0  # seconds between two heartbeats
STALE_AFTER_S = 60.0  # seconds without a heartbeat after which the holder counts as dead
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
        """Raise :class:`LockLost` if another process has taken over; call this before writing to the run's folder."""
        self.lost = self.lost or _highest(self.directory) != self.number
        if self.lost:
            raise LockLost(f"{self.directory}: this process did not respond for so long that another has taken over")

    def release(self) -> None:
        """Release the lock."""
        self._released.set()
        self._thread.join()
        # The file stays: without the highest number, a slow process could use a number a second time. It is changed in
        # place and keeps its length, which works on a full disk.
        if _highest(self.directory) == self.number:
            with open(self.file, "r+") as stream:
                text = stream.read()
                stream.seek(0)
                stream.write(json.dumps({**json.loads(text), "released": True}).ljust(len(text)))

    def _send_heartbeats(self) -> None:
        while not self._released.wait(HEARTBEAT_S):
            try:
                os.utime(self.file)
            except OSError:
                self.lost = self.lost or _highest(self.directory) != self.number


def acquire(directory: Path) -> RunLock | None:
    """Return the lock on the run in this folder, or None if a living process holds it.

    Wait for a heartbeat of a holder on another machine, at most :data:`STALE_AFTER_S` seconds.
    """
    number = _highest(directory)
    if number and _is_alive(directory, number):
        return None
    file = _file(directory, number + 1)
    try:
        with open(file, "x") as stream:
            try:
                json.dump(_this_process(), stream)
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

    This does not wait: a holder on another machine counts as alive for :data:`STALE_AFTER_S` seconds after its last
    heartbeat.
    """
    number = _highest(directory)
    if not number:
        return None
    content, heartbeat = _read_file(directory, number)
    alive = _is_process_alive(content)
    if alive is None:
        alive = time.time() - heartbeat < STALE_AFTER_S
    return {**content, "alive": alive}


def _is_alive(directory: Path, number: int) -> bool:
    """Return whether the holder is alive; wait for a heartbeat if it is on another machine."""
    _, first_heartbeat = _read_file(directory, number)
    while True:
        content, heartbeat = _read_file(directory, number)
        alive = _is_process_alive(content)
        if alive is not None:
            return alive
        if heartbeat != first_heartbeat:
            return True
        with NamedTemporaryFile(dir=directory, prefix=".probe", suffix=f".{os.getpid()}") as probe:
            age = os.fstat(probe.fileno()).st_mtime - heartbeat  # both times are the file server's
        if age > STALE_AFTER_S:
            return False
        time.sleep(0.25)


def _is_process_alive(content: dict[str, Any]) -> bool | None:
    """Return whether the process of a lock file is alive; None if this machine cannot tell."""
    this_process = _this_process()
    if content.get("released"):
        return False
    if content.get("machine") == this_process["machine"]:
        return _start_time(content["pid"]) == content["started"]
    if content.get("job") and content["job"] == this_process["job"]:
        return False  # SLURM requeues a job only after it has ended elsewhere
    return None


def _this_process() -> dict[str, Any]:
    """Return the content of a lock file that this process holds."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")
    pid = os.getpid()
    return {
        "host": platform.node(),
        "machine": _machine(),
        "pid": pid,
        "started": _start_time(pid),
        "job": job,
        "released": False,
    }


def _machine() -> str:
    """Return an id of the space in which process numbers are unique: this boot, and the container on this host."""
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


def _read_file(directory: Path, number: int) -> tuple[dict[str, Any], float]:
    """Return the content of a lock file, empty while it is being written, and the time of its last heartbeat."""
    try:
        with open(_file(directory, number)) as stream:  # opening makes NFS fetch the time from the server
            text, heartbeat = stream.read(), os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:  # another process has taken over
        return {}, -1.0
    try:
        return json.loads(text), heartbeat
    except json.JSONDecodeError:
        return {}, heartbeat


def _file(directory: Path, number: int) -> Path:
    return directory / f"{PREFIX}{number}"


def _numbers(directory: Path) -> list[int]:
    suffixes = [name.removeprefix(PREFIX) for name in os.listdir(directory) if name.startswith(PREFIX)]
    return [int(suffix) for suffix in suffixes if suffix.isdigit()]


def _highest(directory: Path) -> int:
    return max(_numbers(directory), default=0)
