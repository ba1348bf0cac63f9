"""What makes two runs the same run: the configuration that decides their numbers, and the id made of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from omegaconf import DictConfig

from src.config.needs import RUN_ID, needed_runs
from src.config.plain import to_plain
from src.config.registry import LOSSES, METHODS, unused_options, used_options
from src.config.schema import Config, model_schema


def run_id(config: Mapping[str, Any]) -> str:
    """Return the run's id: ten hexadecimal digits that depend on :func:`identity` alone."""
    return digest(identity(config))


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides a run's numbers: the configuration without paths, logging, workers and unused options.

    It is the same before and after resolution.

    Args:
        config: composed, resolved, or plain.
    """
    plain = {f.name: to_plain(config[f.name]) for f in fields(Config)}
    # A single process ranks all images either way.
    if plain["ranking"] == "per_process":
        plain["ranking"] = f"per_process of {plain['processes']}" if plain["processes"] > 1 else "global"
    if plain["snapshot"] is not None and not RUN_ID.fullmatch(plain["snapshot"]):
        (snapshot,) = (run for run in needed_runs({**plain, "attack": {"name": "none"}}, []) if run.key == "snapshot")
        plain["snapshot"] = run_id(snapshot.config)  # the same run, however it was named
    # `resolve` will report an unknown loss or method.
    known = plain["loss"]["name"] in LOSSES and plain["method"]["name"] in METHODS
    unused = unused_options(plain) if known else set()
    return {key: value for key, value in _identity_fields(plain, Config).items() if key not in unused}


def _identity_fields(plain: Mapping[str, Any], schema: type) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for f in fields(schema):
        value = plain[f.name]
        is_default = "default_for_identity" in f.metadata and value == f.metadata["default_for_identity"]
        if f.metadata.get("identity", True) and not is_default:
            if isinstance(value, dict) and f.name not in ("loss", "method", "attack"):
                of_group = model_schema(value["name"]) if f.name == "model" else cast(type, f.default_factory)
                value = _identity_fields(value, of_group)
            kept[f.name] = value
    return kept


def keys_not_in_identity(schema: type = Config, prefix: str = "") -> set[str]:
    """Return the keys, with dots between the levels, that cannot change a run's numbers."""
    keys = set()
    for f in fields(schema):
        if not f.metadata.get("identity", True):
            keys.add(prefix + f.name)
        elif is_dataclass(f.default_factory):
            keys |= keys_not_in_identity(cast(type, f.default_factory), f"{prefix}{f.name}.")
    return keys


def run_name(config: DictConfig) -> str:
    """Return a human-readable name: recipe, detector unless it is RetinaNet, loss, changed options, batch size, seed.

    Before the last two it names the snapshot that it starts from, and the attack.

    Args:
        config: a resolved configuration.
    """
    defaults = {
        f.name: f.metadata["default_for_identity"] for f in fields(Config) if "default_for_identity" in f.metadata
    }
    model = [config.model.name] if config.model.name != "retinanet" else []
    words = [config.recipe, *model, config.loss.name]
    for option in used_options(config):
        if config[option] != defaults.get(option):
            words.append(f"{option}={config.method.name if option == 'method' else config[option]}")
    if "ranking=per_process" in words:
        words.append(f"processes={config.processes}")
    if config.proposals != "all":
        words.append(f"proposals={config.proposals}")
    if config.dataset.classes_as_one:
        words.append("one class")
    if config.snapshot is not None:
        words.append(f"snapshot={identity(config)['snapshot']}")
    if config.attack.name != "none":
        words.append(f"attack={config.attack.name}")
    return " ".join([*words, f"batch_size={config.batch_size}", f"seed={config.seed}"])


def digest(plain: Mapping[str, Any]) -> str:
    """Return ten hexadecimal digits that stand for plain values, whatever the order of the keys."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]
