"""Submitting a sweep to SLURM as one array of jobs. Later edits of code or configuration do not affect them."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, SlurmQueueConf
from omegaconf import DictConfig, OmegaConf

from src.config.command import command_line
from src.config.identity import to_plain
from src.data.quick_look import look_at
from src.data.run_data import DataChanged, compare_data
from src.launch import plugin
from src.launch.compose import Composer, Job
from src.launch.program import program_of_config
from src.launch.slurm_arrays import environment_of_jobs, one_line_refusals, remove_leftovers, submit_in_arrays
from src.launch.slurm_job import FrozenRun
from src.runs.provenance import code_version
from src.runs.state import State, refused_failure, state
from src.utils import paths
from src.utils.distributed_env import source_of_processes
from src.utils.errors import UserError, exit_on_user_error
from src.utils.files import read_json, write_atomically, write_json
from src.utils.progress import progress_bar
from src.utils.text import counted


@dataclass
class SlurmLauncherConfig(SlurmQueueConf):
    """The keys of `hydra.launcher` in a preset of slurm/: those of Hydra's submitit launcher."""

    _target_: str = f"{plugin.MODULE}.SlurmLauncher"
    submitit_folder: str = "${hydra.sweep.dir}/.slurm/%j"
    max_num_timeout: int = 100
    # If one process of a run fails, srun ends the others.
    srun_args: list[str] = field(default_factory=lambda: ["--kill-on-bad-exit=1"])


class SlurmLauncher(Launcher):
    """Submit the runs that are not finished, running or queued, and return at once.

    Hydra's submitit launcher is not used, for two reasons: it waits for its jobs, so that the terminal must stay open
    for days, and it composes the configuration inside the job from the files of that time, so that editing a file
    changes runs that are queued. Here each job has a copy of the code and its resolved configuration. Jobs save a
    checkpoint when SLURM announces their time limit or a preemption, and are queued again.

    Args:
        parameters: those of :class:`SlurmLauncherConfig`.
    """

    def __init__(self, **parameters: Any):
        plain: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }
        self.folder, self.max_num_timeout = plain.pop("submitit_folder"), plain.pop("max_num_timeout")
        self.parameters = {key: value for key, value in plain.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self._loader, self._config = hydra_context.config_loader, config
        with exit_on_user_error():
            self._program = program_of_config(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit runs for another sweeper than this project's, which calls :meth:`submit`."""
        compose = Composer(self._loader, self._config)
        self.submit([compose.job(list(overrides)) for overrides in job_overrides])
        return []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit runs, and print how many are skipped and why.

        Args:
            jobs: with configurations that are not checked yet.

        Raises:
            UserError: a configuration is wrong, or SLURM does not answer, or refuses the jobs.
        """
        typed = command_line(self._program.module, sys.argv[1:])
        self._check_parameters(jobs[0].directory.parent.absolute())
        queued = _queued_jobs()
        look = functools.cache(look_at)  # at each data set once
        skipped: Counter[str] = Counter()
        to_submit = []
        for job in progress_bar(jobs, "looking for what is missing"):
            config, directory = self._program.check(job.config, job.overrides, typed), job.directory.absolute()
            self._check_processes(config)
            reason = _reason_to_skip(directory, config, queued) or _reason_in_data(directory, config, look)
            if reason is None:
                to_submit.append(Job(job.overrides, config, directory))
            else:
                skipped[reason] += 1
        for reason, number in skipped.items():
            print(f"{number} {reason}", flush=True)
        submit_in_arrays(to_submit, self._submit)

    def _check_parameters(self, outputs: Path) -> None:
        if "%" in str(outputs):
            raise UserError(f"outputs={outputs}: SLURM replaces % in the names of its logs; choose a folder without it")
        minutes, delay = self.parameters["timeout_min"], self.parameters["signal_delay_s"]
        if not 0 < delay < 60 * minutes:
            raise UserError(
                f"hydra.launcher.signal_delay_s={delay} must be more than 0 and less than hydra.launcher.timeout_min="
                f"{minutes}: so long before its end, a run saves a checkpoint and is queued again"
            )
        if self.parameters["array_parallelism"] < 1:
            raise UserError(
                f"hydra.launcher.array_parallelism={self.parameters['array_parallelism']} must be greater than 0"
            )

    def _check_processes(self, config: Mapping[str, Any]) -> None:
        tasks = self.parameters["nodes"] * self.parameters["tasks_per_node"]
        processes = config.get("processes", 1)
        if processes != tasks:
            source = source_of_processes(processes)
            raise UserError(
                f"processes={processes}{f' (from {source} in the environment of this shell)' if source else ''}, but "
                f"hydra.launcher has {self.parameters['nodes']} nodes with {self.parameters['tasks_per_node']} tasks "
                "each; a preset with several has tasks_per_node: ${processes}"
            )

    def _submit(self, jobs: Sequence[Job]) -> None:
        """Submit runs as one array, and note in each run's folder its job."""
        print(f"submitting {counted(len(jobs), 'run')} to SLURM", file=sys.stderr, flush=True)
        code = freeze_code(jobs[0].directory.parent / ".code")
        common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
        runs = []
        for job in jobs:
            job.directory.mkdir(parents=True, exist_ok=True)
            run = FrozenRun(
                module=self._program.module,
                config=dict(job.config),
                directory=str(job.directory),
                code=str(code),
                working_directory=os.getcwd(),
                name=" ".join([job.directory.name, *(word for word in job.overrides if word not in common)]),
            )
            runs.append(run)
        remove_leftovers(job.directory.parent / ".slurm")
        with environment_of_jobs(self.parameters), one_line_refusals():
            submitted = self._executor(code).submit_array(runs)
        common_note = {"program": self._program.module, "time": time.time(), "code": str(code)}
        written = []
        with ThreadPoolExecutor(8) as pool:  # on a file server, each file takes its time to be safe
            for job, slurm_job in zip(jobs, submitted, strict=True):
                note = {"job": slurm_job.job_id, **common_note, "overrides": job.overrides}
                note["log"] = str(slurm_job.paths.stdout)
                written.append(pool.submit(write_json, job.directory / "submitted.json", note))
        for one in written:
            one.result()  # or its error
        array = submitted[0].job_id.partition("_")[0]
        print(f"{len(jobs)} submitted as job {array}; `python -m src.status` shows their progress", flush=True)

    def _executor(self, code: Path) -> submitit.AutoExecutor:
        folder = os.path.abspath(self.folder)
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        common = {f.name for f in BaseQueueConf.__dataclass_fields__.values()}
        parameters = {key if key in common else f"slurm_{key}": value for key, value in self.parameters.items()}
        parameters["name"] = self._config.hydra.runtime.choices.get("sweeps") or parameters["name"]  # until they start
        additional = parameters.get("slurm_additional_parameters", {})
        # Python looks first for modules in the folder in which it is started.
        parameters["slurm_additional_parameters"] = {"requeue": True, **additional, "chdir": str(code)}
        executor.update_parameters(**parameters)
        return executor


def _reason_to_skip(directory: Path, config: Mapping[str, Any], queued: set[str]) -> str | None:
    """Return why a run must not be submitted, whatever its data; None if there is no such reason."""
    run_state = state(directory)
    if run_state == State.RUNNING:
        return "being worked on"
    submitted = read_json(directory / "submitted.json")
    if submitted is not None and submitted["job"] in queued:
        return "queued already"
    if run_state == State.FAILED and refused_failure(directory) and not config.get("retry", False):
        return "failed before; to try them again add retry=true. `python -m src.status` shows why"
    return None


def _reason_in_data(directory: Path, config: Mapping[str, Any], look: Callable[..., str]) -> str | None:
    """Return why a run need not be submitted: it is finished, or its folder holds a part of it, on other data.

    Args:
        look: see `compare_data`.
    """
    finished = state(directory) == State.FINISHED
    if not finished and not (directory / "checkpoint.pt").exists():
        return None
    if "dataset" in config:
        root = config["dataset"]["root"]
        if not Path(root).expanduser().is_dir():
            return f"finished; their data could not be compared, as {root} is not there" if finished else None
        try:
            compare_data(
                directory, to_plain(config["dataset"]), outputs=config["outputs"], workers=config["workers"], look=look
            )
        except DataChanged as change:
            if config["retry"]:
                return None
            return (
                f"on other data than {root} holds now; what differs: {change.difference}. To train them anew on the "
                "data as they are now, add retry=true; to keep them and make others, add dataset.name=NAME"
            )
    return "finished" if finished else None


def _queued_jobs() -> set[str]:
    """Return the ids of this user's pending and running jobs, those of arrays as 12_3."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    # Variables such as SQUEUE_STATES would hide some of them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        # Clients wait for ever for a controller that is down.
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    except FileNotFoundError:
        raise UserError("there is no squeue here: submit from a machine of the SLURM cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError("SLURM's controller does not answer") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {error.stderr.strip()}") from None
    return set(answer.stdout.split())


def freeze_code(folder: Path) -> Path:
    """Copy this package to a folder named by a digest of the code, and return that; files that are there stay."""
    # Path.rglob does not follow links to folders.
    found = (Path(place, name) for place, _, names in os.walk(paths.SRC, followlinks=True) for name in names)
    files = sorted(file for file in found if file.suffix == ".py")
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(paths.SRC)}\n".encode() + file.read_bytes())
    copy = folder / digest.hexdigest()[:10]
    for file in files:
        target = copy / paths.SRC.name / file.relative_to(paths.SRC)
        if not target.exists():  # file by file, as scratch folders lose old files
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, functools.partial(shutil.copyfile, file))
    if not (copy / "code.json").exists():
        write_json(copy / "code.json", code_version())
    return copy


def register_launcher() -> None:
    """Register :class:`SlurmLauncher` as `hydra/launcher=slurm`."""
    plugin.register_plugin(SlurmLauncher, "hydra/launcher", "slurm", SlurmLauncherConfig)
