"""The schema of conf/linear.yaml, what it may say, and what makes two runs of `python -m src.linear` the same run."""

import functools
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from src.config import METHODS, Step, Wandb, digest, knobs
from src.errors import UserError
from src.presets import register_presets
from src.slurm_launcher import register_launcher
from src.sweep import register_sweeper

MethodName = Enum("MethodName", list(METHODS))
ProblemName = Enum("ProblemName", ["random", "local_optimum"])


@dataclass
class Method:
    name: MethodName = MISSING
    step: Step = MISSING
    delta: float = MISSING
    learning_rate: float = MISSING


@dataclass
class Problem:
    name: ProblemName = MISSING
    seed: int = MISSING
    dimensions: int = MISSING
    positives: int = MISSING
    negatives: int = MISSING
    margin: float = MISSING
    start_scale: float = MISSING


@dataclass
class LinearConfig:
    method: Method = field(default_factory=Method)
    problem: Problem = field(default_factory=Problem)
    steps: int = MISSING
    retry: bool = MISSING
    outputs: str = MISSING
    wandb: Wandb = field(default_factory=Wandb)


def as_experiment(name: str, step: str, delta: float) -> DictConfig:
    """A method as the configuration of `src.run` has it, for :mod:`src.config` to say what it uses."""
    return OmegaConf.create(
        {"loss": {"name": "ap"}, "method": {"name": name}, "step": step, "delta": delta, "interpolated": False}
    )


def scientific(config: DictConfig) -> dict[str, Any]:
    """What decides a run's numbers: its method, problem and steps, without the knobs that these do not use."""
    method, problem = OmegaConf.to_container(OmegaConf.create([config.method, config.problem]), enum_to_str=True)
    unused = {"step", "delta"} - set(knobs(as_experiment(method["name"], method["step"], method["delta"])))
    method = {key: value for key, value in method.items() if key not in unused}
    if problem["name"] == "local_optimum":
        problem = {"name": problem["name"]}
    return {"method": method, "problem": problem, "steps": config.steps}


def linear_run_id(config: DictConfig) -> str:
    """The run's identity: ten hexadecimal digits that depend on :func:`scientific` alone."""
    return digest(scientific(config))


def resolve(config: DictConfig) -> DictConfig:
    """The configuration with every reference resolved and every choice a plain string.

    Raises:
        UserError: a key, which the message names, has an impossible value.
    """
    known = scientific(config)
    for group in ("method", "problem"):
        for key in {"delta", "learning_rate", "dimensions", "positives", "negatives", "margin"} & known[group].keys():
            if not 0 < known[group][key] < float("inf"):
                raise UserError(f"{group}.{key}={known[group][key]} must be greater than 0 and finite")
    if not 0 <= known["problem"].get("start_scale", 0) < float("inf"):
        raise UserError(f"problem.start_scale={config.problem.start_scale} must be at least 0 and finite")
    if config.steps < 0:
        raise UserError(f"steps={config.steps} must be at least 0")
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True, enum_to_str=True))


@functools.cache
def register() -> None:
    """Makes all that conf/linear.yaml uses, and sweeps/ and slurm/, known to Hydra."""
    register_sweeper()
    register_launcher()
    register_presets()
    ConfigStore.instance().store(name="linear_schema", node=LinearConfig)
    OmegaConf.register_new_resolver("linear_run_id", lambda *, _root_: linear_run_id(_root_), replace=True)
