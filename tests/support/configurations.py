"""Configurations of conf/ and runs of sweeps/, each composed once however many tests want it."""

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from src.launch.compose import Composer, Job, sweep_jobs
from src.launch.hydra_setup import register
from src.launch.program import PROGRAMS
from src.utils import paths


def compose_config(overrides: tuple[str, ...], name: str = "config") -> DictConfig:
    """Return the configuration conf/<name>.yaml as the command line composes it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return compose(name, list(overrides))


@functools.cache
def _composer(name: str) -> Composer:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return Composer(loader, loader.load_configuration(name, [], RunMode.MULTIRUN))


@functools.cache
def _compose_once(overrides: tuple[str, ...], name: str = "config") -> DictConfig:
    """Return what :func:`compose_config` returns, in a tenth of the time; tests/launch/test_sweeper.py compares."""
    return copy.deepcopy(_composer(name).compose(list(overrides)))


def make_config(*overrides: str) -> DictConfig:
    """Return the caller's copy of the configuration of `python -m src.run` with these overrides."""
    return copy.deepcopy(_compose_once(overrides))


def make_linear_config(*overrides: str) -> DictConfig:
    """Return the caller's copy of the configuration of `python -m src.linear` with these overrides."""
    return copy.deepcopy(_compose_once(overrides, "linear"))


def resolve_linear(config: Mapping[str, Any], overrides: Iterable[str] = ()) -> DictConfig:
    """Return a configuration of `python -m src.linear` as that program resolves it."""
    return PROGRAMS["src.linear"].resolve(config, overrides, typed="")


def compose_sweep(*arguments: str, module: str = "src.run") -> tuple[DictConfig, int, list[Job]]:
    """Return the master configuration, the number of combinations, and the different runs. They are to be read only."""
    return _compose_sweep_once(arguments, module)


@functools.cache
def _compose_sweep_once(arguments: tuple[str, ...], module: str) -> tuple[DictConfig, int, list[Job]]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration(PROGRAMS[module].config_name, list(arguments), RunMode.MULTIRUN)
        return master, *sweep_jobs(loader, master, list(master.hydra.overrides.task))
