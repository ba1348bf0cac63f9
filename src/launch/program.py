"""The programs that compose a configuration of conf/ and can be swept."""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from src.config.linear import resolve_linear
from src.config.validate import resolve
from src.utils import paths
from src.utils.errors import UserError


@dataclass(frozen=True)
class Program:
    """A program with a function `run(config)`, which takes a resolved configuration."""

    module: str  # as in `python -m <module>`
    config_name: str  # conf/<config_name>.yaml
    resolve: Callable[..., DictConfig]  # takes a composed configuration, its overrides, and the command as typed


PROGRAMS = {
    program.module: program
    for program in (Program("src.run", "config", resolve), Program("src.linear", "linear", resolve_linear))
}


def program_of_config(master: DictConfig) -> Program:
    """Return the program whose configuration, with Hydra's part, this is.

    Raises:
        UserError: the configuration contains another program's sweep.
    """
    (program,) = (p for p in PROGRAMS.values() if p.config_name == master.hydra.job.config_name)
    owner = master.hydra.sweeper.get("program") or program.module
    if owner != program.module:
        sweep = master.hydra.runtime.choices.get("sweeps")
        raise UserError(f"sweeps={sweep} is a sweep of python -m {owner}, not of python -m {program.module}")
    return program


def program_of_sweep(sweep: str | None) -> str:
    """Return the module of the program that a file of sweeps/ belongs to; src.run where the file does not name one."""
    file = paths.SWEEPS / f"{sweep}.yaml"
    content = OmegaConf.load(file) if file.exists() else OmegaConf.create()
    return OmegaConf.select(content, "hydra.sweeper.program") or "src.run"
