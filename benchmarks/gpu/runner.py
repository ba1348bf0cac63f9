"""Running a part as a process with a time limit."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from src.utils import paths

HEARTBEAT = 15.0  # seconds between signs of life of a part
GRACE = 10.0  # seconds for a part to stop the processes that it has started


class Log:
    """Lines on standard output and in a file, to which the parts' own output goes, too."""

    def __init__(self, path: Path):
        self.path = path
        path.write_text("")

    def write(self, line: str) -> None:
        """Write a line to both."""
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")

    def last_line(self, start: int) -> str:
        """Return the last line in the file that is not empty, of those after its first `start` bytes."""
        with self.path.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def run_with_limit(
    command: list[str], limit: float, log: Log, variables: dict[str, str] | None = None
) -> tuple[float, str | None]:
    """Run a command whose output goes to the log; return its seconds, and why it failed or None.

    Args:
        limit: in seconds, after which the command and all processes that it has started are stopped.
        variables: of the environment, beside those of this process.
    """
    start, log_size = time.monotonic(), log.path.stat().st_size
    with log.path.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=paths.ROOT,
            env=os.environ | (variables or {}),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # a session, so that it can be stopped with all its processes
    failure = None
    try:
        while process.poll() is None:
            left = start + limit - time.monotonic()
            try:
                process.wait(min(max(left, 0), HEARTBEAT))
            except subprocess.TimeoutExpired:
                if time.monotonic() >= start + limit:
                    failure = f"not finished within {limit:g} s"
                    break
                print(f"    … {format_seconds(time.monotonic() - start)} of {format_seconds(limit)}", flush=True)
    finally:
        _stop(process)
    if failure is None and process.returncode != 0:
        failure = f"exit code {process.returncode}: {log.last_line(log_size)}"
    return time.monotonic() - start, failure


def _stop(process: subprocess.Popen) -> None:
    """Stop what is left of a process and of its process group."""
    with contextlib.suppress(ProcessLookupError):
        # Not killed at once: torchrun stops its processes, which are in groups of their own, when it is asked to stop.
        os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            process.poll()  # what has ended but was not waited for would count as alive
            os.killpg(process.pid, 0)  # raises ProcessLookupError once the group is empty
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def format_seconds(seconds: float) -> str:
    """Return minutes and seconds as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
