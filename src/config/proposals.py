"""The run that trains the region proposal network of a run with proposals. Free of torch."""

from collections.abc import Iterable, Mapping
from typing import Any

ALL = "all"
# The word of every option of a run with proposals on which its RPN does not depend. Runs on the same images with the
# same detector and batch size have the same RPN.
_LEFT_OUT = (
    *("loss", "method", "step", "delta", "interpolated", "ranking", "seed", "proposals", "rpn_epochs", "test"),
    *("snapshot", "attack", "schedule.epochs", "schedule.steps", "schedule.box_loss_weight"),
)


def has_proposals(config: Mapping[str, Any]) -> bool:
    """Return whether only an RPN's proposals are ranked, and so an RPN is needed."""
    return config["proposals"] != ALL


def rpn_run(config: Mapping[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration of the run that trains the RPN of a run, and the overrides that make it.

    That is the same detector, trained for `rpn_epochs` by focal loss with all objects as one class and without the loss
    of boxes, at the recipe's learning rate for focal loss where it has one.

    Args:
        config: plain, of a run with proposals.
        overrides: that make that run.
    """
    epochs = config["rpn_epochs"]
    schedule = dict(config["schedule"]) | {"epochs": epochs, "steps": None, "box_loss_weight": 0.0}
    rates = config.get("by_loss", {}).get("schedule.learning_rate")
    if rates is not None:
        schedule["learning_rate"] = rates["focal"]
    changes = {
        "loss": {"name": "focal", "alpha": 0.25, "gamma": 2.0},
        "method": {"name": "error_driven"},
        "ranking": "global",
        "seed": 0,
        "proposals": ALL,
        "dataset": dict(config["dataset"]) | {"classes_as_one": True},
        "schedule": schedule,
        "test": {"scales": None, "mirror": False},
        "snapshot": None,
        "attack": {"name": "none"},
    }
    plain = {key: changes.get(key, value) for key, value in config.items() if key != "command"}
    words = [word for word in overrides if not _is_left_out(word)]
    words += ["loss=focal", "loss.gamma=2.0", "seed=0", "dataset.classes_as_one=true"]
    return plain, [*words, f"schedule.epochs={epochs}", "schedule.box_loss_weight=0"]


def _is_left_out(word: str) -> bool:
    name = word.partition("=")[0].lstrip("+~")
    return any(f"{name}.".startswith(f"{key}.") for key in _LEFT_OUT)
