"""A process that has imported torch, W&B and Hydra once, and forks a child for each Python program that a test starts.

Importing them takes eight seconds of a core, and the tests start some ninety programs. A forked child is a real
process with its own arguments, environment, working directory, streams and, on request, session, so that signals,
kills and exit codes prove what they prove of a fresh interpreter. Three things differ: `/proc/<pid>/environ` shows the
server's environment, all children share one hash seed, and variables that a library reads when it is imported
(OMP_NUM_THREADS) are the server's.

Only for Linux; elsewhere :mod:`tests.support.programs` starts fresh interpreters.
"""

import atexit
import contextlib
import importlib
import os
import pickle
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from src.utils import paths

# What programs import; not the programs themselves, which runpy executes, and nothing that starts a thread (pandas).
PRELOADED = [
    "torch",
    "torchvision",
    "wandb",
    "wandb.proto.wandb_internal_pb2",
    "wandb.sdk.launch",  # which wandb.init imports
    "hydra",
    "submitit",
    "matplotlib.figure",
    "scipy.stats",
    "src.launch.cli",
    "src.launch.sweep_runs",
    "src.runs.wandb_log",
    "src.training.experiment",
    "src.training.linear_model",
    "src.data.linear_problems",
]
LENGTH = struct.Struct("!Q")
NUMBER = struct.Struct("!i")  # a process id, and later a wait status


@dataclass(frozen=True)
class Request:
    """A program to run: `arguments` are those of the interpreter, ["-m", "src.run", …] or ["-c", code, …]."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    new_session: bool


class ForkedProcess:
    """A forked program, with the part of `subprocess.Popen`'s interface that tests use.

    The caller holds the ends of the pipes that the program's streams were connected to, or None.
    """

    def __init__(self, arguments: Sequence[str], status: int, pipes: Sequence[IO[str] | None]):
        self.args = [sys.executable, *arguments]
        self.stdin, self.stdout, self.stderr = pipes
        self.returncode: int | None = None
        self._status, self._lock = os.fdopen(status, "rb", buffering=0), threading.Lock()
        started = self._status.read(NUMBER.size)
        if not started:
            raise RuntimeError("the fork server has ended")
        (self.pid,) = NUMBER.unpack(started)

    def poll(self) -> int | None:
        """Return the exit code, minus the number of the signal that ended the program, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the program has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended within so many seconds.
        """
        if self._wait(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def _wait(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
                (status,) = NUMBER.unpack(self._status.read(NUMBER.size))
                self.returncode = os.waitstatus_to_exitcode(status)
                self._status.close()
            return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Write `input`, and return all that the program writes to stdout and stderr until it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        contents: dict[int, str] = {}

        def read(index: int, stream: IO[str]) -> None:
            with stream:
                contents[index] = stream.read()

        streams = [(index, stream) for index, stream in enumerate((self.stdout, self.stderr)) if stream is not None]
        readers = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams]
        for reader in readers:
            reader.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or "")
        for reader in readers:
            reader.join(None if end is None else max(end - time.monotonic(), 0))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(None if end is None else max(end - time.monotonic(), 0))
        return contents.get(0), contents.get(1)

    def send_signal(self, signum: int) -> None:
        """Send a signal to the program unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        """Kill the program."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The test process's side of the server, which is started with the first program."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: tuple[socket.socket, subprocess.Popen] | None = None

    def start(self, request: Request, streams: Sequence[int], pipes: Sequence[IO[str] | None]) -> ForkedProcess:
        """Start a program with these file descriptors as stdin, stdout and stderr."""
        message = pickle.dumps(request)
        receive, send = os.pipe()
        with self._lock:
            if self._server is None:
                self._server = _start_server()
            connection, _ = self._server
            socket.send_fds(connection, [LENGTH.pack(len(message))], [*streams, send])
            connection.sendall(message)
        os.close(send)
        return ForkedProcess(request.arguments, receive, pipes)


def _start_server() -> tuple[socket.socket, subprocess.Popen]:
    """Return a connection to a new server, which ends when the connection is closed, and its process."""
    ours, servers = socket.socketpair()
    with servers:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(servers.fileno())],
            cwd=paths.ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"},
            stdin=subprocess.DEVNULL,
            pass_fds=[servers.fileno()],
            start_new_session=True,
        )
    return ours, process


def serve(connection: socket.socket) -> Request | None:
    """Fork a child for each request. Return the request in the child, and None in the server when nobody is left."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that the children's parents leave no zombies
    while True:
        header, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 4)
        if not header:
            return None
        request = pickle.loads(_receive(connection, *LENGTH.unpack(header)))
        if os.fork() == 0:
            connection.close()
            if _fork_and_wait(descriptors):
                return request
        for descriptor in descriptors:
            os.close(descriptor)


def _fork_and_wait(descriptors: list[int]) -> bool:
    """Fork the program, and return True in it. In its parent report the process id and the end, and exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, status = descriptors
    child = os.fork()
    if child == 0:
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        for descriptor in descriptors:
            os.close(descriptor)
        return True
    for stream in (0, 1, 2, *streams):  # so that the end of the program is the end of its output
        os.close(stream)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, NUMBER.pack(child))
        os.write(status, NUMBER.pack(os.waitpid(child, 0)[1]))
    os._exit(0)


def _receive(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        content += connection.recv(length - len(content))
    return content


def execute(request: Request) -> None:
    """Run the requested program in this process, as the interpreter runs its main module."""
    from wandb.sdk.data_types._private import MEDIA_TMP

    # W&B makes this folder when it is imported and removes it at exit, so that the first program would end the others'.
    MEDIA_TMP.name = tempfile.mkdtemp("wandb-media")
    if request.new_session:
        os.setsid()
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    # The server's own stream may be seekable, and this one not.
    sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, closefd=False)
    sys.stdout.reconfigure(line_buffering=os.isatty(1), write_through=unbuffered)
    option, program, *arguments = request.arguments
    if option == "-m":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        return
    if option != "-c":
        raise ValueError(f"{option}: only -m and -c are known")
    sys.argv = ["-c", *arguments]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(program, "<string>", "exec"), main.__dict__)


class Ending:
    """Ends a program once its atexit functions have run, without taking apart all modules, which takes two seconds."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        atexit.register(self._leave)  # the first to be registered is the last to run

    def run(self, request: Request) -> None:
        """Execute a program, and note with which code the interpreter is going to exit."""
        try:
            execute(request)
        except SystemExit as stop:
            self.exit_code = 0 if stop.code is None else stop.code if isinstance(stop.code, int) else 1
            raise
        except KeyboardInterrupt:  # the interpreter ends by this signal
            raise
        except BaseException:
            self.exit_code = 1
            raise
        self.exit_code = 0

    def _leave(self) -> None:
        if self.exit_code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.exit_code)


def main() -> None:
    """Import everything and serve. A child comes back from `serve` and ends as any interpreter does."""
    ending = Ending()
    for name in PRELOADED:
        importlib.import_module(name)
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise RuntimeError(f"importing has started {len(threads) - 1} threads, which a fork would lose")
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        ending.run(request)


if __name__ == "__main__":
    main()
