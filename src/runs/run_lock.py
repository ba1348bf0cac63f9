"""One process at a time works on a run, on file systems shared between machines too.

The claims on a run are files `claim.1`, `claim.2`, … in its folder, of which the highest is the one that counts. A
process takes over by creating the next; creating a file that must not exist yet is atomic on NFS as well, where locks
are not to be trusted. A holder touches its claim every few seconds. So no clocks of two machines are ever compared,
and a holder that died without a word is found dead by its silence.
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

HEARTBEAT_S = 5.0  # seconds between two signs of life
STALE_AFTER_S = 60.0  # seconds after which a holder is taken for dead


class LockLost(UserError):
    """Another process took this one for dead and has taken over."""


class RunLock:
    """A run that this process holds, until :meth:`release`; see :func:`acquire`."""

    def __init__(self, directory: Path, number: int):
        self.directory, self.number = directory, number
        self.file = _file(directory, number)
        self.lost = False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._send_heartbeats, name="claim", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises :class:`LockLost` if the run is another's by now; to be asked before anything is written."""
        self.lost = self.lost or _highest(self.directory) != self.number
        if self.lost:
            raise LockLost(f"{self.directory}: this process was silent for so long that another one has taken over")

    def release(self) -> None:
        """Lets others have the run."""
        self._released.set()
        self._thread.join()
        # The file stays: were the highest number to vanish, a slow process could take a number a second time. It is
        # changed in place and keeps its length, which a full disk allows.
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
    """The claim on the run in this folder, or None if a living process has it.

    Waits for a sign of life of a holder on another machine, at most :data:`STALE_AFTER_S` seconds.
    """
    number = _highest(directory)
    if number and _is_alive(directory, number):
        return None
    file = _file(directory, number + 1)
    try:
        with open(file, "x") as stream:
            try:
                json.dump(_ourselves(), stream)
                stream.flush()
            except OSError:
                file.unlink()
                raise
    except FileExistsError:
        return None
    # A process that was slow since its look at the folder may have created a number that had long been passed.
    if _highest(directory) != number + 1:
        file.unlink()
        return None
    for other in _numbers(directory):
        if other <= number:
            _file(directory, other).unlink(missing_ok=True)
    return RunLock(directory, number + 1)


def read_lock(directory: Path) -> dict[str, Any] | None:
    """Who has, or last had, the run: host, pid, SLURM job, and whether that process is `alive`; None if nobody ever.

    Does not wait: a holder on another machine counts as alive for :data:`STALE_AFTER_S` seconds after its last beat.
    """
    number = _highest(directory)
    if not number:
        return None
    content, beat = _read_file(directory, number)
    alive = _is_process_alive(content)
    if alive is None:
        alive = time.time() - beat < STALE_AFTER_S
    return {**content, "alive": alive}


def _is_alive(directory: Path, number: int) -> bool:
    _, first = _read_file(directory, number)
    while True:
        content, beat = _read_file(directory, number)
        alive = _is_process_alive(content)
        if alive is not None:
            return alive
        if beat != first:
            return True
        with NamedTemporaryFile(dir=directory, prefix=".probe", suffix=f".{os.getpid()}") as probe:
            silence = os.fstat(probe.fileno()).st_mtime - beat  # both times are the file server's
        if silence > STALE_AFTER_S:
            return False
        time.sleep(0.25)


def _is_process_alive(content: dict[str, Any]) -> bool | None:
    """Whether the claim's process lives; None if that cannot be told from here."""
    ourselves = _ourselves()
    if content.get("released"):
        return False
    if content.get("machine") == ourselves["machine"]:
        return _started(content["pid"]) == content["started"]
    if content.get("job") and content["job"] == ourselves["job"]:
        return False  # SLURM starts a job again when it is over elsewhere
    return None


def _ourselves() -> dict[str, Any]:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")
    pid = os.getpid()
    ourselves = {"host": platform.node(), "machine": _machine(), "pid": pid, "started": _started(pid), "job": job}
    return ourselves | {"released": False}


def _machine() -> str:
    """What tells apart the spaces in which a process number means one process: boots, and containers on one host."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"{platform.node()} {os.getppid()}"  # without /proc only a beat tells


def _started(pid: int) -> str | None:
    """When a process was started, in the kernel's own ticks; None if it is not running."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _read_file(directory: Path, number: int) -> tuple[dict[str, Any], float]:
    """A claim's content, empty while it is being written, and the time of its last beat."""
    try:
        with open(_file(directory, number)) as stream:  # opening makes NFS ask the server for the time
            text, beat = stream.read(), os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:  # another has taken over
        return {}, -1.0
    try:
        return json.loads(text), beat
    except json.JSONDecodeError:
        return {}, beat


def _file(directory: Path, number: int) -> Path:
    return directory / f"claim.{number}"


def _numbers(directory: Path) -> list[int]:
    return [int(name[6:]) for name in os.listdir(directory) if name.startswith("claim.") and name[6:].isdigit()]


def _highest(directory: Path) -> int:
    return max(_numbers(directory), default=0)
