"""Faults of whole sweeps on a SLURM, of which runs need others: each is struck ten times before it is finished."""

import contextlib
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.reading.local import read_local
from slurm.one_machine.daemons import wait_for
from src.data.shapes import ensure_shapes
from src.runs.run_lock import read_lock
from src.runs.state import State, state
from src.utils.files import read_json
from tests.faults.disturbed_run import Kind, Program, cells_of
from tests.faults.on_slurm import SlurmTrial
from tests.support.runs import TINY, run_folders, same_weights

STRIKES = 10
LIMIT = 3600.0  # seconds for a whole sweep, on a machine that is busy with other things
IMAGES = {"train": 12, "val": 1, "test": 24}  # so many that each detector finds something by chance, for DeepFool


@dataclass(frozen=True)
class Sweep:
    """What decides the runs of a sweep here."""

    words: tuple[str, ...]

    def overrides(self, data: Path, outputs: Path) -> list[str]:
        data = ensure_shapes(data.parent / "sweeps", counts=IMAGES, processes=1)
        return [*TINY, *self.words, f"dataset.root={data}", f"outputs={outputs}"]

    def make_undisturbed(self, data: Path, folder: Path, *, forked: bool) -> "UndisturbedSweep":
        """Make all runs here, one after another."""
        words = ["-m", "src.run", "-m", *self.overrides(data, folder / "outputs")]
        program = Program(words, folder, forked=forked)
        if program.process.wait(LIMIT):
            raise RuntimeError(f"an undisturbed sweep has failed:\n{program.output}")
        return UndisturbedSweep(folder / "outputs", logged_cells(folder / "outputs"))


@dataclass(frozen=True)
class UndisturbedSweep:
    """What an undisturbed sweep comes to."""

    outputs: Path
    cells: dict[str, dict[tuple[int, str], Any]]  # by run id


def logged_cells(outputs: Path) -> dict[str, dict[tuple[int, str], Any]]:
    """Return the values that finished runs have logged, by the runs' ids."""
    return {run.run_id: cells_of(run.history) for run in read_local(outputs).all if run.finished}


class SweepTrial(SlurmTrial):
    """Ten faults in one sweep."""

    def use_node(self, cluster: Any, node: str) -> None:
        """Use all nodes, and leave no job on them."""
        self.cluster, self.node = cluster, node
        self.struck: Counter[str] = Counter()  # how often the job of each unfinished run was ended
        self.ended: dict[str, int] = {}  # when the summary of each run was first seen, in nanoseconds
        self.cleanup.callback(self._cancel)

    def command(self) -> list[str]:
        parallel = "hydra.launcher.array_parallelism=2"
        return ["-m", "src.run", "-m", *self.overrides, "slurm=one_machine", parallel]

    def submit(self) -> None:
        program = self.start()
        if program.process.wait(LIMIT):
            raise RuntimeError(f"not submitted:\n{program.output}")

    def look(self) -> int:
        """Return how many runs have finished, and note since when each has."""
        for file in self.outputs.glob("*/summary.json"):
            self.ended.setdefault(file.parent.name, file.stat().st_mtime_ns)
        return len(self.ended)

    def jobs(self) -> dict[str, str]:
        """Return the jobs that wait or run, each with its state: "12_0" or "12_[1-3]"."""
        listed = self.cluster("squeue", "--noheader", "--format=%i %t").splitlines()
        return dict(line.split(" ", 1) for line in listed)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true, or nothing waits or runs any more."""
        deadline = time.monotonic() + LIMIT
        while not condition() and self.jobs() and time.monotonic() < deadline:
            time.sleep(0.5)
        self.expect(time.monotonic() < deadline, f"{self.look()} runs after {LIMIT:.0f} s")

    def at_work(self) -> list[str]:
        """Return the ids of the runs on which a job works."""
        return [folder.name for folder in run_folders(self.outputs) if state(folder) == State.RUNNING]

    def finish(self) -> None:
        """Give the command again, whenever no job is left, until all runs have finished."""
        self.wait(self._all_finished)
        for _ in range(STRIKES):
            if self._all_finished():
                break
            self.ask_again()
            self.wait(self._all_finished)

    def ask_again(self) -> None:
        """Give the command again, and wait for its end."""
        self.submit()
        self.repeats += 1

    def _all_finished(self) -> bool:
        self.look()
        folders = run_folders(self.outputs)
        return bool(folders) and all(state(folder) == State.FINISHED for folder in folders)

    def check(self, reference: UndisturbedSweep) -> None:
        """Note each way in which the runs differ from undisturbed ones, or were made more than once."""
        expected, actual = (
            {folder.name: folder for folder in run_folders(o)} for o in (reference.outputs, self.outputs)
        )
        self.expect(expected.keys() == actual.keys(), f"{len(actual)} runs instead of {len(expected)}")
        states = Counter(str(state(folder)) for folder in actual.values())
        self.notes.append(", ".join(f"{number} {name}" for name, number in states.items()))
        self.expect(set(states) == {str(State.FINISHED)}, f"not all have finished: {dict(states)}")
        if self.problems:
            return
        cells, starts = logged_cells(self.outputs), self.starts()
        for name, folder in actual.items():
            self._check_run(expected[name], folder)
            self.expect(cells.get(name) == reference.cells[name], f"{name} has logged something else")
            again = (folder / "summary.json").stat().st_mtime_ns != self.ended[name]
            self.expect(not again, f"{name} was finished twice")
            begun = len(starts[name])
            as_often = 1 <= begun <= 1 + self.struck[name]
            self.expect(as_often, f"{name} was begun {begun} times, and its job was ended {self.struck[name]} times")
            for needed in read_json(folder / "summary.json").get("needs", {}).values():
                early = min(starts[name], default=0) < int(self.ended[needed] / 1e9)
                self.expect(not early, f"{name} was begun before {needed}, which it needs, had finished")
        self.notes.append(f"begun {sum(map(len, starts.values()))} times in all")

    def _check_run(self, expected: Path, actual: Path) -> None:
        metrics = [json.dumps(read_json(folder / "summary.json")["metrics"]) for folder in (expected, actual)]
        self.expect(metrics[0] == metrics[1], f"{actual.name} has the metrics {metrics[1]} instead of {metrics[0]}")
        patches = [(folder / "patch.png") for folder in (expected, actual)]
        if patches[0].exists():
            self.expect(patches[0].read_bytes() == patches[1].read_bytes(), f"{actual.name} has another patch")
        elif (expected / "checkpoint.pt").exists():
            self.expect(same_weights(expected, actual), f"{actual.name} has other weights")

    def starts(self) -> dict[str, list[float]]:
        """Return when jobs have begun on each run, in seconds since the epoch."""
        listed = self.cluster("sacct", "-nXPD", "--starttime=now-1days", "--format=JobIDRaw,Start")
        times: dict[str, list[float]] = {}
        for line in listed.splitlines():
            job, start = line.split("|")
            if start[:1].isdigit():
                times.setdefault(job, []).append(time.mktime(time.strptime(start, "%Y-%m-%dT%H:%M:%S")))
        found = {}
        for folder in run_folders(self.outputs):
            log = folder / "run.log"
            begun = re.findall(r"--- SLURM job (\d+) on", log.read_text(errors="replace")) if log.exists() else []
            found[folder.name] = [min(times[job]) for job in begun]
        return found

    def _cancel(self) -> None:
        self.cluster("scancel", f"--user={os.getuid()}")
        wait_for(lambda: not self.jobs(), 60)


def strike_ten_times(trial: SweepTrial) -> None:
    """Submit a sweep, and strike it ten times at random moments; after each the command is given again."""
    trial.submit()
    total = len(run_folders(trial.outputs))
    moments = sorted(trial.random.randrange(total) for _ in range(STRIKES))
    strikes = [*STRIKE_KINDS, *trial.random.choices(STRIKE_KINDS, k=STRIKES - len(STRIKE_KINDS))]
    trial.random.shuffle(strikes)
    for moment, strike in zip(moments, strikes, strict=True):
        trial.wait(lambda: trial.look() >= moment)  # noqa: B023
        time.sleep(trial.random.uniform(0, 6))
        strike(trial)
        trial.ask_again()
    trial.moment = f"after {', '.join(map(str, moments))} runs"
    names = Counter(strike.__name__.replace("_", " ") for strike in strikes)
    trial.notes.append(", ".join(f"{number} × {name}" for name, number in sorted(names.items())))


def scancel_of_an_array(trial: SweepTrial) -> None:
    """Cancel one of the arrays, what of it waits and what runs."""
    jobs = trial.jobs()
    arrays = sorted({job.partition("_")[0] for job in jobs})
    if not arrays:
        return
    array = trial.random.choice(arrays)
    unfinished = [folder for folder in run_folders(trial.outputs) if folder.name not in trial.ended]
    trial.struck.update(folder.name for folder in unfinished if _array_of(folder) == array)
    trial.cluster("scancel", array)


def sigkill_of_a_job(trial: SweepTrial) -> None:
    """Kill the Python of a job that works on a run."""
    trial.wait(lambda: bool(trial.at_work()))
    names = sorted(trial.at_work())
    lock = read_lock(trial.outputs / (name := trial.random.choice(names))) if names else None
    if lock is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(lock["pid"], signal.SIGKILL)
            trial.struck[name] += 1


def sigkill_of_the_submitting_command(trial: SweepTrial) -> None:
    """Kill the command as it composes, looks for what is missing, or submits."""
    program = trial.start()
    if trial.random.random() < 0.5:
        wait_for(lambda: any(trial.outputs.glob(".slurm/submitting-*")) or program.ended(), 600)
        time.sleep(trial.random.uniform(0, 0.3))
    else:
        time.sleep(trial.random.uniform(0, 15))
    program.send(signal.SIGKILL)
    program.wait()


def _array_of(directory: Path) -> str:
    return str((read_json(directory / "submitted.json") or {}).get("job", "")).partition("_")[0]


STRIKE_KINDS: list[Callable[[SweepTrial], None]] = [
    scancel_of_an_array,
    sigkill_of_a_job,
    sigkill_of_the_submitting_command,
]
# A patch needs another detector, and the attacks the patch and their own detectors; warm starts an RPN and a snapshot
# that needs the RPN too.
PATCHES = Sweep(("loss=focal,ap", "attack=adversarial_patch", "attack.steps=20"))
WARM_STARTS = Sweep(("proposals=35,140", "rpn_epochs=1", "snapshot=proposals:70 schedule.epochs:1"))
TABLE_3 = Sweep(("sweeps=table3",))
FIGURE_8 = Sweep(("sweeps=figure8", "method=error_driven,approximate_gradient", "rpn_epochs=1", "schedule.epochs=3"))
SWEEPS = [
    Kind(f"ten of {name}", strike_ten_times, 1, "SLURM", sweep=sweep)
    for name, sweep in [
        ("adversarial patches", PATCHES),
        ("warm starts on proposals", WARM_STARTS),
        ("sweeps=table3", TABLE_3),
        ("sweeps=figure8", FIGURE_8),
    ]
]
