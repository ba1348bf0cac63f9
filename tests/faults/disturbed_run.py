"""A run to be disturbed: how it is started, watched, resumed, and compared with an undisturbed one."""

import contextlib
import os
import pty
import random
import re
import signal
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reading.local import read_local
from slurm.one_machine.daemons import all_pids, variables_of, wait_for
from src.runs.state import State, state
from src.utils.files import read_json
from tests.support.programs import own_environment, start_python
from tests.support.runs import TINY, run_folders, same_weights, saved_step

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
MOST_REPEATS = 3


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
        """Return the words after `python` that start the run's program."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        return [*(torchrun if self.processes > 1 else []), "-m", "src.run"]

    def make_undisturbed(self, data: Path, folder: Path, *, forked: bool) -> "Undisturbed":
        """Make such a run on these data in a folder."""
        words = [*self.program(), *self.overrides(data, folder / "outputs")]
        program = Program(words, folder, forked=forked)
        if program.wait():
            raise RuntimeError(f"an undisturbed run has failed:\n{program.output}")
        (logged,) = read_local(folder / "outputs").all
        steps = [step for step, column in cells_of(logged.history) if column == "classification_loss"]
        if steps != list(range(1, self.steps + 1)):
            raise RuntimeError(f"an undisturbed run has logged the steps {steps}")
        return Undisturbed(folder / "outputs" / logged.run_id, cells_of(logged.history))


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
    sweep: Any = None  # that is disturbed, rather than a run; see tests/faults/sweeps.py


class Program:
    """A started Python program. It has a terminal, so that its progress bar shows every step.

    Args:
        words: after `python`.
        folder: the trial's, by which the program's processes are recognised.
        environment: by default that of the tests.
        forked: whether to fork it rather than start a fresh interpreter.
    """

    def __init__(
        self, words: list[str], folder: Path, environment: Mapping[str, str] | None = None, *, forked: bool = False
    ):
        terminal, inside = pty.openpty()
        termios.tcsetwinsize(inside, (50, 250))
        environment = dict(environment or own_environment()) | {"OMP_NUM_THREADS": "1", MARK: str(folder)}
        self.process = start_python(words, environment=environment, terminal=inside, fresh=not forked)
        os.close(inside)
        self.output = ""
        threading.Thread(target=self._read, args=[terminal], daemon=True).start()

    @property
    def step(self) -> int:
        """Return the last step that the progress bar has shown, -1 before there is a bar."""
        shown = re.findall(r"\| (\d+)/\d+ \[", self.output)
        return int(shown[-1]) if shown else -1

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def wait(self) -> int:
        """Return the exit code when it has ended."""
        return self.process.wait(LIMIT)

    def send(self, signum: int, group: bool = False) -> None:
        """Send a signal to the process, or to all of its group, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, signum)

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError), os.fdopen(terminal, "rb", 0) as stream:
            while text := stream.read(65536):
                self.output += text.decode(errors="replace")


@dataclass(frozen=True)
class Undisturbed:
    """What an undisturbed run comes to."""

    directory: Path
    cells: dict[tuple[int, str], Any]


def cells_of(history) -> dict[tuple[int, str], Any]:
    """Return the values of a history by step and column, without what is measured of the machine."""
    return {
        (row["global_step"], column): value
        for row in history.to_dict("records")
        for column, value in row.items()
        if column not in MEASURED and value == value
    }


class Trial:
    """One fault in one run."""

    forked = False  # whether its programs are forked

    def __init__(self, number: int, kind: Kind, setting: Setting, *, data: Path, folder: Path, random: random.Random):
        self.number, self.kind, self.setting, self.folder, self.random = number, kind, setting, folder, random
        self.outputs = folder / "outputs"
        self.outputs.mkdir(parents=True)
        frequency = self.random.choice(["checkpoint_minutes=10", "checkpoint_minutes=0.02"])
        self.overrides = [*setting.overrides(data, self.outputs), frequency, *kind.options]
        self.cleanup = contextlib.ExitStack()
        self.moment, self.notes, self.problems = "", [], []
        self.repeats, self.lost, self.needs_retry = 0, 0, False

    @property
    def directory(self) -> Path:
        """Return the run's folder, which need not exist."""
        return next(iter(run_folders(self.outputs)), self.outputs / "none")

    def state(self) -> State:
        """Return the run's state."""
        return state(self.directory)

    def command(self) -> list[str]:
        """Return the words after `python` that make the run."""
        return [*self.setting.program(), *self.overrides]

    def start(self) -> Program:
        """Start the run's program."""
        return Program(self.command() + ["retry=true"] * self.needs_retry, self.folder, forked=self.forked)

    def wait_for_a_moment(self, program: Program, first: int = -3, last: int | None = None) -> None:
        """Wait until a random step, or for a random time after the start if that is below 1, and then a little."""
        step = self.random.randint(first, self.setting.steps if last is None else last)
        if step < 1:
            time.sleep(self.random.uniform(0, 6))
        else:
            self.expect(wait_for(lambda: program.step >= step or program.ended(), LIMIT), f"no step {step}")
            time.sleep(self.random.uniform(0, 0.3))
        self.moment = f"step {program.step}" if program.step >= 0 else "start"

    def note_end(self, program: Program) -> None:
        """Wait for the end, and note how the program ended and what it left."""
        code, step = program.wait(), saved_step(self.directory)
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self.notes += [ended, f"checkpoint of step {step}" if step else "no checkpoint"]

    def expect(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.problems.append(otherwise)

    def finish(self) -> None:
        """Repeat the first command until the run is finished."""
        while self.state() != State.FINISHED and self.repeats < MOST_REPEATS:
            if self.state() == State.FAILED and not self.needs_retry:
                self.problems.append(f"would not go on without retry=true: {self.failure()}")
                self.needs_retry = True
            self.repeats += 1
            self.repeat()
            wait_for(lambda: self.state() != State.RUNNING, LIMIT)

    def repeat(self) -> None:
        """Give the command again, and wait for its end."""
        self.start().wait()

    def failure(self) -> str:
        """Return why the run has failed."""
        return read_json(self.directory / "failed.json")["error"]

    def check(self, reference: Undisturbed) -> None:
        """Note each way in which the run differs from an undisturbed one."""
        if self.state() != State.FINISHED:
            self.problems.append(f"is {self.state()}, not finished, after {self.repeats} repeats")
            return
        self.expect(same_weights(reference.directory, self.directory), "other weights")
        metrics = [read_json(folder / "summary.json")["metrics"] for folder in (reference.directory, self.directory)]
        self.expect(metrics[0] == metrics[1], f"other metrics: {metrics[1]} instead of {metrics[0]}")
        self._check_log(reference.cells)
        leftover = [path.name for path in self.directory.iterdir() if path.name.startswith(".")]
        self.expect(not leftover, f"temporary files are left: {leftover}")

    def _check_log(self, expected: dict[tuple[int, str], Any]) -> None:
        (logged,) = read_local(self.outputs).all
        actual = cells_of(logged.history)
        steps = logged.history["global_step"].tolist()
        self.expect(steps == sorted(set(steps)), "steps logged twice")
        self.expect(logged.finished, "the log has no end")
        missing = sorted(expected.keys() - actual.keys())
        self.lost = len({step for step, _ in missing})
        self.expect(not missing, f"{len(missing)} values are missing in the log, as {missing[:3]}")
        extra = sorted(actual.keys() - expected.keys())
        self.expect(not extra, f"logged besides: {extra[:3]}")
        others = [key for key in expected.keys() & actual.keys() if expected[key] != actual[key]]
        self.expect(not others, f"{len(others)} logged values differ, as {sorted(others)[:3]}")

    def pids(self, condition: Callable[[set[str]], bool] = lambda variables: True) -> list[int]:
        """Return the processes of this run whose environment meets the condition, but for forked ones."""
        environments = ((pid, variables_of(pid)) for pid in all_pids())
        return [pid for pid, variables in environments if f"{MARK}={self.folder}" in variables and condition(variables)]

    def end(self) -> None:
        """Leave nothing running or mounted."""
        self.cleanup.close()
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.pids(), 10)


def parent(pid: int) -> int:
    """Return the parent of a process, 0 if that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
