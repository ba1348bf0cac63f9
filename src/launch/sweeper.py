"""The sweeper, which launches each different run of a sweep once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.launch import plugin
from src.launch.compose import sweep_jobs
from src.launch.presets import check_chosen
from src.launch.program import program_of_config
from src.launch.slurm_launcher import SlurmLauncher
from src.launch.sweep_records import SweepRecord, config_version, run_command, save_record
from src.runs.state import read_run
from src.utils.errors import exit_on_user_error


@dataclass
class SweeperConfig:
    """The keys of `hydra.sweeper` in a file of sweeps/."""

    _target_: str = f"{plugin.MODULE}.UnionSweeper"
    params: dict[str, str] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    program: str | None = None  # the program that the sweep belongs to, src.run or src.linear; null: either


class UnionSweeper(Sweeper):
    """Launch the union of several grids, each different run once.

    Hydra's basic sweeper launches one grid. In it, an ablation that varies one key at a time (Table 1) needs a command
    for each key. It also launches combinations that are the same run, as with a key that the chosen loss does not use;
    two jobs on a cluster would then compete for one folder. Here runs are compared by their ids.

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
        """Launch the runs of a sweep, and record which these are."""
        with exit_on_user_error():
            combinations, jobs = sweep_jobs(self._loader, self._config, arguments)
            runs = {job.directory.name: job.overrides for job in jobs}
            record = SweepRecord(self._program.module, arguments, runs, launched=True, version=config_version())
            save_record(record, Path(self._config.hydra.sweep.dir))
            duplicates = f"{combinations} combinations are {len(jobs)} different runs"
            for job in jobs:
                read_run(job.directory)  # now, so that a holder that has died elsewhere is not waited for at each run
            print(duplicates if combinations > len(jobs) else f"{len(jobs)} runs")
            if isinstance(self._launcher, SlurmLauncher):
                self._launcher.submit(jobs)
                return []
            results = self._launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        failures = [
            f"\n  {run_command(self._program.module, list(result.overrides or []))}\n    {result._return_value}"
            for result in results
            if result.status == JobStatus.FAILED
        ]
        if failures:
            raise SystemExit(f"error: {len(failures)} of {len(jobs)} runs failed:{''.join(failures)}")
        return [results]


def register_sweeper() -> None:
    """Register :class:`UnionSweeper` as `hydra/sweeper=union`."""
    plugin.register_plugin(UnionSweeper, "hydra/sweeper", "union", SweeperConfig)
