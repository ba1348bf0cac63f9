"""The configuration of a command line, as `python -m src.run` has it."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from src.config.validate import resolve
from src.launch.hydra_setup import register
from src.utils import paths


def compose_config(overrides: list[str]) -> DictConfig:
    """Return the resolved configuration of `python -m src.run` with these overrides."""
    register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return resolve(compose("config", overrides), overrides)
