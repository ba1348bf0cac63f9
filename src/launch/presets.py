"""Registering the files of sweeps/ and slurm/ with Hydra, for `sweeps=NAME` and `slurm=NAME`."""

import logging

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.utils import paths

logger = logging.getLogger(__name__)


def register_presets() -> None:
    """Register sweeps/ and slurm/ as groups of Hydra's configuration.

    Hydra's search path is not used for this: with the project's folder in it, each of its folders would be a group,
    including `outputs`, and `outputs=DIR` would choose a file in it.
    """
    for group, folder in (("sweeps", paths.SWEEPS), ("slurm", paths.SLURM)):
        for file in sorted(folder.glob("*.yaml")):
            try:
                node = OmegaConf.load(file)
            except (OSError, YAMLError, OmegaConfBaseException) as error:
                logger.warning("%s cannot be read, so there is no %s=%s: %s", file, group, file.stem, error)
                continue
            ConfigStore.instance().store(group=group, name=file.stem, node=node, package="_global_")
