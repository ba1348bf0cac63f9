"""The files of sweeps/ and slurm/, as `sweeps=NAME` and `slurm=NAME` choose them."""

import logging

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.asked import ROOT

logger = logging.getLogger(__name__)
GROUPS = ("sweeps", "slurm")


def register_presets() -> None:
    """Makes sweeps/ and slurm/ groups of Hydra's configuration.

    Not by Hydra's search path: with the project's folder in it each of its folders would be a group, `outputs` too, and
    `outputs=DIR` be taken for the choice of a file in it.
    """
    for group in GROUPS:
        for file in sorted(ROOT.glob(f"{group}/*.yaml")):
            try:
                node = OmegaConf.load(file)
            except (OSError, YAMLError, OmegaConfBaseException) as error:
                logger.warning("%s cannot be read, so there is no %s=%s: %s", file, group, file.stem, error)
                continue
            ConfigStore.instance().store(group=group, name=file.stem, node=node, package="_global_")
