"""The daemons of a SLURM in one directory: starting, finding and stopping them."""

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
STOP_WITHIN = 15  # seconds
# A variable in the environments of the daemons and of jobs' slurmstepd: a process id alone may have been reused.
MARK = "ONE_MACHINE_SLURM"


class Daemon(NamedTuple):
    """A daemon and how to start it."""

    name: str
    command: list[str]
    address: int | Path  # the port or the unix socket on which it listens


def daemons(directory: Path, port: int) -> list[Daemon]:
    """Return all daemons in the order of starting; they run in the foreground, so that the end of one is noticed."""
    etc, run = directory / "etc", directory / "run"
    munged = [  # with --force, as it otherwise requires that all users can access its socket; homes are often private
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
    """Return the options of MariaDB and of its installation; --user is required to run it as root."""
    return ["--no-defaults", f"--user={user()}", f"--datadir={data}", "--innodb-log-file-size=8M"]


def user() -> str:
    """Return the name of this process's user; raise a UserError if there is none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise UserError(f"user {os.geteuid()} has no name on this machine, which SLURM requires") from None


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of daemons and clients, without the variables of any other SLURM."""
    prefixes = ("SLURM", "SINFO", "SQUEUE", "SCANCEL", "SCONTROL")
    others = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return others | {
        "PATH": search_path(),
        "SLURM_CONF": f"{directory}/etc/slurm.conf",
        "MYSQL_UNIX_PORT": f"{directory}/run/mariadb.sock",
    }


def search_path() -> str:
    """Return PATH with the folders of daemons, which not every user's has."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def client(directory: Path, *command: str) -> str:
    """Return what a client of SLURM prints; "" after 10 seconds, as it waits for ever if there is no slurmctld."""
    try:
        return subprocess.run(command, env=environment(directory), capture_output=True, text=True, timeout=10).stdout
    except subprocess.TimeoutExpired:
        return ""


def listens(address: int | Path) -> bool:
    """Return whether a server accepts connections at a local port or unix socket."""
    is_port = isinstance(address, int)
    with socket.socket(socket.AF_INET if is_port else socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", address) if is_port else str(address)) == 0


def is_free(port: int) -> bool:
    """Return whether a server could use this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true, and return whether it became true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def start(daemon: Daemon, directory: Path) -> None:
    """Start a daemon and wait until it listens; raise a UserError with the end of its log if it does not."""
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

    def ended() -> list[str]:
        names = [name for name in earlier if pid_of(directory, name) is None]
        return names if process.poll() is None else [*names, daemon.name]

    wait_for(lambda: listens(daemon.address) or bool(ended()), START_WITHIN)
    for name in ended():
        raise UserError(f"{name} has ended; {end_of(log_file(directory, name))}")
    if not listens(daemon.address):
        raise UserError(f"{daemon.name} is not up after {START_WITHIN} s; {end_of(log_file(directory, daemon.name))}")


def log_file(directory: Path, name: str) -> Path:
    """Return the log of a daemon."""
    return directory / "log" / f"{name}.log"


def end_of(log: Path) -> str:
    """Return the last lines of a log, with a heading."""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join([f"the end of {log}:", *lines])


def pid_file(directory: Path, name: str) -> Path:
    """Return the file with a daemon's process id; the daemons' own files are not used, as they are sometimes empty."""
    return directory / "run" / f"{name}.pid"


def pid_of(directory: Path, name: str) -> int | None:
    """Return the process id of a daemon; None if it is not running, even if its pid file exists."""
    try:
        pid = int(pid_file(directory, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_ours(pid, directory) else None


def is_ours(pid: int, directory: Path) -> bool:
    """Return whether a process is a daemon or a job of this SLURM."""
    variables = variables_of(pid)
    return f"{MARK}={directory}" in variables or node_of(variables, directory) is not None


def node_of(variables: set[str], directory: Path) -> str | None:
    """Return the node of a job's process with these variables; None for others, such as a shell with SLURM_CONF."""
    if f"SLURM_CONF={directory}/etc/slurm.conf" not in variables:
        return None
    return next((node for node in NODES if f"SLURMD_NODENAME={node}" in variables), None)


def variables_of(pid: int) -> set[str]:
    """Return the variables with which a process started as NAME=value; none if it has ended or is another user's."""
    try:
        return set(Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0"))
    except OSError:
        return set()


def processes(directory: Path) -> list[int]:
    """Return all processes of this SLURM: daemons, slurmstepd, jobs."""
    return [pid for pid in all_pids() if is_ours(pid, directory)]


def job_processes(directory: Path, node: str) -> list[int]:
    """Return the processes of jobs on a node."""
    return [pid for pid in all_pids() if node_of(variables_of(pid), directory) == node]


def all_pids() -> list[int]:
    """Return the ids of all processes of this machine."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _terminate(pids: list[int], directory: Path, seconds: float) -> None:
    """Terminate processes, kill those that are alive after some seconds, and wait until all are gone."""

    def alive() -> list[int]:
        return [pid for pid in pids if is_ours(pid, directory)]

    for signum, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, STOP_WITHIN)):
        for pid in alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
        wait_for(lambda: not alive(), patience)


def stop(directory: Path) -> None:
    """Stop the daemons, the last one first, and then all other processes of this SLURM."""
    for name in reversed(NAMES):
        pid = pid_of(directory, name)
        if pid is not None:
            _terminate([pid], directory, STOP_WITHIN)
    _terminate(processes(directory), directory, seconds=3)
    _terminate(processes(directory), directory, seconds=0)  # those that jobs started meanwhile
