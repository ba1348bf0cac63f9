"""The schema of the configuration, the knobs each loss takes, and what makes two runs the same run."""

import functools
import hashlib
import json
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from src.errors import UserError
from src.presets import register_presets
from src.slurm_launcher import register_launcher
from src.started import number_of_processes
from src.sweep import register_sweeper

Precision = Enum("Precision", ["fp32", "bf16", "fp16"])
WandbMode = Enum("WandbMode", ["offline", "online", "disabled"])
Format = Enum("Format", ["shapes", "voc", "coco"])
Augmentation = Enum("Augmentation", ["ssd", "flip"])
Backbone = Enum("Backbone", ["resnet18", "resnet50", "resnet101"])
Ranking = Enum("Ranking", ["global", "per_process"])
Step = Enum("Step", ["piecewise", "heaviside", "sigmoid"])  # those of src.losses, which needs torch


def not_scientific(default: Any = MISSING) -> Any:
    """A field that cannot change a run's numbers, and so is no part of its identity."""
    return field(default=default, metadata={"scientific": False})


@dataclass
class Loss:
    name: str = MISSING


@dataclass
class FocalLoss(Loss):
    alpha: float = MISSING
    gamma: float = MISSING


@dataclass
class OhemLoss(Loss):
    negatives_per_positive: int = MISSING


@dataclass
class Method:
    name: str = MISSING


@dataclass
class ApproximateGradient(Method):
    epsilon: float = MISSING


@dataclass
class Model:
    backbone: Backbone = MISSING
    weights: str | None = MISSING
    channels: int = MISSING
    anchor_scale: float = MISSING
    score_threshold: float = MISSING


@dataclass
class Dataset:
    name: str = MISSING
    format: Format = not_scientific()
    root: str = not_scientific()
    train: str = MISSING
    test: str = MISSING
    classes: list[str] | None = MISSING
    train_size: int = MISSING
    test_shorter_side: int | None = MISSING
    test_longer_side: int = MISSING
    augmentation: Augmentation = MISSING


@dataclass
class Schedule:
    epochs: int = MISSING
    learning_rate: float = MISSING
    reference_batch_size: int = MISSING
    warmup_iterations: int = MISSING
    decay_at: list[float] = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    box_loss_weight: float = MISSING
    clip_gradient: float | None = MISSING
    evaluate_every: int = not_scientific()


@dataclass
class Wandb:
    mode: WandbMode = MISSING
    project: str = MISSING
    entity: str | None = MISSING


@dataclass
class Config:
    recipe: str = not_scientific()
    loss: Loss = field(default_factory=Loss)
    method: Method = field(default_factory=Method, metadata={"neutral": {"name": "error_driven"}})
    step: Step = field(default=MISSING, metadata={"neutral": "piecewise"})
    delta: float = MISSING
    interpolated: bool = MISSING
    batch_size: int = MISSING
    seed: int = MISSING
    precision: Precision = MISSING
    ranking: Ranking = field(default=MISSING, metadata={"neutral": "global"})
    processes: int = not_scientific()
    model: Model = field(default_factory=Model)
    dataset: Dataset = field(default_factory=Dataset)
    schedule: Schedule = field(default_factory=Schedule)
    outputs: str = not_scientific()
    device: str = not_scientific()
    workers: int = not_scientific()
    checkpoint_minutes: float = not_scientific()
    retry: bool = not_scientific()
    images_logged: int = not_scientific()
    wandb: Wandb = field(default_factory=Wandb, metadata={"scientific": False})


# The top-level knobs that each loss and, for AP-loss, each method takes; the others do not count.
LOSSES = {
    "ap": ("method", "step", "delta", "interpolated", "ranking"),
    "auc": ("step", "delta", "ranking"),
    "focal": (),
    "ohem": (),
}
METHODS = {
    "error_driven": ("method", "step", "delta", "interpolated", "ranking"),
    "approximate_gradient": ("method", "delta", "ranking"),
    "structured_hinge": ("method", "ranking"),
}


def knobs(config: DictConfig | dict[str, Any]) -> list[str]:
    """The top-level knobs that the chosen loss uses."""
    used = LOSSES[config["loss"]["name"]]
    if "method" in used:
        used = [knob for knob in used if knob in METHODS[config["method"]["name"]]]
    without_delta = "step" in used and str(config["step"]).removeprefix("Step.") == "heaviside"
    return [knob for knob in used if knob != "delta" or not without_delta]


def loss_function(config: DictConfig) -> tuple[str, dict[str, Any]]:
    """The name in `src.losses` of the chosen loss, and its keyword arguments, from a resolved configuration."""
    used = knobs(config)
    arguments = {knob: config[knob] for knob in used if knob not in ("method", "ranking")}
    groups = [config.loss, config.method] if "method" in used else [config.loss]
    for group in groups:
        arguments |= {key: value for key, value in group.items() if key != "name"}
    method = f"_{config.method.name}" if "method" in used and config.method.name != "error_driven" else ""
    return f"{config.loss.name}{method}_loss", arguments


def scientific(config: DictConfig) -> dict[str, Any]:
    """What decides a run's numbers: the resolved configuration without paths, logging, workers and unused knobs."""
    plain = {f.name: _plain(config[f.name]) for f in fields(Config)}
    # One process ranks what it has, which is all.
    if plain["ranking"] == "per_process":
        plain["ranking"] = f"per_process of {plain['processes']}" if plain["processes"] > 1 else "global"
    # An unknown loss or method is for `resolve` to complain of.
    known = plain["loss"]["name"] in LOSSES and plain["method"]["name"] in METHODS
    unused = set(LOSSES["ap"]) - set(knobs(plain) if known else LOSSES["ap"])
    return {key: value for key, value in _scientific(plain, Config).items() if key not in unused}


def _plain(value: Any) -> Any:
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    return value.name if isinstance(value, Enum) else value


def _scientific(plain: dict, schema: type) -> dict:
    kept = {}
    for f in fields(schema):
        value = plain[f.name]
        # A knob added later names the value at which it changes nothing; at that value it is left out of the
        # identity, so that the runs made before it keep theirs.
        neutral = "neutral" in f.metadata and value == f.metadata["neutral"]
        if f.metadata.get("scientific", True) and not neutral:
            known = isinstance(value, dict) and f.name not in ("loss", "method")
            kept[f.name] = _scientific(value, f.default_factory) if known else value
    return kept


def not_scientific_keys(schema: type = Config, prefix: str = "") -> set[str]:
    """The keys, with dots between the levels, that cannot change a run's numbers."""
    keys = set()
    for f in fields(schema):
        if not f.metadata.get("scientific", True):
            keys.add(prefix + f.name)
        elif is_dataclass(f.default_factory):
            keys |= not_scientific_keys(f.default_factory, f"{prefix}{f.name}.")
    return keys


def run_id(config: DictConfig) -> str:
    """The run's identity: ten hexadecimal digits that depend on :func:`scientific` alone."""
    return digest(scientific(config))


def digest(plain: dict[str, Any]) -> str:
    """Ten hexadecimal digits that stand for plain values, whatever the order of the keys."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]


def resolve(config: DictConfig) -> DictConfig:
    """The configuration with every reference resolved and every choice a plain string.

    Raises:
        UserError: a key, which the message names, has no value or an impossible one.
    """
    missing = OmegaConf.missing_keys(config)
    if missing:
        raise UserError(f"no value given for {', '.join(sorted(missing))}: add KEY=VALUE to the command line")
    if config.loss.name not in LOSSES:
        raise UserError(f"loss.name={config.loss.name}: no such loss; there are {', '.join(LOSSES)}")
    if config.method.name not in METHODS:
        raise UserError(f"method.name={config.method.name}: no such method; there are {', '.join(METHODS)}")
    schedule, data = config.schedule, config.dataset
    positive = {
        "batch_size": config.batch_size,
        "processes": config.processes,
        "checkpoint_minutes": config.checkpoint_minutes,
        "schedule.epochs": schedule.epochs,
        "schedule.evaluate_every": schedule.evaluate_every,
        "schedule.learning_rate": schedule.learning_rate,
        "schedule.reference_batch_size": schedule.reference_batch_size,
        "dataset.train_size": data.train_size,
        "model.channels": config.model.channels,
        "model.anchor_scale": config.model.anchor_scale,
    }
    if "delta" in knobs(config):
        positive["delta"] = config.delta
    if config.loss.name == "ohem":
        positive["loss.negatives_per_positive"] = config.loss.negatives_per_positive
    for key, value in positive.items():
        if not value > 0:
            raise UserError(f"{key}={value} must be greater than 0")
    if config.batch_size % config.processes:
        raise UserError(f"batch_size={config.batch_size} must be a multiple of processes={config.processes}")
    if config.method.name == "approximate_gradient" and not config.method.epsilon >= 0:
        raise UserError(f"method.epsilon={config.method.epsilon} must be at least 0")
    if data.train_size % 32:
        raise UserError(f"dataset.train_size={data.train_size} must be a multiple of 32")
    if data.test_shorter_side is not None and not 0 < data.test_shorter_side <= data.test_longer_side:
        raise UserError(
            f"dataset.test_shorter_side={data.test_shorter_side} must be null, or greater than 0 and at most "
            f"dataset.test_longer_side={data.test_longer_side}"
        )
    if not all(0 < part <= 1 for part in schedule.decay_at):
        raise UserError(f"schedule.decay_at={list(schedule.decay_at)} must be parts of the training, between 0 and 1")
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True, enum_to_str=True))


def describe(config: DictConfig) -> str:
    """A run's name for people: recipe, loss, the knobs that count, batch size and seed."""
    neutral = {f.name: f.metadata["neutral"] for f in fields(Config) if "neutral" in f.metadata}
    words = [config.recipe, config.loss.name]
    for knob in knobs(config):
        if config[knob] != neutral.get(knob):
            words.append(f"{knob}={config.method.name if knob == 'method' else config[knob]}")
    if "ranking=per_process" in words:
        words.append(f"processes={config.processes}")
    return " ".join([*words, f"batch_size={config.batch_size}", f"seed={config.seed}"])


@functools.cache
def register() -> None:
    """Makes the schema, the resolvers that conf/ uses, the sweeper, the launcher, sweeps/ and slurm/ known to Hydra."""
    register_sweeper()
    register_launcher()
    register_presets()
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="schema/loss", name="loss", node=Loss)
    store.store(group="schema/loss", name="focal", node=FocalLoss)
    store.store(group="schema/loss", name="ohem", node=OhemLoss)
    store.store(group="schema/method", name="method", node=Method)
    store.store(group="schema/method", name="approximate_gradient", node=ApproximateGradient)
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: run_id(_root_), replace=True)
    OmegaConf.register_new_resolver("processes", number_of_processes, replace=True)
    OmegaConf.register_new_resolver("by_loss", _by_loss, replace=True)
    OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)


def _by_loss(values: dict[str, Any], *, _root_: DictConfig) -> Any:
    """Of values by the names of losses that of the chosen one; that of AP-loss for a loss without one of its own."""
    return values.get(_root_.loss.name, values["ap"])


def _folder_name(*, _root_: DictConfig) -> str:
    # Without a root the name is of no use either; `resolve` will ask for it.
    root = "" if OmegaConf.is_missing(_root_.dataset, "root") else _root_.dataset.root
    return Path(root).expanduser().resolve().name
