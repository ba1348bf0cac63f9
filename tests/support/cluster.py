"""A private SLURM for tests, and its clients. tests/conftest.py makes the fixtures known to all tests."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from slurm.one_machine.cluster import check_programs
from slurm.one_machine.configuration import PORTS
from slurm.one_machine.daemons import is_free, stop
from src.utils import paths
from src.utils.errors import UserError


def one_machine(command: str, directory: Path, *options: str) -> subprocess.CompletedProcess:
    """Run `python -m slurm.one_machine`, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "slurm.one_machine", command, f"--directory={directory}", *options],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def client(*command: str, **options) -> str:
    """Return what a client of SLURM prints. It has a timeout, since without a slurmctld it would wait for ever."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30, **options).stdout.strip()


def free_ports() -> int:
    """Return the first of as many free ports as it takes, below those that the system gives to clients."""
    start = os.getpid() * PORTS  # other processes look for theirs at the same time
    bases = (20_000 + (start + number * PORTS) % 12_000 for number in range(100))
    return next(base for base in bases if all(is_free(base + offset) for offset in range(PORTS)))


@pytest.fixture(scope="session")
def slurm_programs():
    """Skip where SLURM is not installed; fail there if the environment variable REQUIRE_SLURM is set."""
    try:
        check_programs()
    except UserError as error:
        if os.environ.get("REQUIRE_SLURM"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def short_directory(slurm_programs):
    """A function that makes directories whose paths leave room for the names of sockets, unlike pytest's."""
    directories = []

    def make() -> Path:
        directories.append(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))
        return directories[-1]

    yield make
    for directory in directories:
        stop(directory)  # what a failed test has left
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(short_directory):
    """The directory of a SLURM that SLURM_CONF names for the session."""
    directory = short_directory()
    started = one_machine("up", directory, f"--port={free_ports()}")
    assert started.returncode == 0, started.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", f"{directory}/etc/slurm.conf")
        yield directory
    ended = one_machine("down", directory)
    assert ended.returncode == 0, ended.stderr
