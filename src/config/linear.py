"""The schema of conf/linear.yaml, and what makes two runs of `python -m src.linear` the same run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from src.config.command import canonical_words, command_line
from src.config.identity import digest
from src.config.plain import to_plain
from src.config.registry import METHODS, used_options
from src.config.schema import Step, Wandb
from src.config.value_ranges import DELTA
from src.utils.errors import UserError

MethodName = Enum("MethodName", list(METHODS))  # type: ignore[misc]  # mypy knows literal members only
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
    resubmit: bool = MISSING
    outputs: str = MISSING
    wandb: Wandb = field(default_factory=Wandb)


def as_experiment(name: str, step: str, delta: float) -> dict[str, Any]:
    """Return a method in the form of `src.run`'s configuration, for the functions of :mod:`src.config.registry`."""
    return {
        "loss": {"name": "ap"},
        "method": {"name": name, "epsilon": 1e-6},
        "step": step,
        "delta": delta,
        "interpolated": False,
    }


def linear_run_id(config: Mapping[str, Any]) -> str:
    """Return the run's id: ten hexadecimal digits that depend on :func:`linear_identity` alone."""
    return digest(linear_identity(config))


def linear_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a run's numbers: its method, problem and steps, without the keys that these do not use."""
    method, problem = to_plain(config["method"]), to_plain(config["problem"])
    unused = {"step", "delta"} - set(used_options(as_experiment(method["name"], method["step"], method["delta"])))
    method = {key: value for key, value in method.items() if key not in unused}
    if problem["name"] == "local_optimum":
        problem = {"name": problem["name"]}
    return {"method": method, "problem": problem, "steps": config["steps"]}


def check_linear(plain: Mapping[str, Any], overrides: Iterable[str] = (), typed: str = "") -> dict[str, Any]:
    """Return a plain configuration with `command`; see :func:`src.config.validate.resolve`.

    Raises:
        UserError: a key, which the message names, has an impossible value.
    """
    known = linear_identity(plain)
    delta = known["method"].get("delta", 1.0)
    if not DELTA.contains(delta):
        raise UserError(f"method.delta={delta} must be {DELTA.words}")
    for group in ("method", "problem"):
        for key in {"learning_rate", "dimensions", "positives", "negatives", "margin"} & known[group].keys():
            if not 0 < known[group][key] < float("inf"):
                raise UserError(f"{group}.{key}={known[group][key]} must be greater than 0 and finite")
    if not 0 <= known["problem"].get("start_scale", 0) < float("inf"):
        raise UserError(f"problem.start_scale={plain['problem']['start_scale']} must be at least 0 and finite")
    if not 0 <= known["problem"].get("seed", 0) < 2**63:
        raise UserError(f"problem.seed={plain['problem']['seed']} must be from 0 to 2^63 − 1")
    if plain["steps"] < 0:
        raise UserError(f"steps={plain['steps']} must be at least 0")
    words = canonical_words(overrides, {"outputs", "retry", "resubmit", "wandb", "sweeps", "slurm", "hydra"})
    command = {"canonical": command_line("src.linear", words), "typed": typed}
    return {**plain, "command": plain.get("command", command)}
