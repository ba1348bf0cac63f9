"""A SLURM on one machine: two nodes, two pretended GPUs each, accounting, and partitions `debug` and `high`.

    eval "$(python -m slurm.one_machine up)"    # from here on sbatch, squeue and sacct speak to it
    python -m slurm.one_machine down; unset SLURM_CONF

It is SLURM itself, with munge and MariaDB, as root or as any user and without systemd. All of it lies in one directory
and heeds only those who can read its munge key; the host's own SLURM, munge and MariaDB are left alone.
"""

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
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
DEFAULT_PORT = 17001


def up(directory: Path, port: int, cpus: int) -> None:
    """Starts what does not run, and says on stdout how to reach it."""
    check_programs()
    check_directory(directory)
    begun = time.monotonic()
    os.umask(0o022)  # munged refuses folders that others may write to
    directory.mkdir(parents=True, exist_ok=True)
    with alone(directory):
        stopped = [name for name in daemons.NAMES if daemons.pid_of(directory, name) is None]
        if len(stopped) == len(daemons.NAMES):
            say(f"configuring it in {directory}")
            configure(directory, port, cpus)
        if not stopped and serves(directory):
            say(f"it is up already, in {directory}")
        else:
            bring_up(directory, stopped)
            say(f"up after {time.monotonic() - begun:.1f} s; `python -m slurm.one_machine down` ends it")
    print(f"export SLURM_CONF={directory}/etc/slurm.conf")


def bring_up(directory: Path, stopped: list[str]) -> None:
    """Starts the daemons that do not run, or ends them all where one of them fails."""
    port = configured_port(directory)
    starting = [daemon for daemon in daemons.daemons(directory, port) if daemon.name in stopped]
    for daemon in starting:
        if isinstance(daemon.address, int) and not daemons.is_free(daemon.address):
            raise UserError(
                f"port {daemon.address}, for {daemon.name}, is taken: give --port another BASE than {port}; "
                f"BASE to BASE+{PORTS - 1} are used"
            )
    try:
        for daemon in starting:
            say(f"starting {daemon.name}")
            daemons.start(daemon, directory)
        if not serves(directory):  # as where a job that could not be killed has drained its node
            daemons.client(directory, "scontrol", "update", f"NodeName={','.join(daemons.NODES)}", "State=RESUME")
        if not daemons.wait_for(lambda: serves(directory), daemons.START_WITHIN):
            raise UserError(f"the nodes are not up; {daemons.end_of(daemons.log_file(directory, 'slurmctld'))}")
        for node in set(stopped) & set(daemons.NODES):
            requeue_lost_jobs(directory, node)
    except BaseException:
        say("stopping the others")
        daemons.stop(directory)
        raise


def requeue_lost_jobs(directory: Path, node: str) -> None:
    """Requeues what died with a node, and would be taken for running for minutes."""
    running = daemons.client(directory, "squeue", "--noheader", f"--nodelist={node}", "--states=RUNNING")
    if running and not daemons.job_processes(directory, node):
        say(f"requeueing the jobs of {node}, which have died")
        for state in ("State=DOWN", "State=RESUME"):
            daemons.client(directory, "scontrol", "update", f"NodeName={node}", state, "Reason=restarted")


def down(directory: Path, keep: bool) -> None:
    """Ends all of it, jobs first, and removes the directory unless it is to be kept."""
    check_directory(directory)
    if not directory.exists() and not daemons.processes(directory):
        say(f"nothing to end: there is none in {directory}")
        return
    directory.mkdir(parents=True, exist_ok=True)
    with alone(directory):
        if not keep and daemons.pid_of(directory, "slurmctld"):
            for partition in ("debug", "high"):
                daemons.client(directory, "scancel", f"--partition={partition}")
            daemons.wait_for(lambda: not daemons.client(directory, "squeue", "--noheader"), 10)
        daemons.stop(directory)
        if not keep:
            shutil.rmtree(directory)
    say(f"ended; {'the next `up` goes on from' if keep else 'removed'} {directory}")


def status(directory: Path) -> None:
    """Says what runs, and fails unless all does."""
    running = {name: daemons.pid_of(directory, name) for name in daemons.NAMES}
    for name, pid in running.items():
        print(f"{name:10} {f'process {pid}' if pid else 'does not run'}")
    if not all(running.values()):
        raise UserError(f"not up in {directory}: `python -m slurm.one_machine up` starts what does not run")
    if not serves(directory):
        raise UserError(f"the nodes do not answer; logs are in {directory}/log")
    print(f"serves on ports from {configured_port(directory)}, with SLURM_CONF={directory}/etc/slurm.conf")


def serves(directory: Path) -> bool:
    """Whether slurmctld answers and knows both nodes to be well."""
    states = daemons.client(directory, "sinfo", "--noheader", "--Node", "--partition=debug", "--format=%T").split()
    return len(states) == len(daemons.NODES) and not any(re.search("unk|down|drain|inval|[*]", it) for it in states)


def check_programs() -> None:
    missing = [program for program in PACKAGES if not shutil.which(program, path=daemons.search_path())]
    if missing:
        packages = sorted({PACKAGES[program] for program in missing})
        raise UserError(
            f"not on this machine: {', '.join(missing)}; on Debian and Ubuntu they come by "
            f"`apt-get install {' '.join(packages)}`"
        )


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `up` or `down` is at work in {directory}") from None
        yield


def say(text: str) -> None:
    print(text, file=sys.stderr)


def between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not between {least} and {most}")
        return int(text)

    return number


def parse_arguments() -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    common.add_argument("--directory", type=Path, default=Path(cache, "ap-loss/slurm"), help="where all of it lies")
    parser = argparse.ArgumentParser(
        "python -m slurm.one_machine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", parents=[common], help="start it, or what of it does not run")
    starting.add_argument(
        "--port",
        type=between(1024, 65536 - PORTS),
        default=DEFAULT_PORT,
        metavar="BASE",
        help=f"the first of the {PORTS} ports it listens on, {DEFAULT_PORT} where not given; "
        "two can live side by side, each with a directory and ports of its own",
    )
    starting.add_argument("--cpus", type=between(1, 256), default=4, help="of each node, 4 where not given")
    removal = "end it and remove its directory with jobs, accounting and logs, so that each `up` begins afresh"
    ending = commands.add_parser("down", parents=[common], help=removal, description=removal)
    ending.add_argument("--keep", action="store_true", help="the directory: the next `up` goes on with its jobs")
    commands.add_parser("status", parents=[common], help="say what runs")
    return parser.parse_args()


def main() -> None:
    arguments = vars(parse_arguments())
    command = {"up": up, "down": down, "status": status}[arguments.pop("command")]
    arguments["directory"] = arguments["directory"].expanduser().resolve()
    try:
        command(**arguments)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
