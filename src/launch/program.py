"""The programs that compose a configuration of conf/ and can be swept."""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig

from src.config.linear import resolve_linear
from src.config.validate import resolve
from src.utils.errors import UserError


@dataclass(frozen=True)
class Program:
    """A program with a function `run(config)`, which takes a resolved configuration."""

    module: str  # as in `python -m <module>`
    config_name: str  # conf/<config_name>.yaml
    resolve: Callable[..., DictConfig]  # of a composed configuration, its overrides, and the command as typed


PROGRAMS = {
    program.module: program
    for program in (Program("src.run", "config", resolve), Program("src.linear", "linear", resolve_linear))
}


def program_of(master: DictConfig) -> Program:
    """Return the program whose configuration, with Hydra's part, this is.

    Raises:
        UserError: it was given a sweep that is another program's.
    """
    (program,) = (p for p in PROGRAMS.values() if p.config_name == master.hydra.job.config_name)
    owner = master.hydra.sweeper.get("program") or program.module
    if owner != program.module:
        sweep = master.hydra.runtime.choices.get("sweeps")
        raise UserError(f"sweeps={sweep} is a sweep of python -m {owner}, not of python -m {program.module}")
    return program
