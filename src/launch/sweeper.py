"""The sweeper: every combination that is asked for, each run once."""

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
from src.launch.program import program_of
from src.launch.sweep_runs import SweepRecord, config_version, save_record
from src.utils.errors import UserError


@dataclass
class SweeperConfig:
    """The keys of `hydra.sweeper` in a file of sweeps/."""

    _target_: str = f"{plugin.MODULE}.UnionSweeper"
    params: dict[str, str] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)
    program: str | None = None  # the program whose sweep it is, if not the one that is called: src.run, src.linear


class UnionSweeper(Sweeper):
    """Hydra's basic sweeper, with unions, and without running the same run twice.

    Args:
        params: values of keys, several separated by commas, as on the command line, which has the last word.
        runs: like `params`, several of them: the sweep is the union of what each of them and `params` make.
        program: see :class:`SweeperConfig`.
    """

    def __init__(self, params: dict[str, str] | None, runs: Sequence[dict[str, Any]], program: str | None):
        pass  # they are read from the configuration, as `python -m src.status` does

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch the runs that the arguments of a command line ask for, and record which these are."""
        try:
            program = program_of(self.config)
            combinations, jobs = sweep_jobs(self.loader, self.config, arguments)
            runs = {job.directory.name: job.overrides for job in jobs}
            record = SweepRecord(program.module, arguments, runs, launched=True, version=config_version())
            save_record(record, Path(self.config.hydra.sweep.dir))
            different = f"{combinations} combinations are {len(jobs)} different runs"
            print(different if combinations > len(jobs) else f"{len(jobs)} runs")
            results = self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        failures = [
            f"\n  {' '.join(result.overrides)}: {result._return_value}"
            for result in results
            if result.status == JobStatus.FAILED
        ]
        if failures:
            raise SystemExit(f"error: {len(failures)} of {len(jobs)} runs failed:{''.join(failures)}")
        return [results]


def register_sweeper() -> None:
    """Make :class:`UnionSweeper` known to Hydra as `hydra/sweeper=union`."""
    plugin.register_plugin(UnionSweeper, "hydra/sweeper", "union", SweeperConfig)
