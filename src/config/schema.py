"""The schema of conf/config.yaml: every key, its type, and whether it belongs to a run's identity."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from typing import Any, cast

from omegaconf import MISSING

from src.config.registry import ATTACKS, DETECTORS, LOSSES, METHODS, STEPS, DetectorEntry

Precision = Enum("Precision", ["fp32", "bf16", "fp16"])
Optimizer = Enum("Optimizer", ["sgd", "adamw"])
WandbMode = Enum("WandbMode", ["offline", "online", "disabled"])
Format = Enum("Format", ["auto", "shapes", "voc", "flat", "coco", "yolo"])
Augmentation = Enum("Augmentation", ["ssd", "scale_jitter", "flip"])
Ranking = Enum("Ranking", ["global", "per_process"])
Step = Enum("Step", list(STEPS))  # type: ignore[misc]  # mypy knows literal members only


def not_identity() -> Any:
    """Declare a key that cannot change a run's results, and so is not part of its identity."""
    return field(default=MISSING, metadata={"identity": False})


def with_identity_default(value: Any, **options: Any) -> Any:
    """Declare a key added later: at this value it is left out of the identity, so that older runs keep their ids."""
    return field(metadata={"default_for_identity": value}, **options)


@dataclass
class Choice:
    name: str = MISSING


@dataclass
class Model(Choice):
    """The options of every detector; :func:`model_schema` adds those of one."""

    name: str = with_identity_default("retinanet", default=MISSING)
    small: bool = not_identity()  # it only changes values of other keys
    score_threshold: float = MISSING
    nms_iou: float = with_identity_default(0.5, default=MISSING)
    max_detections: int = with_identity_default(100, default=MISSING)


@dataclass
class Dataset:
    name: str = MISSING
    format: Format = not_identity()
    root: str = not_identity()
    train: str = MISSING
    test: str = MISSING
    classes: list[str] | None = MISSING
    classes_as_one: bool = with_identity_default(False, default=MISSING)
    train_size: int = MISSING
    test_shorter_side: int | None = MISSING
    test_longer_side: int = MISSING
    augmentation: Augmentation = MISSING


@dataclass
class Test:
    scales: list[int] | None = MISSING
    mirror: bool = MISSING


@dataclass
class Schedule:
    epochs: int = MISSING
    steps: int | None = with_identity_default(None, default=MISSING)
    optimizer: Optimizer = with_identity_default("sgd", default=MISSING)
    learning_rate: float = MISSING
    backbone_rate: float = with_identity_default(1.0, default=MISSING)
    reference_batch_size: int = MISSING
    warmup_iterations: int = MISSING
    warmup_divisor: float = with_identity_default(3.0, default=MISSING)
    decay_at: list[float] = MISSING
    momentum: float = MISSING
    weight_decay: float = MISSING
    box_loss_weight: float = MISSING
    clip_gradient: float | None = MISSING
    evaluate_every: int = not_identity()


@dataclass
class Wandb:
    mode: WandbMode = MISSING
    project: str = MISSING
    entity: str | None = MISSING


@dataclass
class Config:
    recipe: str = not_identity()
    loss: Choice = field(default_factory=Choice)
    method: Choice = with_identity_default({"name": "error_driven"}, default_factory=Choice)
    step: Step = with_identity_default("piecewise", default=MISSING)
    delta: float = MISSING
    interpolated: bool = MISSING
    batch_size: int = MISSING
    seed: int = MISSING
    precision: Precision = MISSING
    compile: bool = with_identity_default(False, default=MISSING)
    proposals: int | str = with_identity_default("all", default=MISSING)
    rpn_epochs: int = with_identity_default(12, default=MISSING)
    ranking: Ranking = with_identity_default("global", default=MISSING)
    processes: int = not_identity()
    overlap: bool = not_identity()
    deterministic: bool = not_identity()
    model: Model = field(default_factory=Model)
    dataset: Dataset = field(default_factory=Dataset)
    schedule: Schedule = field(default_factory=Schedule)
    test: Test = with_identity_default({"scales": None, "mirror": False}, default_factory=Test)
    attack: Choice = with_identity_default({"name": "none"}, default_factory=Choice)
    snapshot: str | None = with_identity_default(None, default=MISSING)
    outputs: str = not_identity()
    device: str = not_identity()
    workers: int = not_identity()
    checkpoint_minutes: float = not_identity()
    retry: bool = not_identity()
    resubmit: bool = not_identity()
    images_logged: int = not_identity()
    wandb: Wandb = field(default_factory=Wandb, metadata={"identity": False})


def option_schemas(group: str) -> dict[str, type]:
    """Return the schema of each choice of `loss`, `method`, `model` or `attack`: its name and its options.

    Args:
        group: "loss", "method", "model" or "attack".
    """
    if group == "model":
        return {name: model_schema(name) for name in DETECTORS}
    own_options: dict[str, Mapping[str, Any]]
    if group == "attack":
        own_options = {name: attack.own_options for name, attack in ATTACKS.items()}
    else:
        entries: dict[str, Any] = dict(LOSSES if group == "loss" else METHODS)
        own_options = {name: one.objective.own_options if one.objective else {} for name, one in entries.items()}
    schemas = {}
    for name, options in own_options.items():
        own_fields = [(option, _type_of(option, kind), field(default=MISSING)) for option, kind in options.items()]
        schemas[name] = make_dataclass(f"{name}_{group}", own_fields, bases=(Choice,))
    return schemas


def _type_of(option: str, kind: Any) -> Any:
    """Return the type of an option, for which a tuple lists the allowed names."""
    return Enum(option, list(kind)) if isinstance(kind, tuple) else kind


def with_later_keys(config: Mapping[str, Any], schema: type = Config) -> dict[str, Any]:
    """Return a plain configuration with the keys that its version lacked, at the values that keep its id."""
    completed = dict(config)
    for f in fields(schema):
        value = config.get(f.name)
        if f.name not in config and "default_for_identity" in f.metadata:
            completed[f.name] = copy.deepcopy(f.metadata["default_for_identity"])
        elif isinstance(value, Mapping) and f.name in ("model", "dataset", "schedule"):
            of_group = model_schema(str(value.get("name"))) if f.name == "model" else cast(type, f.default_factory)
            completed[f.name] = with_later_keys(value, of_group)
    return completed


def model_schema(name: str) -> type:
    """Return the schema of a detector's options; for an unknown detector, only those that all detectors have."""
    if name not in DETECTORS:
        return Model
    entry = DETECTORS[name]
    if name not in _model_schemas or _model_schemas[name][0] is not entry:  # making a class takes a millisecond
        _model_schemas[name] = entry, _make_model_schema(name, entry)
    return _model_schemas[name][1]


_model_schemas: dict[str, tuple[DetectorEntry, type]] = {}


def _make_model_schema(name: str, entry: DetectorEntry) -> type:
    options: list[tuple[str, Any, Any]] = []
    for option, kind in entry.own_options.items():
        kind = _type_of(option, kind)
        if option in entry.identity_defaults:
            options.append((option, kind, with_identity_default(entry.identity_defaults[option], default=MISSING)))
        else:
            options.append((option, kind, field(default=MISSING)))
    return make_dataclass(f"{name}_model", options, bases=(Model,))
