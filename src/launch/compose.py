"""Composing the configurations of a sweep as Hydra does, but a thousand of them in seconds."""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: list[str]  # what a command line would say
    config: DictConfig  # as composed, without Hydra's own part
    directory: Path  # the run's folder, by which runs are told apart


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
