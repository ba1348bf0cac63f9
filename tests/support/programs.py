"""Starting the project's programs as a user does: as processes."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.utils import paths
from tests.support.fork_server import ForkedProcess, ForkServer, Request

TIMEOUT = 600  # seconds
_SERVER = ForkServer()
Process = subprocess.Popen | ForkedProcess


def own_environment() -> dict[str, str]:
    """Return the environment for a process with its own W&B service: that of the tests would outlive it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}


def start_python(
    arguments: Sequence[object],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = paths.ROOT,
    merge_streams: bool = False,
    terminal: int | None = None,
    fresh: bool = False,
) -> Process:
    """Start a Python program, with pipes as its streams unless it gets a terminal.

    Args:
        arguments: of the interpreter: "-m" and a module, or "-c" and code, then those of the program.
        environment: all of it; by default :func:`own_environment`.
        folder: the working directory.
        merge_streams: whether stderr goes where stdout goes.
        terminal: a file descriptor for stdout and stderr; the program then leads a session and has no input.
        fresh: whether to start a new interpreter rather than fork one that has imported everything.
    """
    words = [str(argument) for argument in arguments]
    environment = own_environment() if environment is None else environment
    if fresh or sys.platform != "linux":
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE if terminal is None else subprocess.DEVNULL,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT if merge_streams or terminal is not None else subprocess.PIPE,
            start_new_session=terminal is not None,
            text=True,
        )
    request = Request(words, dict(environment), str(folder), new_session=terminal is not None)
    if terminal is not None:
        with open(os.devnull) as nothing:
            return _SERVER.start(request, [nothing.fileno(), terminal, terminal], [None, None, None])
    (stdin, to_program), (from_program, stdout) = os.pipe(), os.pipe()
    from_errors, stderr = (None, os.dup(stdout)) if merge_streams else os.pipe()
    pipes = [os.fdopen(to_program, "w"), os.fdopen(from_program)]
    pipes.append(None if from_errors is None else os.fdopen(from_errors))
    streams = [stdin, stdout, stderr]
    try:
        return _SERVER.start(request, streams, pipes)
    finally:
        for stream in streams:
            os.close(stream)


def run_python(
    arguments: Sequence[object],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = paths.ROOT,
    input: str = "",
    check: bool = False,
    fresh: bool = False,
) -> subprocess.CompletedProcess:
    """Run a Python program to its end, and return its exit code and output; see :func:`start_python`.

    Raises:
        subprocess.CalledProcessError: with `check`, its exit code is not 0.
    """
    process = start_python(arguments, environment=environment, folder=folder, fresh=fresh)
    try:
        stdout, stderr = process.communicate(input, timeout=TIMEOUT)
    except BaseException:
        process.kill()
        raise
    completed = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    if check and completed.returncode:
        raise subprocess.CalledProcessError(completed.returncode, process.args, stdout, stderr)
    return completed


def start_run(*overrides: str, fresh: bool = False, **variables: str) -> Process:
    """Start `python -m src.run` with these overrides and additional environment variables; stderr goes to stdout."""
    words = ["-m", "src.run", *overrides]
    return start_python(words, environment=own_environment() | variables, merge_streams=True, fresh=fresh)


def call_run(*overrides: str, fresh: bool = False) -> tuple[int, str]:
    """Return the exit code and the output of `python -m src.run` with these overrides."""
    process = start_run(*overrides, fresh=fresh)
    output, _ = process.communicate(timeout=TIMEOUT)
    return process.returncode, output
