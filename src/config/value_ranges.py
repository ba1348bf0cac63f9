"""The values that a configuration's keys may have."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.utils.errors import UserError


@dataclass(frozen=True)
class Range:
    """Values that a key may have, and how a message describes them. NaN is in none."""

    words: str
    contains: Callable[[Any], bool]


def _are_scales(scales: Sequence[float]) -> bool:
    return len(scales) == 3 and 0 < scales[0] < scales[1] < scales[2] <= 1


POSITIVE = Range("greater than 0", lambda x: x > 0)
LARGEST = 3e38  # that float32 holds
POSITIVE_FINITE = Range(f"greater than 0 and at most {LARGEST:g}", lambda x: 0 < x <= LARGEST)
DELTA = Range("from 1e-100 to 1e+100", lambda x: 1e-100 <= x <= 1e100)  # as in src.losses
POSITIVE_OR_NULL = Range("null or greater than 0", lambda x: x is None or x > 0)
NOT_NEGATIVE = Range("at least 0", lambda x: x >= 0)
NOT_NEGATIVE_FINITE = Range(f"at least 0 and at most {LARGEST:g}", lambda x: 0 <= x <= LARGEST)
FRACTION = Range("from 0 to 1", lambda x: 0 <= x <= 1)
AT_LEAST_2 = Range("at least 2", lambda x: x >= 2)
# A larger square would need gigabytes for a single image.
TRAIN_SIZE = Range("a multiple of 32, from 32 to 8192", lambda x: 32 <= x <= 8192 and x % 32 == 0)
LONGEST_SIDE = Range("from 1 to 32768", lambda x: 1 <= x <= 32768)
# The gallery has four in a row of 240 pixels, and a JPEG file at most 65,500 pixels from top to bottom.
IMAGES_LOGGED = Range("from 0 to 1000", lambda x: 0 <= x <= 1000)
SCALES_OF_TESTS = Range(
    "null or a list of different sides in pixels, from 1 to 8192",
    lambda scales: (
        scales is None or (scales and len(set(scales)) == len(scales) and all(1 <= x <= 8192 for x in scales))
    ),
)
SEED = Range("from 0 to 2^63 − 1", lambda x: 0 <= x < 2**63)
DECAY_AT = Range("fractions of the training, between 0 and 1", lambda xs: all(0 < x <= 1 for x in xs))
CLASSES = Range(
    "null or a list of different names, none of them empty",
    lambda names: names is None or (names and all(name.strip() for name in names) and len(set(names)) == len(names)),
)
WANDB_PROJECT = Range(  # W&B requires this too, but only when a run starts
    "a name of at most 128 characters without / \\ # ? % :",
    lambda name: len(name.strip()) > 0 and len(name) <= 128 and not set(name) & set("/\\#?%:"),
)
OUTPUTS = Range(
    "the name of a folder, in full where the shell does not replace ~",
    lambda name: len(name.strip()) > 0 and not name.startswith("~"),
)

RANGES = {
    "batch_size": POSITIVE,
    "seed": SEED,
    "processes": POSITIVE,
    "workers": NOT_NEGATIVE,
    "checkpoint_minutes": POSITIVE,
    "images_logged": IMAGES_LOGGED,
    "proposals": Range("all, or a number greater than 0", lambda x: x == "all" or (isinstance(x, int) and x > 0)),
    "rpn_epochs": POSITIVE,
    "delta": DELTA,
    "method.epsilon": NOT_NEGATIVE_FINITE,
    "loss.negatives_per_positive": POSITIVE,
    "loss.alpha": FRACTION,
    "loss.gamma": NOT_NEGATIVE_FINITE,
    "schedule.epochs": POSITIVE,
    "schedule.steps": POSITIVE_OR_NULL,
    "schedule.evaluate_every": POSITIVE,
    "schedule.learning_rate": POSITIVE_FINITE,
    "schedule.backbone_rate": NOT_NEGATIVE_FINITE,
    "schedule.reference_batch_size": POSITIVE,
    "schedule.warmup_iterations": NOT_NEGATIVE,
    "schedule.warmup_divisor": Range("at least 1 and finite", lambda x: 1 <= x < math.inf),
    "schedule.decay_at": DECAY_AT,
    "schedule.momentum": Range("at least 0 and less than 1", lambda x: 0 <= x < 1),
    "schedule.weight_decay": NOT_NEGATIVE_FINITE,
    "schedule.box_loss_weight": NOT_NEGATIVE_FINITE,
    "schedule.clip_gradient": POSITIVE_OR_NULL,
    "dataset.train_size": TRAIN_SIZE,
    "dataset.test_longer_side": LONGEST_SIDE,
    "dataset.classes": CLASSES,
    "test.scales": SCALES_OF_TESTS,
    "model.channels": AT_LEAST_2,  # the group norm of one channel on a map of one pixel has a single value
    "model.head_convolutions": NOT_NEGATIVE,
    "model.anchor_scale": Range("greater than 0 and at most 1e+15", lambda x: 0 < x <= 1e15),  # areas are finite, too
    "model.score_threshold": FRACTION,
    "model.scales": Range("three growing fractions of the image's side, greater than 0 and at most 1", _are_scales),
    "model.candidates_per_level": POSITIVE,
    "model.candidates_per_class": POSITIVE,
    "model.nms_iou": FRACTION,
    "model.max_detections": POSITIVE,
    "attack.standard_deviation": NOT_NEGATIVE_FINITE,
    "attack.steps": NOT_NEGATIVE,
    "attack.learning_rate": POSITIVE_FINITE,
    "attack.side": POSITIVE,
    "attack.shift": NOT_NEGATIVE_FINITE,
    "attack.scale": Range("at least 0 and less than 1", lambda x: 0 <= x < 1),
    "attack.rotation": NOT_NEGATIVE_FINITE,
    "attack.brightness": FRACTION,
    "attack.images": POSITIVE_OR_NULL,
    "attack.iterations": POSITIVE,
    "attack.overshoot": NOT_NEGATIVE_FINITE,
    "wandb.project": WANDB_PROJECT,
    "outputs": OUTPUTS,
}


def check_ranges(values: Mapping[str, Any]) -> None:
    """Raise a UserError that names the first key whose value is not in its range.

    Args:
        values: by key, with dots between the levels; keys that are not here are not checked.
    """
    for key, allowed in RANGES.items():
        if key in values and (_is_nested(values[key]) or not allowed.contains(values[key])):
            raise UserError(f"{key}={values[key]} must be {allowed.words}")


def _is_nested(value: Any) -> bool:
    """Return whether a value is a list of lists or mappings, which Hydra takes for a list of numbers or texts too."""
    return isinstance(value, list) and any(isinstance(item, list | dict) for item in value)
