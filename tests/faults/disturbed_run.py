"""A run to be disturbed: how it is started, watched, asked for again, and compared with one that was left alone."""

import contextlib
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from analysis.reading.local import read_local
from slurm.one_machine.daemons import all_pids, variables_of, wait_for
from src.runs.state import State, state
from src.utils.files import read_json
from tests.conftest import ROOT, TINY, own_environment

LIMIT = 240.0  # seconds for whatever is waited for
STEPS_IN_EPOCH = 7
MARK = "DISTURBED_RUN"  # in the environment of all processes of a run, by which they are found
MEASURED = {  # what differs each time
    "iteration_seconds",
    "images_per_second",
    "loss_seconds",
    "peak_memory",
    "detections.path",
}
ASKS = 3


@dataclass(frozen=True)
class Setting:
    """What decides the numbers of a run here."""

    seed: int
    epochs: int = 5
    processes: int = 1

    @property
    def steps(self) -> int:
        return STEPS_IN_EPOCH * self.epochs

    def overrides(self, data: Path, outputs: Path) -> list[str]:
        return [
            *TINY,
            f"schedule.epochs={self.epochs}",
            "schedule.evaluate_every=2",
            f"seed={self.seed}",
            f"dataset.root={data}",
            f"outputs={outputs}",
        ]

    def program(self) -> list[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        return [sys.executable, *(torchrun if self.processes > 1 else []), "-m", "src.run"]


@dataclass(frozen=True)
class Kind:
    """A way to disturb a run."""

    name: str
    strike: Callable[[Any], None]
    count: int = 1  # in a whole campaign
    where: str = "local"
    processes: int = 1
    epochs: int = 5
    options: tuple[str, ...] = ()  # of the run's command


class Program:
    """A started command, with a terminal of its own, so that the progress bar shows every step."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str] | None = None):
        terminal, inside = pty.openpty()
        termios.tcsetwinsize(inside, (50, 250))
        environment = dict(environment or own_environment()) | {"OMP_NUM_THREADS": "1", MARK: str(folder)}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self.output = ""
        threading.Thread(target=self._read, args=[terminal], daemon=True).start()

    @property
    def step(self) -> int:
        """The last step that the progress bar has shown, -1 before it is there."""
        shown = re.findall(r"\| (\d+)/\d+ \[", self.output)
        return int(shown[-1]) if shown else -1

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(LIMIT)

    def send(self, signum: int, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, signum)

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError), os.fdopen(terminal, "rb", 0) as stream:
            while text := stream.read(65536):
                self.output += text.decode(errors="replace")


@dataclass(frozen=True)
class Undisturbed:
    """What a run comes to that is left alone."""

    directory: Path
    cells: dict[tuple[int, str], Any]

    @classmethod
    def make(cls, setting: Setting, data: Path, folder: Path) -> "Undisturbed":
        program = Program([*setting.program(), *setting.overrides(data, folder / "outputs")], folder)
        if program.wait():
            raise RuntimeError(f"an undisturbed run has failed:\n{program.output}")
        (logged,) = read_local(folder / "outputs").all
        steps = [step for step, column in cells_of(logged.history) if column == "classification_loss"]
        if steps != list(range(1, setting.steps + 1)):
            raise RuntimeError(f"an undisturbed run has logged the steps {steps}")
        return cls(folder / "outputs" / logged.run_id, cells_of(logged.history))


def cells_of(history) -> dict[tuple[int, str], Any]:
    """All that a history tells, by step and column, without what is measured of the machine."""
    return {
        (row["global_step"], column): value
        for row in history.to_dict("records")
        for column, value in row.items()
        if column not in MEASURED and value == value
    }


class Trial:
    """One fault in one run."""

    def __init__(self, number: int, kind: Kind, setting: Setting, data: Path, folder: Path, seed: int):
        self.number, self.kind, self.setting, self.folder = number, kind, setting, folder
        self.random = random.Random(f"{seed} {number} {kind.name}")
        self.outputs = folder / "outputs"
        self.outputs.mkdir(parents=True)
        often = self.random.choice(["checkpoint_minutes=10", "checkpoint_minutes=0.02"])
        self.overrides = [*setting.overrides(data, self.outputs), often, *kind.options]
        self.cleanup = contextlib.ExitStack()
        self.moment, self.notes, self.problems = "", [], []
        self.asked, self.may_lack, self.lost, self.needs_retry = 0, set(), 0, False

    @property
    def directory(self) -> Path:
        """The run's folder, which need not exist."""
        found = [path for path in self.outputs.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return found[0] if found else self.outputs / "none"

    def state(self) -> State:
        return state(self.directory)

    def command(self) -> list[str]:
        return [*self.setting.program(), *self.overrides]

    def start(self) -> Program:
        return Program(self.command() + ["retry=true"] * self.needs_retry, self.folder)

    def wait_for_a_moment(self, program: Program, first: int = -3, last: int | None = None) -> None:
        """Until some step, or until the program begins if that is below 1, and then a little."""
        step = self.random.randint(first, self.setting.steps if last is None else last)
        if step < 1:
            time.sleep(self.random.uniform(0, 6))
        else:
            self.expect(wait_for(lambda: program.step >= step or program.ended(), LIMIT), f"no step {step}")
            time.sleep(self.random.uniform(0, 0.3))
        self.moment = f"step {program.step}" if program.step >= 0 else "start"

    def saved_step(self) -> int | None:
        """The step of the checkpoint, None if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return torch.load(self.directory / "checkpoint.pt", weights_only=True, mmap=True)["progress"]["step"]
        return None

    def note_end(self, program: Program) -> None:
        """Waits for the end, and notes how it ended and what it left."""
        code, step = program.wait(), self.saved_step()
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.notes += [ended, f"checkpoint of step {step}" if step else "no checkpoint"]

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.problems.append(otherwise)

    def finish(self) -> None:
        """Asks again, as long as it is not finished, with the command that was used at first."""
        while self.state() != State.FINISHED and self.asked < ASKS:
            if self.state() == State.FAILED and not self.needs_retry:
                self.problems.append(f"would not go on without retry=true: {self.why_failed()}")
                self.needs_retry = True
            self.asked += 1
            self.ask()
            wait_for(lambda: self.state() != State.RUNNING, LIMIT)

    def ask(self) -> None:
        """Gives the command again, and waits until it is over."""
        self.start().wait()

    def why_failed(self) -> str:
        return read_json(self.directory / "failed.json")["error"]

    def check(self, reference: Undisturbed) -> None:
        """Notes each way in which the run differs from one that was left alone."""
        if self.state() != State.FINISHED:
            self.problems.append(f"is {self.state()}, not finished, though asked {self.asked} times")
            return
        expected, found = (read_weights(folder) for folder in (reference.directory, self.directory))
        same = expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
        self.expect(same, "other weights")
        metrics = [read_json(folder / "summary.json")["metrics"] for folder in (reference.directory, self.directory)]
        self.expect(metrics[0] == metrics[1], f"other metrics: {metrics[1]} instead of {metrics[0]}")
        self._check_log(reference.cells)
        leftover = [path.name for path in self.directory.iterdir() if path.name.startswith(".")]
        self.expect(not leftover, f"temporary files are left: {leftover}")

    def _check_log(self, expected: dict[tuple[int, str], Any]) -> None:
        (logged,) = read_local(self.outputs).all
        found = cells_of(logged.history)
        steps = logged.history["global_step"].tolist()
        self.expect(steps == sorted(set(steps)), "steps logged twice")
        self.expect(logged.finished, "the log does not say that the run has finished")
        missing = expected.keys() - found.keys()
        self.lost = len({step for step, _ in missing})
        unexplained = sorted(missing - self.may_lack)
        self.expect(not unexplained, f"{len(unexplained)} values are missing in the log, as {unexplained[:3]}")
        self.expect(not found.keys() - expected.keys(), f"logged besides: {sorted(found.keys() - expected.keys())[:3]}")
        others = [key for key in expected.keys() & found.keys() if expected[key] != found[key]]
        self.expect(not others, f"{len(others)} logged values differ, as {sorted(others)[:3]}")

    def pids(self, condition: Callable[[set[str]], bool] = lambda variables: True) -> list[int]:
        """The processes of this run whose environment meets the condition."""
        found = ((pid, variables_of(pid)) for pid in all_pids())
        return [pid for pid, variables in found if f"{MARK}={self.folder}" in variables and condition(variables)]

    def end(self) -> None:
        """Leaves nothing running or mounted."""
        self.cleanup.close()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.pids(), 10)


def read_weights(directory: Path) -> dict[str, torch.Tensor]:
    return torch.load(directory / "checkpoint.pt", weights_only=True, mmap=True)["model"]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
