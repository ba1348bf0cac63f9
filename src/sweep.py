"""The runs of a sweep: every combination of what is asked for, each run once."""

import copy
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from src.asked import Asked, present_version, write_asked
from src.errors import UserError

PLUGINS = "hydra_plugins.ap_loss"


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: list[str]  # what a command line would say
    config: DictConfig  # as composed, without Hydra's own part
    directory: Path  # the run's folder, by which runs are told apart


@dataclass
class SweeperConfig:
    """`hydra.sweeper` in a file of sweeps/."""

    _target_: str = f"{PLUGINS}.UnionSweeper"
    params: dict[str, str] | None = None
    runs: list[dict[str, Any]] = field(default_factory=list)


class UnionSweeper(Sweeper):
    """Hydra's basic sweeper, which also knows unions, and which runs are the same.

    Args:
        params: values of keys, several separated by commas, as on the command line, which has the last word.
        runs: like `params`, several of them: the sweep is the union of what each of them and `params` make.
    """

    def __init__(self, params: dict[str, str] | None, runs: Sequence[dict[str, Any]]):
        pass  # they are read from the configuration, as `python -m src.status` does

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader, self.config = hydra_context.config_loader, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        combinations, jobs = sweep_jobs(self.loader, self.config, arguments)
        runs = {job.directory.name: " ".join(job.overrides) for job in jobs}
        asked = Asked(f"src.{self.config.hydra.job.name}", arguments, runs, True, present_version())
        write_asked(asked, Path(self.config.hydra.sweep.dir))
        different = f"{combinations} combinations are {len(jobs)} different runs"
        print(different if combinations > len(jobs) else f"{len(jobs)} runs")
        try:
            results = self.launcher.launch([job.overrides for job in jobs], initial_job_idx=0)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        failed = [
            f"\n  {' '.join(result.overrides)}: {result._return_value}"
            for result in results
            if result.status == JobStatus.FAILED
        ]
        if failed:
            raise SystemExit(f"error: {len(failed)} of {len(jobs)} runs failed:{''.join(failed)}")
        return [results]


def sweep_jobs(loader: ConfigLoader, master: DictConfig, arguments: list[str]) -> tuple[int, list[Job]]:
    """How many combinations the arguments of a command line and a file of sweeps/ make, and the different runs.

    Args:
        master: the configuration composed of the arguments that have one value, with Hydra's part.
    """
    compose = Composer(loader, master)
    combinations = _combinations(loader, master.hydra.sweeper, arguments)
    jobs = {}
    for overrides in combinations:
        config = compose(overrides)
        directory = compose.directory(config)
        jobs.setdefault(directory, Job(overrides, config, directory))
    return len(combinations), list(jobs.values())


def _combinations(loader: ConfigLoader, sweeper: DictConfig, arguments: list[str]) -> list[list[str]]:
    parser = OverridesParser.create(config_loader=loader)
    everywhere = _as_arguments(sweeper.get("params") or {})
    found = []
    for entry in sweeper.get("runs") or [{}]:
        overrides = parser.parse_overrides([*everywhere, *_as_arguments(entry), *arguments])
        (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        found += batch
    return found


def _as_arguments(values: dict[str, Any]) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]


class Composer:
    """Composes configurations as Hydra does, but a thousand of one sweep in seconds.

    What takes Hydra long, putting together the files of the chosen groups, is done once for each choice.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig):
        self.loader, self.name = loader, master.hydra.job.config_name
        self.hydra_overrides = list(master.hydra.overrides.hydra)
        self._groups = set(master.hydra.runtime.choices)  # the loader alone knows none but those of conf/
        sweep = OmegaConf.to_container(master.hydra.sweep, resolve=False)
        self._directory = {key: sweep[key] for key in ("dir", "subdir")}
        self._parse = functools.cache(self._parse)
        self._compose_groups = functools.cache(self._compose_groups)

    def __call__(self, overrides: list[str]) -> DictConfig:
        parsed = [self._parse(override) for override in overrides]
        groups = tuple(line for line, (_, is_group) in zip(overrides, parsed, strict=True) if is_group)
        config = copy.deepcopy(self._compose_groups(groups))
        ConfigLoaderImpl._apply_overrides_to_config([o for o, is_group in parsed if not is_group], config)
        return config

    def directory(self, config: DictConfig) -> Path:
        """The folder of the run with this configuration."""
        found = OmegaConf.create(self._directory, parent=config)
        return Path(found.dir, found.subdir)

    def _parse(self, line: str) -> tuple[Override, bool]:
        override = OverridesParser.create(config_loader=self.loader).parse_override(line)
        group = override.key_or_group
        return override, group in self._groups or bool(self.loader.get_group_options(group))

    def _compose_groups(self, groups: tuple[str, ...]) -> DictConfig:
        overrides = [*self.hydra_overrides, *groups]
        config = self.loader.load_configuration(self.name, overrides, RunMode.RUN)
        with open_dict(config):
            del config["hydra"]
        return config


def register_plugin(kind: type, group: str, name: str, config: type) -> None:
    """Makes a class of this package a plugin of Hydra, as `<group>=<name>`.

    Hydra takes plugins from the package `hydra_plugins` alone, and finds them there by name.
    """
    kind.__module__ = PLUGINS
    setattr(sys.modules.setdefault(PLUGINS, ModuleType(PLUGINS)), kind.__name__, kind)
    Plugins.instance().register(kind)
    ConfigStore.instance().store(group=group, name=name, node=config)


def register_sweeper() -> None:
    """Makes :class:`UnionSweeper` known to Hydra."""
    register_plugin(UnionSweeper, "hydra/sweeper", "union", SweeperConfig)
