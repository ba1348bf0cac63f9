"""Disturb short runs at random moments, in every way to be expected, and check that no disturbance leaves a trace.

    python -m tests.faults --report docs/faults.md

Each run must come to the weights, the log and the metrics of an undisturbed one, bit for bit.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from slurm.one_machine.cluster import check_programs
from slurm.one_machine.daemons import search_path
from src.data.shapes import ensure_shapes
from src.utils.errors import UserError
from src.utils.files import write_atomically
from tests.faults.disturbed_run import STEPS_IN_EPOCH, Kind, Setting, Trial, Undisturbed
from tests.faults.folders import FOLDERS
from tests.faults.local import LOCAL
from tests.faults.on_slurm import SLURM, WHOLE_CLUSTER, Cluster, SlurmTrial, cluster
from tests.faults.surroundings import SURROUNDINGS, SURROUNDINGS_ON_SLURM
from tests.faults.sweeps import SWEEPS, Sweep, SweepTrial, UndisturbedSweep

SEEDS = 2
BATCH_SIZE = 4  # that of TINY
ABOUT = """\
# Fault injection

Short runs are disturbed at a random moment, each in one of the ways that happen on real machines and clusters. A run
that does not continue by itself is given the same command again (after a full disk, with `retry=true`). It must then
finish, and equal an undisturbed run: the same weights bit for bit, the same metrics, a log that has each step once
with the same losses and evaluations bit for bit, and no temporary files left.
"""
ABOUT_SWEEPS = """
The last rows are whole sweeps in which runs need others: detectors under attack, patches, RPNs and snapshots. Each
sweep is disturbed ten times: an array is cancelled, a job's Python is killed, or the submitting command is killed.
After each of these, and whenever no job is left, the command is given again. All runs must then be finished and equal
those of an undisturbed sweep. Each must have finished once, have started once (apart from restarts after its job was
ended), and have started after all runs that it needs.
"""
ABOUT_COLUMNS = """
"Asked again" is how often the command was given again. "Rows lost" are steps for which the log is incomplete.
"""
HEAD = """\
| # | fault | where | moment | what happened | asked again | rows lost | result |
|--:|---|---|---|---|--:|--:|---|
"""


class Campaign:
    """Several trials, two or three at a time.

    Args:
        kinds: of the faults, one for each trial.
        seed: of the moments.
        folder: for everything; a trial without a problem leaves nothing.
        report: a file that is rewritten after each trial, or None.
        command: how it was started, for the report.
        forked: whether to fork the programs, which saves their imports, rather than start fresh interpreters.
    """

    def __init__(
        self, kinds: list[Kind], *, seed: int, folder: Path, report: Path | None, command: str, forked: bool = False
    ):
        self.folder, self.report, self.command, self.forked = folder, report, command, forked
        self.data = ensure_shapes(
            folder / "tiny", counts={"train": STEPS_IN_EPOCH * BATCH_SIZE - 1, "val": 1, "test": 6}, processes=1
        )
        self.trials: list[Trial] = []
        self.done: list[Trial] = []
        for number, kind in enumerate(kinds, 1):
            setting = kind.sweep or Setting(number % SEEDS, kind.epochs, kind.processes)
            trial_class = SweepTrial if kind.sweep else SlurmTrial if kind.where == "SLURM" else Trial
            generator = random.Random(f"{seed} {number} {kind.name}")
            trial = trial_class(number, kind, setting, data=self.data, folder=folder / str(number), random=generator)
            trial.forked = forked
            self.trials.append(trial)
        self.start_time, self.lock = time.time(), threading.Lock()

    def run(self) -> list[Trial]:
        """Return all trials, each with its problems."""
        settings = sorted({trial.setting for trial in self.trials}, key=repr)
        with ThreadPoolExecutor(2) as pool:
            undisturbed = pool.map(self._make_undisturbed, range(len(settings)), settings)
            bar = tqdm(undisturbed, total=len(settings), desc="undisturbed", unit="run")
            self.references = dict(zip(settings, bar, strict=True))
        local, on_slurm = (deque(t for t in self.trials if isinstance(t, SlurmTrial) == kind) for kind in (False, True))
        with (
            tqdm(total=len(self.trials), desc="disturbed", unit="fault") as self.bar,
            cluster() if on_slurm else contextlib.nullcontext() as slurm,
            ThreadPoolExecutor(3) as pool,
        ):
            lanes = [pool.submit(self._work, None, None, local)]
            lanes += [pool.submit(self._work, slurm, node, on_slurm, local) for node in ("n1", "n2")]
            for lane in lanes:
                lane.result()
        return self.trials

    def _make_undisturbed(self, number: int, setting: Setting | Sweep) -> Undisturbed | UndisturbedSweep:
        return setting.make_undisturbed(self.data, self.folder / f"undisturbed{number}", forked=self.forked)

    def _work(self, slurm: Cluster | None, node: str | None, *queues: deque[Trial]) -> None:
        for queue in queues:
            while True:
                try:
                    trial = queue.popleft()
                except IndexError:
                    break
                with contextlib.ExitStack() as locks:
                    if isinstance(trial, SlurmTrial):
                        for name, lock in slurm.nodes.items():
                            if name == node or trial.kind.sweep or trial.kind.name in WHOLE_CLUSTER:
                                locks.enter_context(lock)
                        trial.use_node(slurm, node)
                    self._try(trial)

    def _try(self, trial: Trial) -> None:
        try:
            trial.kind.strike(trial)
            trial.finish()
            trial.check(self.references[trial.setting])
        except Exception as error:
            trial.problems.append(f"{type(error).__name__}: {error}")
            (trial.folder / "error.txt").write_text(traceback.format_exc())
        finally:
            trial.end()
        if not trial.problems:
            shutil.rmtree(trial.folder, ignore_errors=True)
        with self.lock:
            self.done.append(trial)
            failed = sum(bool(one.problems) for one in self.done)
            self.bar.set_postfix(failed=failed, refresh=False)
            self.bar.update()
            if trial.problems:
                self.bar.write(f"FAIL {row(trial)}\n     {trial.folder}")
            if self.report is not None:
                write_atomically(self.report, lambda file: file.write_text(self.text()))

    def text(self) -> str:
        """Return the report on the trials so far."""
        done = sorted(self.done, key=lambda trial: trial.number)
        failed = sum(bool(trial.problems) for trial in done)
        again = sum(bool(trial.repeats) for trial in done)
        minutes = (time.time() - self.start_time) / 60
        versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "wandb", "submitit")]
        if any(trial.kind.where == "SLURM" for trial in self.trials):
            slurm = shutil.which("slurmctld", path=search_path())  # its clients want a configuration even for this
            versions.append(subprocess.run([slurm, "-V"], capture_output=True, text=True).stdout.strip())
        facts = [
            f"- command: `{self.command}`",
            f"- date: {datetime.date.today()}",
            f"- machine: {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
            f"- versions: Python {platform.python_version()}, {', '.join(versions)}",
            f"- time: {minutes:.0f} minutes",
            f"- faults: {len(done)} of {len(self.trials)}, of which {failed} failed",
            f"- {len(done) - again} went on by themselves, {again} were asked for again",
            f"- rows lost: {sum(trial.lost for trial in done)}",
        ]
        about = ABOUT + ABOUT_SWEEPS * any(trial.kind.sweep is not None for trial in self.trials) + ABOUT_COLUMNS
        return "\n".join([about, *facts, "", HEAD]) + "".join(f"{row(trial)}\n" for trial in done)


def row(trial: Trial) -> str:
    """Return a trial as a row of the table."""
    result = "FAIL: " + "; ".join(trial.problems) if trial.problems else "pass"
    cells = [
        trial.number,
        trial.kind.name,
        trial.kind.where,
        trial.moment,
        ", ".join(trial.notes),
        trial.repeats,
        trial.lost,
        result,
    ]
    return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"


def choose(only: list[str] | None, faults: int | None, seed: int) -> list[Kind]:
    """Return the kinds of a campaign's faults: all, or those whose names contain one of `only`, or a random sample."""
    try:
        check_programs()
        possible = [*LOCAL, *FOLDERS, *SURROUNDINGS, *SLURM, *SURROUNDINGS_ON_SLURM, *SWEEPS]
    except UserError as error:
        print(f"without SLURM: {error}", file=sys.stderr)
        possible = [*LOCAL, *FOLDERS, *SURROUNDINGS]
    if os.geteuid():
        print("without full disks: only root may mount them", file=sys.stderr)
        possible = [kind for kind in possible if not kind.name.startswith("disk")]
    kinds = [
        kind for kind in possible for _ in range(kind.count) if not only or any(part in kind.name for part in only)
    ]
    return kinds if faults is None else random.Random(seed).sample(kinds, min(faults, len(kinds)))


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, help="write the table to this file (default: print it)")
    parser.add_argument("--faults", type=int, help="try only this many, drawn at random")
    parser.add_argument("--only", action="append", metavar="KIND", help="try only faults with this in their names")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: 0)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    command = " ".join(["python -m tests.faults", *sys.argv[1:]])
    kinds = choose(options.only, options.faults, options.seed)
    campaign = Campaign(kinds, seed=options.seed, folder=folder, report=options.report, command=command)
    failed = [trial for trial in campaign.run() if trial.problems]
    if options.report is None:
        print(campaign.text())
    if failed:
        sys.exit(f"{len(failed)} of {len(kinds)} failed; what they left is in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
