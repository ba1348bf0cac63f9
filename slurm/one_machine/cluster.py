"""Starting and stopping a SLURM on this machine."""

import contextlib
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from slurm.one_machine import daemons
from slurm.one_machine.configuration import PORTS, check_directory, configure, configured_port
from src.utils.errors import UserError

PACKAGES = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "scontrol": "slurm-client",
}


def up(directory: Path, port: int, cpus: int) -> None:
    """Start the daemons that are not running, and print the shell command that makes clients use them."""
    check_programs()
    check_directory(directory)
    start = time.monotonic()
    os.umask(0o022)  # munged refuses folders that others may write to
    directory.mkdir(parents=True, exist_ok=True)
    with _exclusive(directory):
        stopped = [name for name in daemons.NAMES if daemons.pid_of(directory, name) is None]
        if len(stopped) == len(daemons.NAMES):
            _log(f"configuring it in {directory}")
            configure(directory, port, cpus)
        if not stopped and _is_serving(directory):
            _log(f"already up in {directory}")
        else:
            _start_daemons(directory, stopped)
            _log(f"up after {time.monotonic() - start:.1f} s; `python -m slurm.one_machine down` stops it")
    print(f"export SLURM_CONF={directory}/etc/slurm.conf")


def _start_daemons(directory: Path, stopped: list[str]) -> None:
    """Start the daemons of these names; if one of them fails, stop all daemons."""
    port = configured_port(directory)
    starting = [daemon for daemon in daemons.daemons(directory, port) if daemon.name in stopped]
    for daemon in starting:
        if isinstance(daemon.address, int) and not daemons.is_free(daemon.address):
            raise UserError(
                f"port {daemon.address}, for {daemon.name}, is taken: choose another --port BASE than {port}; "
                f"BASE to BASE+{PORTS - 1} are used"
            )
    try:
        for daemon in starting:
            _log(f"starting {daemon.name}")
            daemons.start(daemon, directory)
        if not _is_serving(directory):  # a job that could not be killed drains its node, for example
            daemons.client(directory, "scontrol", "update", f"NodeName={','.join(daemons.NODES)}", "State=RESUME")
        if not daemons.wait_for(lambda: _is_serving(directory), daemons.START_WITHIN):
            raise UserError(f"the nodes are not up; {daemons.end_of(daemons.log_file(directory, 'slurmctld'))}")
        for node in set(stopped) & set(daemons.NODES):
            _requeue_lost_jobs(directory, node)
    except BaseException:
        _log("stopping the others")
        daemons.stop(directory)
        raise


def _requeue_lost_jobs(directory: Path, node: str) -> None:
    """Requeue the jobs that died with a node; SLURM would show them as running for minutes."""
    running = daemons.client(directory, "squeue", "--noheader", f"--nodelist={node}", "--states=RUNNING")
    if running and not daemons.job_processes(directory, node):
        _log(f"requeueing the jobs that died on {node}")
        for state in ("State=DOWN", "State=RESUME"):
            daemons.client(directory, "scontrol", "update", f"NodeName={node}", state, "Reason=restarted")


def down(directory: Path, *, keep: bool) -> None:
    """Stop all daemons and jobs, jobs first, and remove the directory unless it is to be kept."""
    check_directory(directory)
    if not directory.exists() and not daemons.processes(directory):
        _log(f"nothing to stop: there is none in {directory}")
        return
    directory.mkdir(parents=True, exist_ok=True)
    with _exclusive(directory):
        if not keep and daemons.pid_of(directory, "slurmctld"):
            for partition in ("debug", "high"):
                daemons.client(directory, "scancel", f"--partition={partition}")
            daemons.wait_for(lambda: not daemons.client(directory, "squeue", "--noheader"), 10)
        daemons.stop(directory)
        if not keep:
            shutil.rmtree(directory)
    _log(f"stopped; {'the next `up` continues with' if keep else 'removed'} {directory}")


def status(directory: Path) -> None:
    """Print which daemons are running; raise a UserError unless all are and the nodes are usable."""
    running = {name: daemons.pid_of(directory, name) for name in daemons.NAMES}
    for name, pid in running.items():
        print(f"{name:10} {f'process {pid}' if pid else 'not running'}")
    if not all(running.values()):
        raise UserError(f"not up in {directory}: `python -m slurm.one_machine up` starts the missing daemons")
    if not _is_serving(directory):
        raise UserError(f"the nodes do not answer; logs are in {directory}/log")
    print(f"serves on ports from {configured_port(directory)}, with SLURM_CONF={directory}/etc/slurm.conf")


def _is_serving(directory: Path) -> bool:
    """Return whether slurmctld answers and both nodes are usable."""
    states = daemons.client(directory, "sinfo", "--noheader", "--Node", "--partition=debug", "--format=%T").split()
    unusable = re.compile("unk|down|drain|inval|[*]")
    return len(states) == len(daemons.NODES) and not any(unusable.search(state) for state in states)


def check_programs() -> None:
    """Raise a UserError that names what is to be installed, unless all programs of SLURM are there."""
    missing = [program for program in PACKAGES if not shutil.which(program, path=daemons.search_path())]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise UserError(
            f"not installed: {', '.join(missing)}; on Debian and Ubuntu, install them with "
            f"`apt-get install {' '.join(packages)}`"
        )


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory; raise a UserError if another process has it."""
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `up` or `down` is running in {directory}") from None
        yield


def _log(text: str) -> None:
    print(text, file=sys.stderr)
