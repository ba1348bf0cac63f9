"""The sweeper, which launches each distinct run of a sweep once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.launch.compose import Job, sweep_jobs
from src.launch.plugin import MODULE
from src.launch.presets import check_chosen
from src.launch.program import program_of_config
from src.launch.slurm_launcher import SlurmLauncher
from src.launch.sweep_records import make_record, run_command, save_record
from src.runs.state import State, read_run, state
from src.utils.errors import UserError, exit_on_user_error
from src.utils.files import share_with_group
from src.utils.text import counted


@dataclass
class SweeperConfig:
    """The keys of `hydra.sweeper` in a file of sweeps/."""

    _target_: str = f"{MODULE}.UnionSweeper"
    params: dict[str, str] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    program: str | None = None  # the program that the sweep belongs to, src.run or src.linear; null: either


class UnionSweeper(Sweeper):
    """Launch the union of several grids, each different run once.

    Hydra's basic sweeper launches one grid. With it, an ablation that varies one key at a time (Table 1) needs a
    command for each key. It also launches combinations that are the same run, as with a key that the chosen loss does
    not use; two jobs on a cluster would then compete for one folder. Here runs are compared by their ids.

    Args:
        params: values of keys, several separated by commas as on the command line, which has precedence.
        runs: like `params`, several of them: the sweep is the union of the grids of each with `params`.
        program: see :class:`SweeperConfig`.
    """

    def __init__(self, params: dict[str, str] | None, runs: Sequence[dict[str, Any]], program: str | None):
        pass  # `sweep_jobs` reads them from the configuration, as it does for `python -m src.status`

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self._loader, self._config = hydra_context.config_loader, config
        with exit_on_user_error():
            self._program = program_of_config(config)
            check_chosen(config)
            self._launcher = Plugins.instance().instantiate_launcher(
                hydra_context=hydra_context, task_function=task_function, config=config
            )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the runs of a sweep, and record them."""
        with exit_on_user_error():
            share_with_group(Path(self._config.outputs))  # which a file of slurm/ may give
            combinations, jobs = sweep_jobs(self._loader, self._config, arguments)
            if possible := [job for job in jobs if self._is_possible(job)]:  # impossible runs would be missing forever
                record = make_record(self._program.module, arguments, possible, launched=True)
                save_record(record, Path(self._config.outputs))
            added = sum(not job.is_asked_for for job in jobs)
            different = len(jobs) - added
            duplicates = f"{combinations} combinations are {counted(different, 'different run')}"
            for job in jobs:
                read_run(job.directory)  # now, so that a dead process elsewhere is waited for only once
            also = f", and {counted(added, 'run')} that these need" if added else ""
            print((duplicates if combinations > different else counted(different, "run")) + also)
            if isinstance(self._launcher, SlurmLauncher):
                self._launcher.submit(jobs)
                return []
            results, failures = launch_in_order(self._launcher, jobs)
        if failures:
            lines = [
                f"\n  {run_command(self._program.module, job.overrides)}\n    {failures[job.directory]}"
                for job in jobs
                if job.directory in failures
            ]
            raise SystemExit(f"error: {len(lines)} of {len(jobs)} runs failed:{''.join(lines)}")
        return [results]

    def _is_possible(self, job: Job) -> bool:
        try:
            self._program.check(job.config, job.overrides)
        except UserError:
            return False
        return True


def launch_in_order(launcher: Launcher, jobs: Sequence[Job]) -> tuple[list[JobReturn], dict[Path, str]]:
    """Launch runs on this machine, each after those it needs; return the results, and by folder why runs failed.

    A run that needs one that another process is working on is postponed as long as there are others. A run that needs
    one that has failed here is not launched.

    Args:
        launcher: Hydra's, which returns when the runs have ended.
        jobs: each after those that it needs.
    """
    results: list[JobReturn] = []
    failures: dict[Path, str] = {}

    def launch(batch: list[Job]) -> None:
        returned = launcher.launch([job.overrides for job in batch], initial_job_idx=len(results)) if batch else []
        results.extend(returned)
        for job, result in zip(batch, returned, strict=True):
            if result.status == JobStatus.FAILED:
                failures[job.directory] = str(result._return_value)

    launch([job for job in jobs if not job.needs])
    pending = [job for job in jobs if job.needs]
    while pending:
        waiting_for = {job.directory for job in pending}
        ready = (job for job in pending if not any(d in waiting_for or state(d) == State.RUNNING for d in job.needs))
        job = next(ready, pending[0])
        pending.remove(job)
        failed = [directory for directory in job.needs if directory in failures]
        if failed:
            failures[job.directory] = f"it needs {failed[0]}, which has failed"
        else:
            launch([job])
    return results, failures
