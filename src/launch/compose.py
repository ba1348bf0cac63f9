"""Compose the configurations of a sweep as Hydra does, but a thousand of them in seconds."""

import copy
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import omegaconf.base
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.grammar_parser import parse

from src.launch.program import Program, program_of_config
from src.utils import paths
from src.utils.errors import UserError
from src.utils.progress import progress_bar

# OmegaConf parses a reference such as ${processes:} each time it is read, which takes longer than everything else.
omegaconf.base.parse = functools.lru_cache(1000)(parse)

# Configurations composed of choices of groups, by everything they depend on. A process reads each file of conf/ once.
_COMPOSED: dict[tuple, DictConfig] = {}


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    overrides: list[str]  # as on a command line
    config: Mapping[str, Any]  # plain, without Hydra's part
    directory: Path  # the run's folder; runs with the same one are the same
    needs: tuple[Path, ...] = ()  # the folders of the runs that must finish before it
    is_asked_for: bool = True  # False: added only because others need it


def sweep_jobs(loader: ConfigLoader, master: DictConfig, arguments: list[str]) -> tuple[int, list[Job]]:
    """Return the number of combinations in a sweep, and its distinct runs, whose values are not checked yet.

    A run comes after those that it needs, which are added if they are not in the sweep.

    Args:
        master: the configuration composed of the arguments that have one value, with Hydra's part, which contains the
            file of sweeps/.
        arguments: of the command line.
    """
    compose = Composer(loader, master)
    combinations = _combinations(loader, master.hydra.sweeper, arguments)
    asked_for: dict[Path, Job] = {}
    for overrides in progress_bar(combinations, "composing"):
        job = compose.job(overrides)
        asked_for.setdefault(job.directory, job)
    jobs: dict[Path, Job] = {}
    for job in asked_for.values():
        _add_with_needed(job, asked_for, jobs, compose.program)
    return len(combinations), list(jobs.values())


def _add_with_needed(job: Job, asked_for: Mapping[Path, Job], jobs: dict[Path, Job], program: Program) -> None:
    """Add a run to others, after the runs that it needs."""
    if job.directory in jobs:
        return
    needs = []
    for needed in program.needed_runs(job.config, job.overrides):
        directory = Path(needed.config["outputs"], program.run_id(needed.config))
        other = asked_for.get(directory) or Job(needed.overrides, needed.config, directory, is_asked_for=False)
        _add_with_needed(other, asked_for, jobs, program)
        needs.append(directory)
    jobs[job.directory] = replace(job, needs=tuple(needs))


def _combinations(loader: ConfigLoader, sweeper: DictConfig, arguments: list[str]) -> list[list[str]]:
    parser = OverridesParser.create(config_loader=loader)
    common = _as_arguments(sweeper.get("params") or {})
    combinations = []
    for entry in sweeper.get("runs") or [{}]:
        overrides = parser.parse_overrides([*common, *_as_arguments(entry), *arguments])
        for override in overrides:
            if override.is_sweep_override() and override.is_discrete_sweep() and not [*override.sweep_iterator()]:
                raise UserError(f"{override.input_line}: this gives no value, so there is no run")
        (batch,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        combinations += [[_as_typed(word) for word in words] for words in batch]
    return combinations


def _as_typed(word: str) -> str:
    """Return an override with true and false as typed on a command line, instead of Python's True and False."""
    return re.sub(r"(?<==)(True|False)$", lambda value: value[0].lower(), word)


def _as_arguments(values: dict[str, Any]) -> list[str]:
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]


class Composer:
    """Composes configurations as Hydra does, but quickly for the many runs of a sweep.

    Hydra is slow at merging the files of the chosen groups; here a process does it once for each choice of groups. The
    private parts of Hydra that this uses are checked in tests/launch/test_hydra_internals.py.

    Args:
        master: see :func:`sweep_jobs`.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig):
        self.loader, self.name = loader, master.hydra.job.config_name
        self.program: Program = program_of_config(master)
        self.hydra_overrides = list(master.hydra.overrides.hydra)
        # The loader lists only the groups of conf/, and takes long for each.
        self._is_group = dict.fromkeys(master.hydra.runtime.choices, True)
        self._parsed: dict[str, tuple[Override, bool]] = {}
        self._reused: tuple[tuple[str, ...], list[str]] | None = None
        self._config = OmegaConf.create()
        self._context = self.name, str(loader.get_search_path()), tuple(self.hydra_overrides)
        sweep = OmegaConf.select(master, "hydra.runtime.choices.sweeps")
        self._without_effect = f"sweeps={sweep}" if sweep and _describes_runs_alone(str(sweep)) else None

    def job(self, overrides: list[str]) -> Job:
        """Return the run that these overrides make; its folder is where the program looks for it."""
        plain = self.program.plain(self.compose(overrides))
        return Job(overrides, plain, Path(plain["outputs"], self.program.run_id(plain)))

    def compose(self, overrides: list[str]) -> DictConfig:
        """Return the configuration that these overrides make, without Hydra's part; it is valid until the next call."""
        parsed = [self._parse(override) for override in overrides]
        pairs = zip(overrides, parsed, strict=True)
        groups = tuple(line for line, (_, is_group) in pairs if is_group and line != self._without_effect)
        values = [override for override, is_group in parsed if not is_group]
        # Copying is slow, and not needed if the overrides only replace the values of the same keys as last time.
        reusable = groups, [override.key_or_group for override in values]
        if reusable != self._reused or not all(map(_replaces_a_value, values)):
            self._config, self._reused = copy.deepcopy(self._compose_groups(groups)), reusable
        ConfigLoaderImpl._apply_overrides_to_config(values, self._config)
        return self._config

    def _parse(self, line: str) -> tuple[Override, bool]:
        """Return an override, and whether it chooses a file of a group."""
        if line not in self._parsed:
            override = OverridesParser.create(config_loader=self.loader).parse_override(line)
            key = override.key_or_group
            if key not in self._is_group:
                self._is_group[key] = bool(self.loader.get_group_options(key))
            self._parsed[line] = override, self._is_group[key]
        return self._parsed[line]

    def _compose_groups(self, groups: tuple[str, ...]) -> DictConfig:
        """Return the configuration with only these choices of groups."""
        attack = tuple(line for line in groups if line.startswith("attack="))
        key = *self._context, groups
        if key not in _COMPOSED and attack and len(attack) < len(groups):
            # An attack depends on no other choice. Composed separately, the attacks of a sweep add to its time;
            # composed with each other choice, they would multiply it. slurm= stays, for the keys of hydra.launcher.
            config = copy.deepcopy(self._load(tuple(line for line in groups if line not in attack)))
            preset = (line for line in groups if line.lstrip("+").startswith("slurm="))
            with open_dict(config):
                config["attack"] = self._load((*preset, attack[-1]))["attack"]
            _COMPOSED[key] = config
            return config
        return self._load(groups)

    def _load(self, groups: tuple[str, ...]) -> DictConfig:
        """Return the configuration as Hydra composes it with only these choices of groups, without its own part."""
        key = *self._context, groups
        if key not in _COMPOSED:
            config = self.loader.load_configuration(self.name, [*self.hydra_overrides, *groups], RunMode.RUN)
            with open_dict(config):
                del config["hydra"]
            _COMPOSED[key] = config
        return _COMPOSED[key]


def _describes_runs_alone(sweep: str) -> bool:
    """Return whether a file of sweeps/ has only Hydra's part, which leaves nothing in a run's configuration."""
    file = paths.SWEEPS / f"{sweep}.yaml"
    return file.is_file() and OmegaConf.load(file).keys() == {"hydra"}


def _replaces_a_value(override: Override) -> bool:
    """Return whether an override replaces the earlier value of its key completely; a mapping may not."""
    return override.type == OverrideType.CHANGE and not isinstance(override.value(), dict)
