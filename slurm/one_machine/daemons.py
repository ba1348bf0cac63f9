"""The daemons of a SLURM that lies in one directory: how each is started, found again, and stopped."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from src.utils.errors import UserError

NAMES = ("munged", "mariadbd", "slurmdbd", "slurmctld", "n1", "n2")  # each needs those before it
NODES = ("n1", "n2")
START_WITHIN = 60  # seconds
STOP_WITHIN = 15
# What the daemons, and the slurmstepd of jobs, have in their environments: a process id alone may be another's by now.
MARK = "ONE_MACHINE_SLURM"


class Daemon(NamedTuple):
    name: str
    command: list[str]
    address: int | Path  # the port or the unix socket on which it listens


def daemons(directory: Path, port: int) -> list[Daemon]:
    """All of them, in the order of starting; in the foreground, so that it is known at once when one ends."""
    etc, run = directory / "etc", directory / "run"
    munged = [  # forced, since otherwise all users must have access to its socket, and homes are often private
        "munged",
        "--foreground",
        "--force",
        f"--key-file={etc}/munge.key",
        f"--socket={run}/munge.sock",
        f"--seed-file={run}/munged.seed",
        f"--pid-file={run}/munged.own.pid",
    ]
    mariadbd = [
        "mariadbd",
        *mariadb_options(directory / "database"),
        "--skip-networking",
        "--innodb-lock-wait-timeout=900",
        f"--socket={run}/mariadb.sock",
        f"--pid-file={run}/mariadbd.own.pid",
    ]
    return [
        Daemon("munged", munged, run / "munge.sock"),
        Daemon("mariadbd", mariadbd, run / "mariadb.sock"),
        Daemon("slurmdbd", ["slurmdbd", "-D"], port + 1),
        Daemon("slurmctld", ["slurmctld", "-D", "-i"], port),
        Daemon("n1", ["slurmd", "-D", "-N", "n1"], port + 2),
        Daemon("n2", ["slurmd", "-D", "-N", "n2"], port + 3),
    ]


def mariadb_options(data: Path) -> list[str]:
    """For the server and for what makes its files. It serves root only where root is named."""
    return ["--no-defaults", f"--user={user()}", f"--datadir={data}", "--innodb-log-file-size=8M"]


def user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise UserError(f"user {os.geteuid()} has no name on this machine, and SLURM works for names only") from None


def environment(directory: Path) -> dict[str, str]:
    """For the daemons and the clients that we call: without variables of another SLURM, whose job this may be in."""
    theirs = ("SLURM", "SINFO", "SQUEUE", "SCANCEL", "SCONTROL")
    others = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return others | {
        "PATH": search_path(),
        "SLURM_CONF": f"{directory}/etc/slurm.conf",
        "MYSQL_UNIX_PORT": f"{directory}/run/mariadb.sock",
    }


def search_path() -> str:
    """With the folders of daemons, which are not on every user's path."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def client(directory: Path, *command: str) -> str:
    """What a client of SLURM prints, or nothing: it would wait for ever for a slurmctld that is gone."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        answer = subprocess.run(command, env=environment(directory), capture_output=True, text=True, timeout=10)
        return answer.stdout
    return ""


def listens(address: int | Path) -> bool:
    family, place = (
        (socket.AF_INET, ("127.0.0.1", address)) if isinstance(address, int) else (socket.AF_UNIX, str(address))
    )
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(place) == 0


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start(daemon: Daemon, directory: Path) -> None:
    """Starts a daemon and waits until it listens."""
    if isinstance(daemon.address, Path):
        daemon.address.unlink(missing_ok=True)
    with log_file(directory, daemon.name).open("ab") as log:
        process = subprocess.Popen(
            daemon.command,
            env=environment(directory) | {MARK: str(directory)},
            cwd=directory,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    pid_file(directory, daemon.name).write_text(f"{process.pid}\n")
    earlier = NAMES[: NAMES.index(daemon.name)]

    def fallen() -> list[str]:
        ended = [name for name in earlier if pid_of(directory, name) is None]
        return ended if process.poll() is None else [*ended, daemon.name]

    wait_for(lambda: listens(daemon.address) or fallen(), START_WITHIN)
    for name in fallen():
        raise UserError(f"{name} has ended; {end_of(log_file(directory, name))}")
    if not listens(daemon.address):
        raise UserError(f"{daemon.name} is not up after {START_WITHIN} s; {end_of(log_file(directory, daemon.name))}")


def log_file(directory: Path, name: str) -> Path:
    return directory / "log" / f"{name}.log"


def end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"the end of {log}:", *lines])


def pid_file(directory: Path, name: str) -> Path:
    """Ours: the daemons' own are elsewhere, since they are now and then empty."""
    return directory / "run" / f"{name}.pid"


def pid_of(directory: Path, name: str) -> int | None:
    """The process of a daemon, or None where it does not run, whatever its pid file says."""
    try:
        pid = int(pid_file(directory, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_ours(pid, directory) else None


def is_ours(pid: int, directory: Path) -> bool:
    variables = variables_of(pid)
    return f"{MARK}={directory}" in variables or node_of(variables, directory) is not None


def node_of(variables: set[str], directory: Path) -> str | None:
    """The node on which a process with these variables is a job's. A user's shell has SLURM_CONF, but no such node."""
    if f"SLURM_CONF={directory}/etc/slurm.conf" not in variables:
        return None
    return next((node for node in NODES if f"SLURMD_NODENAME={node}" in variables), None)


def variables_of(pid: int) -> set[str]:
    """NAME=value of all variables with which the process began; none where it has ended or is another user's."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0"))
    except OSError:
        return set()


def processes(directory: Path) -> list[int]:
    """All that belongs to this SLURM: daemons, slurmstepd, jobs."""
    return [pid for pid in all_pids() if is_ours(pid, directory)]


def job_processes(directory: Path, node: str) -> list[int]:
    return [pid for pid in all_pids() if node_of(variables_of(pid), directory) == node]


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def end(pids: list[int], directory: Path, seconds: float) -> None:
    """Asks processes to end, kills those that have not after a while, and waits until all are gone."""

    def left() -> list[int]:
        return [pid for pid in pids if is_ours(pid, directory)]

    for sent, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, STOP_WITHIN)):
        for pid in left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        wait_for(lambda: not left(), patience)


def stop(directory: Path) -> None:
    """Ends the daemons, the last one first, and whatever they have left."""
    for name in reversed(NAMES):
        pid = pid_of(directory, name)
        if pid is not None:
            end([pid], directory, STOP_WITHIN)
    end(processes(directory), directory, seconds=3)
    end(processes(directory), directory, seconds=0)  # what jobs have begun meanwhile
