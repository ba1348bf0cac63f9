"""Submit a sweep to SLURM as one array of jobs, which later edits of code or configuration do not affect."""

import functools
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, SlurmQueueConf
from omegaconf import DictConfig

from src.config.command import command_line
from src.config.plain import to_plain
from src.data.quick_look import look_at
from src.launch.compose import Composer, Job
from src.launch.plugin import MODULE
from src.launch.presets import OPTIONS_OF_SBATCH
from src.launch.program import program_of_config
from src.launch.skipped_runs import has_other_code, reason_in_data, reason_to_skip
from src.launch.slurm_arrays import environment_of_jobs, one_line_refusals, remove_leftovers, submit_in_arrays
from src.launch.slurm_dependencies import dependency, in_groups, job_of, reason_in_needed
from src.launch.slurm_job import FrozenRun
from src.launch.submission import Submission, alone, note_forgotten_jobs
from src.runs.provenance import code_digest, code_files, code_version
from src.runs.slurm_queue import Queue, QueuedJob, ask_queue, cancel_pending
from src.runs.state import RunFolder, read_run, submitters
from src.utils import paths
from src.utils.distributed_env import source_of_processes
from src.utils.errors import UserError, exit_on_user_error
from src.utils.files import read_json, write_atomically, write_json
from src.utils.progress import progress_bar
from src.utils.text import counted

OWN_OPTIONS = ("array", "chdir", "error", "output")  # of sbatch: a job is one run, and status reads its log
CHANGED_BY_SLURM = {"%": "%", "\\": "\\", "\n": "line ends"}  # in the names of logs


@dataclass
class SlurmLauncherConfig(SlurmQueueConf):
    """The keys of `hydra.launcher` in a preset of slurm/: those of Hydra's submitit launcher."""

    _target_: str = f"{MODULE}.SlurmLauncher"
    submitit_folder: str = "${outputs}/.slurm/%j"
    max_num_timeout: int = 100
    # If one process of a run fails, srun is to end the others.
    srun_args: list[str] = field(default_factory=lambda: ["--kill-on-bad-exit=1"])


class SlurmLauncher(Launcher):
    """Submit the runs that are not finished, running or queued, and return at once.

    Hydra's submitit launcher is not used, for two reasons. It waits for its jobs, so the terminal must stay open for
    days. And it composes the configuration inside the job from the files at that time, so editing a file changes queued
    runs. Here each job has a copy of the code and its resolved configuration. Jobs save a checkpoint when SLURM
    announces their time limit or a preemption, and are queued again.

    Args:
        parameters: those of :class:`SlurmLauncherConfig`.
    """

    def __init__(self, **parameters: Any):
        plain = {key: to_plain(value) for key, value in parameters.items()}
        self.folder, self.max_num_timeout = plain.pop("submitit_folder"), plain.pop("max_num_timeout")
        self.parameters = {key: value for key, value in plain.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self._loader, self._config = hydra_context.config_loader, config
        with exit_on_user_error():
            self._program = program_of_config(config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit runs for other sweepers; this project's sweeper calls :meth:`submit`."""
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
        outputs = jobs[0].directory.parent.absolute()
        self._check_parameters(outputs)
        with alone(outputs):
            self._submit_what_is_missing(jobs, outputs)

    def _submit_what_is_missing(self, jobs: Sequence[Job], outputs: Path) -> None:
        typed = command_line(self._program.module, sys.argv[1:])
        queue = ask_queue({os.getuid(), *submitters(outputs)})
        if forgotten := note_forgotten_jobs(outputs, queue):
            print(f"{forgotten} found in the queue, from a command that was stopped as it submitted them")
        look = functools.cache(look_at)  # looks at each data set once
        left_out: dict[Path, tuple[str, RunFolder]] = {}
        to_submit: list[Job] = []
        replaced: dict[str, Job] = {}
        for given in progress_bar(jobs, "looking for what is missing"):
            config, directory = self._program.check(given.config, given.overrides, typed), given.directory.absolute()
            self._check_processes(config)
            needs = tuple(needed.absolute() for needed in given.needs)
            found, job = read_run(directory, queue), replace(given, config=config, directory=directory, needs=needs)
            reason = reason_to_skip(found, config) or reason_in_data(found, config, look)
            reason = reason or reason_in_needed(job, left_out, queue)
            if reason is None:
                to_submit.append(job)
            elif config.get("resubmit") and found.submitted and _is_replaceable(job, found, replaced.values(), queue):
                replaced[found.submitted["job"]] = job
            else:
                left_out[directory] = reason, found
        if replaced:
            cancelled = _cancel(replaced)
            for job_id, job in replaced.items():
                if job not in cancelled:
                    started = "started meanwhile, with different code"
                    left_out[job.directory] = started, read_run(job.directory, {job_id: QueuedJob(pending=False)})
            order = {given.directory.absolute(): number for number, given in enumerate(jobs)}
            to_submit = sorted([*to_submit, *cancelled], key=lambda job: order[job.directory])
        for reason, number in Counter(reason for reason, _ in left_out.values()).items():
            print(f"{number} {reason}", flush=True)
        self._submit_in_order(to_submit, {folder: job_of(found, queue) for folder, (_, found) in left_out.items()})

    def _submit_in_order(self, jobs: Sequence[Job], queued: Mapping[Path, str | None]) -> None:
        """Submit runs; those that need others get a dependency on the others' jobs.

        Args:
            jobs: each after those that it needs.
            queued: for the folder of each run that is not submitted now, its job; None if it has finished.
        """
        submitted = {job.directory for job in jobs}
        for awaited, group in in_groups(jobs, lambda folder: folder in submitted or queued.get(folder) is not None):
            after = [
                queued.get(folder) or str((read_json(folder / "submitted.json") or {})["job"]) for folder in awaited
            ]
            submit_in_arrays(group, functools.partial(self._submit, after=after))

    def _check_parameters(self, outputs: Path) -> None:
        known = {key.name for key in fields(SlurmLauncherConfig)}
        if unknown := ", ".join(key for key in self.parameters if key not in known):  # added with +
            raise UserError(f"hydra.launcher has no {unknown}; {OPTIONS_OF_SBATCH}")
        for option in OWN_OPTIONS:
            if option in (self.parameters.get("additional_parameters") or {}):
                raise UserError(f"hydra.launcher.additional_parameters.{option}: the launcher sets this itself")
        if signs := " and ".join(name for sign, name in CHANGED_BY_SLURM.items() if sign in str(outputs)):
            raise UserError(f"outputs={outputs}: SLURM changes {signs} in the names of its logs; choose another folder")
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

    def _submit(self, jobs: Sequence[Job], after: Sequence[str]) -> None:
        """Submit runs as one array that starts after other jobs, and note its job in each run's folder."""
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
        remove_leftovers(jobs[0].directory.parent / ".slurm")
        common_note = {"program": self._program.module, "time": time.time(), "code": str(code)}
        notes = {job.directory.name: {**common_note, "overrides": job.overrides} for job in jobs}
        with (
            environment_of_jobs(self.parameters),
            Submission(jobs[0].directory.parent, notes, os.path.abspath(self.folder)) as submission,
            one_line_refusals(),
        ):
            submitted = self._executor(code, submission.token, after).submit_array(runs)
            submission.note([slurm_job.job_id for slurm_job in submitted])
        array = submitted[0].job_id.partition("_")[0]
        when = f", to start after {', '.join(after)}" if after else ""
        print(f"{len(jobs)} submitted as job {array}{when}; `python -m src.status` shows their progress", flush=True)

    def _executor(self, code: Path, token: str, after: Sequence[str]) -> submitit.AutoExecutor:
        folder = os.path.abspath(self.folder)
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self.max_num_timeout)
        common = {f.name for f in fields(BaseQueueConf)}
        parameters = {key if key in common else f"slurm_{key}": value for key, value in self.parameters.items()}
        parameters["name"] = self._config.hydra.runtime.choices.get("sweeps") or parameters["name"]  # until they start
        additional = dict(parameters.get("slurm_additional_parameters") or {})
        comments = [parameters.get("slurm_comment"), additional.pop("comment", None), token]
        parameters["slurm_comment"] = " ".join(filter(None, comments))
        # Since SLURM 22.05 srun does not inherit cpus_per_task, nor the script's variables under --export=NONE.
        cpus = parameters.get("cpus_per_task")
        inherited = ["--export=ALL", *([f"--cpus-per-task={cpus}"] if cpus else [])]
        parameters["slurm_srun_args"] = [*inherited, *(parameters.get("slurm_srun_args") or [])]
        # Python searches for modules first in the folder in which it is started.
        waiting = dependency(after, additional.get("dependency"))
        parameters["slurm_additional_parameters"] = {"requeue": True, **additional, "chdir": str(code), **waiting}
        executor.update_parameters(**parameters)
        return executor


def _is_replaceable(job: Job, found: RunFolder, replaced: Iterable[Job], queue: Queue) -> bool:
    """Return whether a run's queued job is out of date, has not started, and is this user's to cancel.

    Args:
        replaced: the earlier runs whose jobs are replaced. SLURM removes the jobs that wait for theirs.
    """
    queued = queue.get(found.submitted["job"]) if found.submitted else None
    if queued is None or not queued.pending or found.submitter != os.getuid():
        return False
    return has_other_code(found) or any(other.directory in job.needs for other in replaced)


def _cancel(replaced: dict[str, Job]) -> list[Job]:
    """Cancel jobs by their ids, and return the runs of those that had not started."""
    cancel_pending(replaced)
    queue = ask_queue()
    return [job for job_id, job in replaced.items() if job_id not in queue]


def freeze_code(folder: Path) -> Path:
    """Copy this package to a folder named by a digest of the code, and return it; existing files stay."""
    copy = folder / code_digest()
    for file in code_files():
        target = copy / paths.SRC.name / file.relative_to(paths.SRC)
        if not target.exists():  # checked file by file, as scratch file systems delete old files
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, functools.partial(shutil.copyfile, file))
    if not (copy / "code.json").exists():
        write_json(copy / "code.json", code_version())
    return copy
