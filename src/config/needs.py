"""The runs that a run needs: an attack needs the detector that it attacks, proposals an RPN, a warm start a snapshot.

An attack with an adversarial patch also needs the run that makes the patch.

What a run needs follows from its configuration alone. Its id depends on theirs: with other needs it is another run.
This module imports neither torch nor what composes configurations: a job on a cluster has neither conf/ nor Hydra.
"""

import copy
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.command import is_in, key_of
from src.config.plain import to_plain
from src.config.registry import ATTACKS
from src.config.schema import Config, option_schemas, with_later_keys
from src.utils.errors import UserError
from src.utils.quoting import hydra_quoted

Plain = dict[str, Any]
RUN_ID = re.compile(r"[0-9a-f]{10}")
# What the command decides, and not the run that it names by its id.
OF_COMMAND = (
    *("outputs", "device", "processes", "overlap", "deterministic", "workers", "checkpoint_minutes", "retry"),
    *("resubmit", "images_logged", "wandb"),
)

_BY_ID = "Name a run that differs in its choice by the run's id: snapshot=ID"

# The keys of a run with proposals on which its RPN does not depend.
_NOT_OF_RPN = (
    *("loss", "method", "step", "delta", "interpolated", "ranking", "seed", "proposals", "rpn_epochs", "test"),
    *("snapshot", "schedule.epochs", "schedule.steps", "schedule.box_loss_weight"),
)


@dataclass(frozen=True)
class NeededRun:
    """A run that must have finished before another one can start."""

    key: str  # the reason: "attack" for the detector under attack, "patch", "proposals" for an RPN, "snapshot"
    config: Plain  # plain, without `command`
    overrides: list[str]  # those that make it; empty if the needing run's overrides are not known


def needed_runs(config: Mapping[str, Any], overrides: Iterable[str] | None = None) -> list[NeededRun]:
    """Return the runs that a run needs directly.

    Args:
        config: plain or resolved.
        overrides: those that make the run; None for those of its canonical command, if it has one.

    Raises:
        UserError: `snapshot` names no run.
    """
    words = list(overrides) if overrides is not None else _words_of_command(config)
    # What the detector under attack was trained from is needed by the detector's own run.
    is_attack = config["attack"]["name"] != "none"
    found = ((key, need(config, words)) for key, need in NEEDS.items() if (key in OF_ATTACKS) == is_attack)
    return [NeededRun(key, *needed) for key, needed in found if needed is not None]


def snapshot_changes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys, with dots between the levels, in which the run that `snapshot` names differs, with their values.

    Args:
        config: plain; its `snapshot` is "KEY:VALUE KEY:VALUE …" or "KEY=VALUE …".

    Raises:
        UserError: a word has no value, its key is none of a single value, or the value is of the wrong kind.
    """
    text, changes = config["snapshot"], {}
    for word in text.split():
        key, separator, value = re.match(r"([^:=]*)([:=]?)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
        if not separator or not value:
            raise UserError(
                f'snapshot="{text}": {word} is neither KEY:VALUE nor the id of a run (write an id that reads as a '
                "number in quotes)"
            )
        changes[key] = _typed_value(config, key, value, f'snapshot="{text}"')
    return changes


def _attacked(config: Mapping[str, Any], overrides: list[str]) -> tuple[Plain, list[str]] | None:
    """Return the training of the detector that is attacked: the same run without an attack."""
    return _without_command(config) | {"attack": {"name": "none"}}, _without(overrides, {"attack"})


def _snapshot(config: Mapping[str, Any], overrides: list[str]) -> tuple[Plain, list[str]] | None:
    """Return the run whose weights training starts from, named by its id or by how it differs from this run."""
    if config["snapshot"] is None:
        return None
    if RUN_ID.fullmatch(config["snapshot"]):
        return _run_of_id(config)
    changes = snapshot_changes(config)
    words = [f"{key}={_as_word(value)}" for key, value in changes.items()]
    return _changed(config, {**changes, "snapshot": None}), [*_without(overrides, {"snapshot", *changes}), *words]


def _patch(config: Mapping[str, Any], overrides: list[str]) -> tuple[Plain, list[str]] | None:
    """Return the run that makes the patch of an adversarial patch attack; None for other attacks.

    Unless it is made against the detector under attack itself, the patch is the same for the detectors of all losses:
    it is made against an AP-loss detector with the next seed. That detector uses the Heaviside step, so that no table
    includes it.
    """
    attack = config["attack"]
    if attack["name"] != "adversarial_patch":
        return None
    options = {key: attack[key] for key in ATTACKS["patch_making"].own_options}
    given = [word for word in overrides if any(word.startswith(f"attack.{key}=") for key in options)]
    changes: dict[str, Any] = {"attack": {"name": "patch_making", **options}}
    words = _without(overrides, {"attack"})
    if attack["against"] == "other":
        of_loss: dict[str, Any] = {"loss": {"name": "ap"}, "method": {"name": "error_driven"}}
        of_loss |= {"step": "heaviside", "delta": 1.0, "interpolated": True}
        seed = (config["seed"] + 1) % 2**63
        changes |= {**of_loss, "snapshot": None, "seed": seed}
        changes |= {key: values["ap"] for key, values in config.get("by_loss", {}).items()}
        words = [*_without(words, {*of_loss, "snapshot", "seed"}), "step=heaviside", f"seed={seed}"]
    return _changed(config, changes), [*words, "attack=patch_making", *given]


def _rpn(config: Mapping[str, Any], overrides: list[str]) -> tuple[Plain, list[str]] | None:
    """Return the run that trains the region proposal network of a run with proposals.

    It is the same detector, trained for `rpn_epochs` with focal loss, with all objects as one class and without box
    loss, at the recipe's learning rate for focal loss if it has one. Runs on the same images, with the same detector
    and batch size, share an RPN.
    """
    if config["proposals"] == "all":
        return None
    epochs = config["rpn_epochs"]
    changes: dict[str, Any] = {
        "loss": {"name": "focal", "alpha": 0.25, "gamma": 2.0},
        "method": {"name": "error_driven"},
        "ranking": "global",
        "seed": 0,
        "proposals": "all",
        "test": {"scales": None, "mirror": False},
        "snapshot": None,
        "dataset.classes_as_one": True,
    }
    changes |= {key: values["focal"] for key, values in config.get("by_loss", {}).items()}
    changes |= {"schedule.epochs": epochs, "schedule.steps": None, "schedule.box_loss_weight": 0.0}
    words = ["loss=focal", "loss.gamma=2.0", "seed=0", "dataset.classes_as_one=true"]
    words += [f"schedule.epochs={epochs}", "schedule.box_loss_weight=0"]
    return _changed(config, changes), [*_without(overrides, _NOT_OF_RPN), *words]


# By key, in the order in which the runs are made: takes a plain configuration and its overrides, and returns those of
# the needed run, None if none is needed.
NEEDS: dict[str, Callable[[Mapping[str, Any], list[str]], tuple[Plain, list[str]] | None]] = {
    "attack": _attacked,
    "patch": _patch,
    "proposals": _rpn,
    "snapshot": _snapshot,
}
OF_ATTACKS = ("attack", "patch")


def read_configuration(file: Path) -> Plain:
    """Return the plain configuration in a run's config.yaml, with the keys that its version lacked.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or is not that of a detector's run.
    """
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(file))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    plain = with_later_keys(stored) if isinstance(stored, dict) else {}
    if not plain.keys() >= {f.name for f in fields(Config)} - {*OF_COMMAND}:
        raise UserError(f"{file} is no configuration of a detector's run")
    return plain


def _run_of_id(config: Mapping[str, Any]) -> tuple[Plain, list[str]]:
    """Return the configuration of the run whose id `snapshot` is, from its folder, and the overrides that make it."""
    file = Path(config["outputs"], config["snapshot"], "config.yaml")
    try:
        stored = read_configuration(file)
    except FileNotFoundError:
        raise UserError(
            f"snapshot={config['snapshot']}: there is no {file}. Start that run first, or name it by what it has "
            'otherwise than this one: snapshot="KEY:VALUE …"'
        ) from None
    of_command = {key: config[key] for key in OF_COMMAND if key in config}
    return _without_command(stored) | of_command, _words_of_command(stored)


def _typed_value(config: Mapping[str, Any], key: str, text: str, where: str) -> Any:
    """Parse a text as the value of a key of the configuration, as the command line would."""
    group, _, option = key.rpartition(".")
    schemas = option_schemas(group) if group in ("loss", "method", "model", "attack") else {}
    try:
        if not group and isinstance(config.get(key), Mapping):
            raise UserError(f"{where}: {key} is a group. {_BY_ID}")
        if key == "loss.name":
            raise UserError(f"{where}: with loss={text} a recipe may have other values of other keys. {_BY_ID}")
        own = schemas[config[group]["name"]] if schemas else Config
        chosen = schemas.get(text, own) if option == "name" else own
        if {f.name for f in fields(chosen)} != {f.name for f in fields(own)}:
            raise UserError(f"{where}: {group}={text} has other options. {_BY_ID}")
        typed = OmegaConf.structured(own)
        name = option if schemas else key
        OmegaConf.update(typed, name, yaml.safe_load(text))
        return to_plain(OmegaConf.select(typed, name))
    except (OmegaConfBaseException, yaml.YAMLError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{where}: {key}: {reason}") from None


def _as_word(value: Any) -> str:
    """Return a value as text for an override on the command line, quoted for Hydra."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return hydra_quoted(value)
    return f"[{','.join(_as_word(one) for one in value)}]" if isinstance(value, list) else str(value)


def _changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> Plain:
    """Return a copy of a configuration, without `command`, with changed values; keys have dots between the levels."""
    plain = copy.deepcopy(_without_command(config))
    for key, value in changes.items():
        *groups, name = key.split(".")
        inner = plain
        for group in groups:
            inner = inner[group]
        inner[name] = value
    return plain


def _without_command(config: Mapping[str, Any]) -> Plain:
    return {key: value for key, value in to_plain(config).items() if key != "command"}


def _without(overrides: Iterable[str], keys: Collection[str]) -> list[str]:
    """Return the overrides without those of these keys, or of keys in these groups."""
    return [override for override in overrides if not is_in(key_of(override), keys)]


def _words_of_command(config: Mapping[str, Any]) -> list[str]:
    """Return the overrides of a resolved configuration's canonical command."""
    words = shlex.split(config["command"]["canonical"]) if "command" in config else []
    return words[words.index("-m") + 2 :] if "-m" in words else []
