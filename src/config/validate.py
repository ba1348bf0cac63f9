"""Turning a composed configuration into the plain one that the rest of the project works with."""

import copy
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.command import canonical_words, command_line
from src.config.identity import flatten, keys_not_in_identity, to_plain
from src.config.registry import LOSS_OPTIONS, LOSSES, METHODS, used_options
from src.utils.errors import UserError

# Where the data are and what the recipe is called decide no number, but no command can do without them.
KEPT_IN_COMMANDS = {"recipe", "dataset.root", "dataset.format"}


def resolve(config: DictConfig, overrides: Iterable[str] = (), typed: str = "") -> DictConfig:
    """Return the configuration with every reference resolved and every choice a plain string.

    It also holds `command`, how the run is made, and `by_loss`, the values that its recipe has for each loss. Resolving
    a resolved configuration checks it and changes nothing.

    Args:
        overrides: that the configuration was composed of.
        typed: the command line as it was typed.

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
    plain = to_plain(config)
    _check_values(plain)
    plain.setdefault("by_loss", _values_by_loss(config))
    plain.setdefault("command", {"canonical": _canonical_command(plain, overrides), "typed": typed})
    return DictConfig(plain)


def _check_values(config: dict[str, Any]) -> None:
    schedule, data, used = config["schedule"], config["dataset"], used_options(config)
    positive = ["batch_size", "processes", "checkpoint_minutes", "schedule.epochs", "schedule.evaluate_every"]
    positive += ["schedule.learning_rate", "schedule.reference_batch_size", "dataset.train_size"]
    positive += ["model.channels", "model.anchor_scale", *(["delta"] if "delta" in used else [])]
    values = flatten(config)
    positive += ["loss.negatives_per_positive"] if "loss.negatives_per_positive" in values else []
    for key in positive:
        if not values[key] > 0:
            raise UserError(f"{key}={values[key]} must be greater than 0")
    if config["batch_size"] % config["processes"]:
        raise UserError(f"batch_size={config['batch_size']} must be a multiple of processes={config['processes']}")
    if not values.get("method.epsilon", 0) >= 0:
        raise UserError(f"method.epsilon={values['method.epsilon']} must be at least 0")
    if data["train_size"] % 32:
        raise UserError(f"dataset.train_size={data['train_size']} must be a multiple of 32")
    shorter, longer = data["test_shorter_side"], data["test_longer_side"]
    if shorter is not None and not 0 < shorter <= longer:
        raise UserError(
            f"dataset.test_shorter_side={shorter} must be null, or greater than 0 and at most "
            f"dataset.test_longer_side={longer}"
        )
    if not all(0 < fraction <= 1 for fraction in schedule["decay_at"]):
        raise UserError(f"schedule.decay_at={schedule['decay_at']} must be fractions of the training, between 0 and 1")


def _canonical_command(plain: dict[str, Any], overrides: Iterable[str]) -> str:
    """Return the command that makes exactly this run: what does not change its numbers is left out."""
    unused = set(LOSS_OPTIONS) - set(used_options(plain))
    left_out = (keys_not_in_identity() - KEPT_IN_COMMANDS) | unused | {"sweeps", "slurm", "hydra"}
    words = canonical_words(overrides, left_out)
    if not any(word.startswith("recipe=") for word in words):
        words.insert(0, f"recipe={plain['recipe']}")
    together = "ranking" not in unused and plain["ranking"] == "per_process" and plain["processes"] > 1
    return command_line("src.run", words, processes=plain["processes"] if together else 1)


def _values_by_loss(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Return the keys whose values the recipe gives by loss, each with the value for every loss."""
    raw = flatten(to_plain(config, resolve=False))
    keys = [key for key, value in raw.items() if isinstance(value, str) and "${by_loss:" in value]
    tables: dict[str, dict[str, Any]] = {key: {} for key in keys}
    if keys:
        other = copy.deepcopy(config)
        for loss in LOSSES:
            other.loss.name = loss
            for key in keys:
                tables[key][loss] = OmegaConf.select(other, key)
    return tables
