"""Register with Hydra everything that conf/ uses."""

import functools
import textwrap
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from src.config.identity import run_id
from src.config.linear import LinearConfig, linear_run_id
from src.config.schema import Config, option_schemas
from src.launch.plugin import register_plugin
from src.launch.presets import register_presets
from src.launch.slurm_launcher import SlurmLauncher, SlurmLauncherConfig
from src.launch.sweeper import SweeperConfig, UnionSweeper
from src.utils import paths
from src.utils.distributed_env import number_of_processes


@functools.cache
def register() -> None:
    """Register the schemas, the resolvers that conf/ uses, the sweeper, the launcher, sweeps/ and slurm/."""
    register_plugin(UnionSweeper, "hydra/sweeper", "union", SweeperConfig)
    register_plugin(SlurmLauncher, "hydra/launcher", "slurm", SlurmLauncherConfig)
    register_presets()
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(name="linear_schema", node=LinearConfig)
    for group in ("loss", "method", "model", "attack"):
        for name, schema in option_schemas(group).items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)
    OmegaConf.register_new_resolver("linear_run_id", lambda *, _root_: linear_run_id(_root_), replace=True)
    OmegaConf.register_new_resolver("processes", number_of_processes, replace=True)
    OmegaConf.register_new_resolver("cache_folder", lambda: str(paths.cache_folder()), replace=True)
    OmegaConf.register_new_resolver("groups", _groups, replace=True)
    OmegaConf.register_new_resolver("by_loss", _by_loss, replace=True)
    OmegaConf.register_new_resolver("by_model", _by_model, replace=True)
    OmegaConf.register_new_resolver("by_size", _by_size, replace=True)
    OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)


def _groups() -> str:
    """Return the groups that a user chooses from, with their files; Hydra's own list has the schemas, too."""
    folders = [*(folder for folder in paths.CONF.iterdir() if folder.is_dir()), paths.SLURM, paths.SWEEPS]
    lines = [f"{folder.name}: {', '.join(sorted(file.stem for file in folder.glob('*.yaml')))}" for folder in folders]
    return "\n".join(textwrap.fill(line, 118, subsequent_indent="  ") for line in sorted(lines))


def _by_loss(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value for the chosen loss, or AP-loss's if the loss has none."""
    return values.get(_root_.loss.name, values["ap"])


def _by_model(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value for the chosen detector, or RetinaNet's if the detector has none."""
    return values.get(_root_.model.name, values["retinanet"])


def _by_size(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """Return the value for the full or the small detector."""
    return values["small" if _root_.model.small else "full"]


def _folder_name(*, _root_: DictConfig) -> str:
    """Return the name of the data's folder; empty without `dataset.root`, which `resolve` will require."""
    root = "" if OmegaConf.is_missing(_root_.dataset, "root") else _root_.dataset.root
    return Path(root).expanduser().resolve().name
