"""Submitting a sweep to SLURM as one array of jobs. Later edits of code or configuration do not affect them."""

import functools
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, SlurmQueueConf
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from src.config.command import command_line
from src.data.quick_look import look_at
from src.launch import plugin
from src.launch.compose import Composer, Job
from src.launch.program import program_of_config
from src.launch.skipped_runs import has_other_code, reason_in_data, reason_to_skip
from src.launch.slurm_job import FrozenRun
from src.launch.submission import Submission, note_forgotten_jobs
from src.runs.provenance import code_digest, code_files, code_version
from src.runs.slurm_queue import Queue, ask_queue, cancel_pending
from src.runs.state import RunFolder, read_run, submitters
from src.utils import paths
from src.utils.errors import UserError, exit_on_user_error
from src.utils.files import write_json

LARGEST_ARRAY = 1000  # SLURM's default limit is 1001


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
        """Submit runs, and print how many are skipped and why.

        Raises:
            UserError: a configuration is wrong, or SLURM does not answer.
        """
        compose = Composer(self._loader, self._config)
        typed = command_line(self._program.module, sys.argv[1:])
        outputs = Path(self._config.hydra.sweep.dir).absolute()
        queue = ask_queue({os.getuid(), *submitters(outputs)})
        if forgotten := note_forgotten_jobs(outputs, queue):
            print(f"{forgotten} found in the queue, from a command that was killed as it submitted them")
        look = functools.cache(look_at)  # at each data set once
        skipped: Counter[str] = Counter()
        jobs, replaced = [], {}
        for overrides in tqdm(job_overrides, desc="reading configurations", delay=2):
            composed = compose(list(overrides))
            directory = compose.directory(composed).absolute()
            config = self._program.resolve(composed, overrides, typed)
            self._check_processes(config)
            found, job = read_run(directory, queue), Job(list(overrides), config, directory)
            reason = reason_to_skip(found, config) or reason_in_data(found, config, look)
            if reason is None:
                jobs.append(job)
            elif config.get("resubmit") and found.submitted and has_other_code(found) and _is_pending(found, queue):
                replaced[found.submitted["job"]] = job
            else:
                skipped[reason] += 1
        if replaced:
            jobs += _cancel(replaced)
            skipped["started meanwhile, with other code than today's"] += sum(
                job not in jobs for job in replaced.values()
            )
        for reason, number in (+skipped).items():
            print(f"{number} {reason}")
        for start in range(0, len(jobs), LARGEST_ARRAY):
            self._submit(jobs[start : start + LARGEST_ARRAY])
        return []

    def _check_processes(self, config: DictConfig) -> None:
        tasks = self.parameters["nodes"] * self.parameters["tasks_per_node"]
        if config.get("processes", 1) != tasks:
            raise UserError(
                f"processes={config.get('processes', 1)}, but hydra.launcher has {self.parameters['nodes']} nodes with "
                f"{self.parameters['tasks_per_node']} tasks each; a preset with several has "
                "tasks_per_node: ${processes}"
            )

    def _submit(self, jobs: list[Job]) -> None:
        """Submit runs as one array, and note in each run's folder its job."""
        code = freeze_code(jobs[0].directory.parent / ".code")
        common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
        runs = []
        for job in jobs:
            job.directory.mkdir(parents=True, exist_ok=True)
            plain: Any = OmegaConf.to_container(job.config, resolve=True, enum_to_str=True)
            run = FrozenRun(
                module=self._program.module,
                config=plain,
                directory=str(job.directory),
                code=str(code),
                working_directory=os.getcwd(),
                name=" ".join([job.directory.name, *(word for word in job.overrides if word not in common)]),
            )
            runs.append(run)
        common_note = {"program": self._program.module, "time": time.time(), "code": str(code)}
        notes = {job.directory.name: {**common_note, "overrides": job.overrides} for job in jobs}
        with Submission(jobs[0].directory.parent, notes, os.path.abspath(self.folder)) as submission:
            submitted = self._executor(code, submission.token).submit_array(runs)
            submission.note([slurm_job.job_id for slurm_job in submitted])
        array = submitted[0].job_id.partition("_")[0]
        print(f"{len(jobs)} submitted as job {array}; `python -m src.status` shows their progress")

    def _executor(self, code: Path, token: str) -> submitit.AutoExecutor:
        folder = os.path.abspath(self.folder)
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        common = {f.name for f in BaseQueueConf.__dataclass_fields__.values()}
        parameters = {key if key in common else f"slurm_{key}": value for key, value in self.parameters.items()}
        parameters["name"] = self._config.hydra.runtime.choices.get("sweeps") or parameters["name"]  # until they start
        additional = parameters.get("slurm_additional_parameters", {})
        parameters["slurm_comment"] = " ".join(filter(None, [parameters.get("slurm_comment"), token]))
        # Python looks first for modules in the folder in which it is started.
        parameters["slurm_additional_parameters"] = {"requeue": True, **additional, "chdir": str(code)}
        executor.update_parameters(**parameters)
        return executor


def _is_pending(found: RunFolder, queue: Queue) -> bool:
    job = queue.get(found.submitted["job"]) if found.submitted else None
    return job is not None and job.pending


def _cancel(replaced: dict[str, Job]) -> list[Job]:
    """Cancel jobs by their ids, and return the runs of those that had not started."""
    cancel_pending(replaced)
    queue = ask_queue()
    return [job for job_id, job in replaced.items() if job_id not in queue]


def freeze_code(folder: Path) -> Path:
    """Copy this package to a folder named by a digest of the code, unless it exists, and return that."""
    copy = folder / code_digest()
    if not copy.exists():
        temporary = folder / f".{copy.name}.{os.getpid()}"
        for file in code_files():
            target = temporary / paths.SRC.name / file.relative_to(paths.SRC)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        write_json(temporary / "code.json", code_version())
        temporary.rename(copy)
    return copy


def register_launcher() -> None:
    """Register :class:`SlurmLauncher` as `hydra/launcher=slurm`."""
    plugin.register_plugin(SlurmLauncher, "hydra/launcher", "slurm", SlurmLauncherConfig)
