"""Turn a composed configuration into the plain, checked one that the rest of the project uses."""

import copy
import functools
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from src.config.command import canonical_words, command_line, is_in, refuse_rewritten
from src.config.identity import keys_not_in_identity, run_id
from src.config.needs import RUN_ID, needed_runs, snapshot_changes
from src.config.plain import flatten, to_plain
from src.config.registry import ATTACKS, DETECTORS, LOSS_OPTIONS, LOSSES, METHODS, unused_options, used_options
from src.config.value_ranges import check_ranges
from src.utils import paths
from src.utils.errors import UserError
from src.utils.text import is_text

# These do not affect results by themselves, but a command needs to say where the data are and what sets other keys.
KEPT_IN_COMMANDS = {"recipe", "dataset.root", "dataset.format", "model.small"}
# Keys with a name, what it is of, and the known names.
CHOICES: tuple[tuple[str, str, Collection[str]], ...] = (
    ("loss", "loss", LOSSES),
    ("method", "method", METHODS),
    ("model", "detector", DETECTORS),
    ("attack", "attack", ATTACKS),
)


def resolve(config: Mapping[str, Any], overrides: Iterable[str] = (), typed: str = "") -> DictConfig:
    """Return the configuration with every reference resolved and every choice a plain string.

    It also holds `command`, how the run is made, and `by_loss`, the values that its recipe has for each loss. Resolving
    a resolved configuration checks it and changes nothing.

    Args:
        config: composed, or as :func:`plain_config` returns it.
        overrides: those that the configuration was composed from.
        typed: the command line as it was typed.

    Raises:
        UserError: a key, which the message names, has no value or an impossible one.
    """
    return DictConfig(check(plain_config(config) if isinstance(config, DictConfig) else config, overrides, typed))


def plain_config(config: DictConfig) -> dict[str, Any]:
    """Return a composed configuration with its references resolved, and `by_loss`; its values are not checked.

    Raises:
        UserError: a reference is to a key without a value.
    """
    try:
        plain = to_plain(config)
    except InterpolationToMissingValueError:
        raise UserError(_no_value(OmegaConf.missing_keys(config))) from None
    plain.setdefault("by_loss", _values_by_loss(config))
    return plain


def check(plain: Mapping[str, Any], overrides: Iterable[str] = (), typed: str = "") -> dict[str, Any]:
    """Return a plain configuration with `command`; arguments and errors are those of :func:`resolve`."""
    overrides = list(overrides)
    refuse_rewritten(plain, overrides)
    check_values(plain)
    _check_needed(plain, overrides, typed)
    command = {"canonical": _canonical_command(plain, overrides), "typed": typed}
    return {**plain, "command": plain.get("command", command)}


def _no_value(keys: Iterable[str]) -> str:
    return f"no value given for {', '.join(sorted(keys))}: add KEY=VALUE to the command line"


def check_values(config: Mapping[str, Any]) -> None:
    """Raise a UserError that names a key without a value or with an impossible one; needed runs are not checked.

    Args:
        config: plain.
    """
    values = flatten(config)
    missing = [key for key, value in values.items() if MISSING in (value if isinstance(value, list) else [value])]
    if missing:
        raise UserError(_no_value(missing))
    for key, kind, known in CHOICES:
        if (name := config[key]["name"]) not in known:
            raise UserError(f"{key}.name={name}: no such {kind}; there are {', '.join(known)}")
    _check_texts({key: value for key, value in values.items() if not key.startswith("command.")})
    unused = set(LOSS_OPTIONS) - set(used_options(config))
    check_ranges({key: value for key, value in values.items() if key.partition(".")[0] not in unused})
    if config["batch_size"] % config["processes"]:
        raise UserError(f"batch_size={config['batch_size']} must be a multiple of processes={config['processes']}")
    if config["compile"] and config["processes"] > 1:
        raise UserError(f"compile=true is for one process, not processes={config['processes']}: leave one of them out")
    shorter, longer = config["dataset"]["test_shorter_side"], config["dataset"]["test_longer_side"]
    if shorter is not None and not 0 < shorter <= longer:
        raise UserError(
            f"dataset.test_shorter_side={shorter} must be null, or greater than 0 and at most "
            f"dataset.test_longer_side={longer}"
        )
    if config["attack"]["name"] == "deepfool" and (config["test"]["scales"] is not None or config["test"]["mirror"]):
        raise UserError(
            "attack=deepfool changes images at one scale: leave out test.scales and test.mirror, as its threshold "
            "is chosen by the detections of the same test"
        )
    check_batch_norm(config, config["batch_size"])
    model = config["model"]
    has_random_weights = "weights" in model and model["weights"] is None and config["snapshot"] is None
    if has_random_weights and config["schedule"]["backbone_rate"] == 0:
        raise UserError(
            "schedule.backbone_rate=0 would keep the random weights of model.weights=null: add "
            "schedule.backbone_rate=1, or start from trained weights with model.weights or snapshot"
        )


def _check_texts(values: Mapping[str, Any]) -> None:
    """Raise a UserError that names the first key with a text that a configuration or a log cannot keep as it is."""
    for key in sorted(values, key=lambda key: key != "dataset.root"):  # first, as dataset.name is usually a part of it
        value = values[key]
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            if "${" in text:  # it was escaped, as \${, but would be replaced wherever it is read from now on
                raise UserError(f"{key}={text}: ${{ begins a reference to a key; give a name without it, or a link")
            if not is_text(text):
                shown = os.fsencode(text).decode("utf-8", "backslashreplace")
                raise UserError(f"{key}={shown}: this is not UTF-8; give another name, or a link")


def _check_needed(plain: Mapping[str, Any], overrides: list[str], typed: str) -> None:
    """Raise a UserError if a needed run is impossible, or not the one that was meant."""
    for needed in needed_runs(plain, overrides):
        if needed.key == "snapshot":
            _check_snapshot(plain, needed.config)
        try:
            check(needed.config, needed.overrides, typed)
        except UserError as error:
            if needed.key != "snapshot":
                raise
            raise UserError(
                f'in the run of snapshot="{plain["snapshot"]}": {error}. KEY:VALUE in snapshot changes that run alone'
            ) from None


def _check_snapshot(plain: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise a UserError unless `snapshot` names another run, which has weights.

    Args:
        config: the configuration that it is found to name.
    """
    text, named = plain["snapshot"], run_id(config)
    refuse_attack(config, f"snapshot={text}")
    if RUN_ID.fullmatch(text):
        if named != text:
            raise UserError(f"{plain['outputs']}/{text}/config.yaml is not of run {text}, but of {named}")
        return
    for key in snapshot_changes(plain):
        if is_in(key, keys_not_in_identity()):
            raise UserError(f'snapshot="{text}": {key} changes no number of a run; leave it out')
    if named == run_id({**plain, "attack": {"name": "none"}, "snapshot": None}):
        raise UserError(f'snapshot="{text}" is this run itself without a snapshot; name what is different')


def refuse_attack(config: Mapping[str, Any], where: str) -> None:
    """Raise a UserError that names the run of the attacked detector, if a configuration is that of an attack.

    Args:
        config: of a run whose weights are wanted.
        where: what names that run.
    """
    if config["attack"]["name"] != "none":
        detector = run_id({**config, "attack": {"name": "none"}})
        raise UserError(
            f"{where} is a run of attack={config['attack']['name']}, which trains no weights; give the run of the "
            f"attacked detector, {detector}"
        )


def check_batch_norm(config: Mapping[str, Any], images: int) -> None:
    """Raise a UserError if a batch of this many training images gives a batch norm a single value per channel.

    Pretrained backbones have frozen batch norms, which compute no statistics.

    Args:
        config: a resolved configuration.
        images: of a batch, those of all processes together.
    """
    size, model = config["dataset"]["train_size"], config["model"]
    one_pixel = size <= DETECTORS[model["name"]].batch_norm_stride
    if images == 1 and one_pixel and model.get("weights") is None:
        raise UserError(
            f"dataset.train_size={size} with one image in a batch: the last map is a single pixel, and a batch norm "
            "trained from random weights (model.weights=null) needs two values. Raise dataset.train_size, or "
            f"batch_size={config['batch_size']} if there are more training images than one"
        )


def _canonical_command(plain: Mapping[str, Any], overrides: Iterable[str]) -> str:
    """Return the command that makes exactly this run, without words that do not affect its results."""
    unused = unused_options(plain)
    left_out = (keys_not_in_identity() - KEPT_IN_COMMANDS) | unused | {"sweeps", "slurm", "hydra"}
    recipe_fixes_processes = _processes_of_recipe(plain["recipe"]) is not None
    if recipe_fixes_processes:  # it refuses any other number of them
        left_out.discard("processes")
    words = canonical_words(overrides, left_out)
    if not any(word.startswith("recipe=") for word in words):
        words.insert(0, f"recipe={plain['recipe']}")
    rank_apart = "ranking" not in unused and plain["ranking"] == "per_process"
    return command_line("src.run", words, processes=plain["processes"] if rank_apart or recipe_fixes_processes else 1)


@functools.cache
def _processes_of_recipe(name: str) -> int | None:
    """Return the number of processes that a recipe prescribes; None if it prescribes none."""
    file = paths.CONF / "recipe" / f"{name}.yaml"
    return OmegaConf.select(OmegaConf.load(file), "processes") if file.is_file() else None


# By key, text and detector; cached, as evaluating is slow.
_evaluated: dict[tuple[str, str, str], dict[str, Any]] = {}


def _values_by_loss(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Return the keys whose values the recipe gives by loss, each with the value for every loss."""
    raw = flatten(to_plain(config, resolve=False))
    tables = {}
    for key, text in raw.items():
        if isinstance(text, str) and "${by_loss:" in text:
            place = key, text, config.model.name
            refers_to_others = text.count("${") > text.count("${by_loss:") + text.count("${by_model:")
            if refers_to_others or place not in _evaluated:
                _evaluated[place] = _evaluate_by_loss(copy.deepcopy(config), key)
            tables[key] = dict(_evaluated[place])
    return tables


def _evaluate_by_loss(config: DictConfig, key: str) -> dict[str, Any]:
    values = {}
    for loss in (name for name, entry in LOSSES.items() if entry.trains):
        config.loss.name = loss
        values[loss] = OmegaConf.select(config, key)
    return values
