"""The programs that compose a configuration of conf/ and can be swept."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.identity import run_id
from src.config.linear import check_linear, linear_run_id
from src.config.needs import NeededRun, needed_runs
from src.config.plain import to_plain
from src.config.validate import check, plain_config
from src.launch.presets import check_arguments
from src.utils import paths
from src.utils.errors import UserError


@dataclass(frozen=True)
class Program:
    """A program with a function `run(config)`, which takes a resolved configuration."""

    module: str  # as in `python -m <module>`
    config_name: str  # conf/<config_name>.yaml
    plain: Callable[[DictConfig], dict[str, Any]]  # makes a composed configuration plain, without checking it
    check: Callable[..., dict[str, Any]]  # takes a plain configuration, its overrides, and the command as typed
    run_id: Callable[[Mapping[str, Any]], str]  # takes a plain configuration
    # Takes a plain configuration and its overrides, and returns the runs that it needs.
    needed_runs: Callable[[Mapping[str, Any], list[str]], list[NeededRun]] = lambda config, overrides: []

    def resolve(self, config: DictConfig, overrides: Iterable[str], typed: str) -> DictConfig:
        """Return the resolved configuration; see :func:`src.config.validate.resolve`."""
        return DictConfig(self.check(self.plain(config), overrides, typed))


PROGRAMS = {
    program.module: program
    for program in (
        Program("src.run", "config", plain_config, check, run_id, needed_runs),
        Program("src.linear", "linear", to_plain, check_linear, linear_run_id),
    )
}


def program_of_config(master: DictConfig) -> Program:
    """Return the program that a composed configuration, with Hydra's part, belongs to.

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
    """Return the module of the program that a file of sweeps/ belongs to; src.run if the file does not name one.

    Raises:
        UserError: there is no such file, or it cannot be used.
    """
    if sweep is None:
        return "src.run"
    check_arguments([f"sweeps={sweep}"])
    return OmegaConf.select(OmegaConf.load(paths.SWEEPS / f"{sweep}.yaml"), "hydra.sweeper.program") or "src.run"
