"""The files of sweeps/ and slurm/, as `sweeps=NAME` and `slurm=NAME` choose them."""

import logging

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.utils import paths

logger = logging.getLogger(__name__)


def register_presets() -> None:
    """Make sweeps/ and slurm/ groups of Hydra's configuration.

    Not by Hydra's search path: with the project's folder in it each of its folders would be a group, `outputs` too, and
    `outputs=DIR` be taken for the choice of a file in it.
    """
    for group, folder in (("sweeps", paths.SWEEPS), ("slurm", paths.SLURM)):
        for file in sorted(folder.glob("*.yaml")):
            try:
                node = OmegaConf.load(file)
            except (OSError, YAMLError, OmegaConfBaseException) as error:
                logger.warning("%s cannot be read, so there is no %s=%s: %s", file, group, file.stem, error)
                continue
            ConfigStore.instance().store(group=group, name=file.stem, node=node, package="_global_")
