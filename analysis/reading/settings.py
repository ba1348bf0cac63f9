"""Which runs belong together: those that differ in nothing but the knobs that the paper's ablations turn."""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from analysis.reading.runs import Run, flatten
from src.config.identity import identity, keys_not_in_identity
from src.config.registry import used_options
from src.launch.hydra_setup import register
from src.utils import paths

LOSSES = {"ohem": "CE-loss + OHEM", "focal": "Focal loss", "auc": "AUC-loss", "ap": "AP-loss"}
METHODS = {
    "error_driven": "error-driven update",
    "structured_hinge": "structured hinge",
    "approximate_gradient": "approximate gradient",
}
# The knobs of the paper's experiments at their usual values; `None` is none at all.
STANDARD = {
    "loss": "ap",
    "method": "error_driven",
    "step": "piecewise",
    "delta": 1.0,
    "interpolated": True,
    "batch_size": 8,
    "box_loss": True,
    "attack": None,
    "proposals": None,
    "snapshot": False,
}
OF_THE_LOSS = {"method", "step", "delta", "interpolated"}
OF_A_DETECTOR = {"loss.name", "batch_size", "seed"}  # keys that the configuration of a detector's training has
# Settings that are the same in spite of these keys.
OWN_KEYS = ("loss.", "method.", "attack.", "environment.", "data.", "wandb.", "_")
NEUTRAL = {"ranking": "global", "precision": "fp32"}  # of keys that older logs do not name


def knobs_of(config: dict[str, Any]) -> dict[str, Any]:
    """The knobs of STANDARD that a run's loss uses, as its configuration has them."""
    return _used(
        {
            "loss": config["loss.name"],
            "method": config.get("method.name", "error_driven"),
            "step": config.get("step", "piecewise"),
            "delta": float(config.get("delta", 1.0)),
            "interpolated": config.get("interpolated", True),
            "batch_size": int(config["batch_size"]),
            "box_loss": config.get("schedule.box_loss_weight") != 0,
            "attack": config.get("attack.name"),
            "proposals": config.get("proposals"),
            "snapshot": config.get("snapshot") is not None,
        }
    )


def _used(values: dict[str, Any]) -> dict[str, Any]:
    """Of all knobs those that count with the loss and the method that they choose."""
    nested = {"loss": {"name": values["loss"]}, "method": {"name": values["method"]}, "step": values["step"]}
    used = used_options(nested) if values["loss"] in LOSSES else []
    return {key: value for key, value in values.items() if key in used or key not in OF_THE_LOSS}


@dataclass(frozen=True)
class Setting:
    """Runs that differ in knobs and seeds alone."""

    overrides: str  # what a command line says to come to it: "recipe=mini schedule.epochs=3"
    config: dict[str, Any]  # of one of its runs
    runs: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        return sorted({run.config["seed"] for run in self.runs})

    def at(self, **changes: Any) -> list[Run]:
        """The runs whose knobs are STANDARD but for these changes, in the order of their seeds."""
        wanted = _used(STANDARD | changes)
        return sorted((run for run in self.runs if knobs_of(run.config) == wanted), key=lambda run: run.config["seed"])

    def command(self, sweep: str, seeds: Iterable[int] = ()) -> str:
        """The command that makes the runs of a file of sweeps/ in this setting; what is there is not made again."""
        words = ["python -m src.run -m", f"sweeps={sweep}", self.overrides]
        listed = ",".join(map(str, sorted(seeds)))
        return " ".join([*words, f"seed={listed}"] if listed else words)

    @property
    def detector(self) -> str:
        """ "retinanet" or "ssd"."""
        return self.config.get("model.name", "retinanet")

    @property
    def data(self) -> str:
        """The name of its data set."""
        return self.config.get("dataset.name", "")


def settings(runs: Iterable[Run]) -> list[Setting]:
    """The settings that these runs have, that with most runs first; what trained no detector is left out."""
    groups: dict[Any, Setting] = {}
    for run in runs:
        if run.config.keys() >= OF_A_DETECTOR and run.config["loss.name"] in (*LOSSES, "none"):
            fixed, words = _fixed(run.config)
            groups.setdefault(_hashable(fixed), Setting(" ".join(words), run.config)).runs.append(run)
    same = [setting.overrides for setting in groups.values()]
    named = [
        Setting(f"{s.overrides} # data {s.config.get('data.fingerprint')}", s.config, s.runs)
        if same.count(s.overrides) > 1
        else s
        for s in groups.values()
    ]
    return sorted(named, key=lambda setting: (-len(setting.runs), setting.overrides))


def _hashable(value: Any) -> Any:
    """The same for what is equal: a server gives 1 for 1.0, and keys in any order."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(found)) for key, found in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def command_of(run: Run) -> str:
    """The command that makes this run; empty for one that is none of this project's."""
    config = run.config
    if "problem.name" in config:
        own = [key for key in config if key.startswith(("problem.", "method.")) or key == "steps"]
        return " ".join(["python -m src.linear", *(f"{key}={_word(config[key])}" for key in own)])
    if not config.keys() >= OF_A_DETECTOR:
        return ""
    _, words = _fixed(config)
    at, standard = knobs_of(config), STANDARD
    for key, value in at.items():
        if value != standard[key]:
            name = {"box_loss": "schedule.box_loss_weight", "snapshot": "snapshot"}.get(key, key)
            words.append(f"{name}={_word({'box_loss': 0, 'snapshot': config.get('snapshot')}.get(key, value))}")
    return " ".join(["python -m src.run", *words, f"seed={config['seed']}"])


def _fixed(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What all runs of one setting have in common, and the words of a command line that say so."""
    unimportant = keys_not_in_identity() | (STANDARD.keys() - {"loss", "method", "attack"}) | {"seed", "run_id"}
    own = NEUTRAL | {k: v for k, v in config.items() if k not in unimportant and not k.startswith(OWN_KEYS)}
    bases, of_loss = _base(config.get("recipe", "mini"), config.get("dataset.root"), config.get("model.name"))
    base, of_recipe = bases.get("ap", {}), bases.get(config["loss.name"], {})
    if own.get("schedule.box_loss_weight") == 0 and base:
        own["schedule.box_loss_weight"] = base.get("schedule.box_loss_weight")
    options = of_loss.get(config["loss.name"], {}) | of_loss.get(config.get("method.name"), {})
    own |= {key: config[key] for key, value in options.items() if config.get(key, value) != value}
    known = NEUTRAL | of_recipe
    given = sorted(key for key, value in own.items() if known.get(key, None if of_recipe else value) != value)
    # What the recipe has for this loss is no other setting than what it has for AP-loss.
    own |= {key: base[key] for key in own if key in base and key not in given}
    words = [f"recipe={config.get('recipe', 'mini')}"]
    if config.get("dataset.format") not in (None, "shapes"):
        words.append(f"dataset.root={_word(config.get('dataset.root'))}")
    if config.get("model.name", "retinanet") != "retinanet":
        words.append(f"model={config['model.name']}")
    words += [f"{key}={_word(own[key])}" for key in given if key != "model.name"]
    return own | {"given": given, "data.fingerprint": config.get("data.fingerprint")}, words


@functools.cache
def _base(
    recipe: str, root: str | None, model: str | None
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """A recipe as conf/ has it with each loss, and what the files of its losses and methods say.

    The former is empty if the recipe cannot be composed.
    """
    register()
    GlobalHydra.instance().clear()
    words = [f"recipe={recipe}"]
    words += [f"dataset.root={_word(root)}"] if root and recipe != "mini" else []
    words += [f"model={model}"] if model not in (None, "retinanet") else []
    try:
        with initialize_config_dir(str(paths.ROOT / "conf"), version_base="1.3"):
            composed = compose("config", words)
        bases = {}
        for composed.loss.name in LOSSES:
            bases[composed.loss.name] = flatten(identity(composed))
    except (HydraException, OmegaConfBaseException):
        bases = {}
    options = {}
    for file in (*paths.ROOT.glob("conf/loss/*.yaml"), *paths.ROOT.glob("conf/method/*.yaml")):
        content = OmegaConf.to_container(OmegaConf.load(file))
        options[file.stem] = {
            f"{file.parent.name}.{key}": value for key, value in content.items() if key not in ("name", "defaults")
        }
    return bases, options


def _word(value: Any) -> str:
    """A value as a command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_word, value))}]"
    text = str(value)
    return f"'{text}'" if set(text) & set(" ,'\"{}[]()$") else text


def points(sweep: str) -> list[dict[str, Any]]:
    """The knobs of each run that a file of sweeps/ names, without its seeds."""
    sweeper = yaml.safe_load((paths.ROOT / f"sweeps/{sweep}.yaml").read_text())["hydra"]["sweeper"]
    found = []
    for entry in sweeper.get("runs") or [{}]:
        values = {key: _values(value) for key, value in (sweeper.get("params", {}) | entry).items()}
        for combination in itertools.product(*values.values()):
            changes = dict(zip(values, combination, strict=True))
            changes |= {"delta": float(changes["delta"])} if "delta" in changes else {}
            if "schedule.box_loss_weight" in changes:
                changes["box_loss"] = changes.pop("schedule.box_loss_weight") != 0
            if (point := _used(STANDARD | changes)) not in found:
                found.append(point)
    return found


def _values(value: Any) -> list[Any]:
    return [yaml.safe_load(part) for part in value.split(",")] if isinstance(value, str) else [value]
