"""The losses, methods that optimise AP-loss, detectors, and attacks on test images that a configuration can choose.

The schema, run ids, the experiment and the analysis all read them here. A new loss is an entry here, a function in
`src/losses`, and a file `conf/loss/NAME.yaml` with its options; a new detector is an entry, a file in `src/detectors`,
and `conf/model/NAME.yaml`; a new attack is an entry, a file in `src/robustness`, and `conf/attack/NAME.yaml`. Free of
torch, so that composing a configuration takes no longer than it must.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS = ("piecewise", "heaviside", "sigmoid")  # those of src.losses.STEPS
# Of RetinaNet: the keys of src.detectors.backbones.BUILDERS.
BACKBONES = ("resnet10_half", "resnet18", "resnet50", "resnet101", "mobilenet_v3_large", "efficientnet_lite0")


@dataclass(frozen=True)
class Objective:
    """A function of `src.losses`, and which keys of the configuration are its arguments."""

    function: str
    options: tuple[str, ...] = ()  # of the top level: step, delta, interpolated
    own_options: Mapping[str, type] = field(default_factory=dict)  # of its own file in conf/, by name


@dataclass(frozen=True)
class Method:
    """A way to optimise AP-loss, chosen by `method`."""

    title: str  # in tables and figures
    objective: Objective


@dataclass(frozen=True)
class Loss:
    """A classification or ranking loss, chosen by `loss`."""

    title: str  # in tables and figures
    objective: Objective | None  # None: that of the chosen method
    ranks: bool = False  # whether anchors are ranked against each other, so that `ranking` matters
    background_output: bool = False  # whether the detector needs K + 1 outputs, the first for the background
    logs_ap_loss: bool = False  # whether the true AP-loss of training batches is logged
    trains: bool = True  # False: a zero gradient is backpropagated, to measure the cost of the network alone


@dataclass(frozen=True)
class DetectorEntry:
    """A detector, chosen by `model`."""

    title: str  # in tables and figures
    builder: str  # module and function: function(options, image_size) -> src.detectors.detector.Detector
    # Options of its file in conf/ besides those of every detector: name to type, or to a tuple of the allowed names.
    own_options: Mapping[str, Any] = field(default_factory=dict)
    identity_defaults: Mapping[str, Any] = field(default_factory=dict)  # of options added later: old ids stay valid
    # Stride of the last map with a batch norm that is trained if `model.weights` is null; 0 if there is none.
    batch_norm_stride: int = 0


@dataclass(frozen=True)
class AttackEntry:
    """A perturbation of test images by which a finished detector is tested, chosen by `attack`."""

    title: str  # in tables and figures
    # Module and function: function(image, boxes, generator, **own_options) -> image; see src/robustness/perturbed.py.
    # None if the attack does not test on images perturbed in advance.
    perturbation: str | None = None
    own_options: Mapping[str, Any] = field(default_factory=dict)  # of its file in conf/, as those of a detector


METHODS = {
    "error_driven": Method("error-driven update", Objective("ap_loss", ("step", "delta", "interpolated"))),
    "structured_hinge": Method("structured hinge", Objective("ap_structured_hinge_loss")),
    "approximate_gradient": Method(
        "approximate gradient", Objective("ap_approximate_gradient_loss", ("delta",), {"epsilon": float})
    ),
}
# In the order of the paper's tables.
LOSSES = {
    "ohem": Loss(
        "CE-loss + OHEM", Objective("ohem_loss", own_options={"negatives_per_positive": int}), background_output=True
    ),
    "focal": Loss("Focal loss", Objective("focal_loss", own_options={"alpha": float, "gamma": float})),
    "auc": Loss("AUC-loss", Objective("auc_loss", ("step", "delta")), ranks=True),
    "ap": Loss("AP-loss", objective=None, ranks=True, logs_ap_loss=True),
    "none": Loss("no loss", Objective("no_loss"), trains=False),
}
DETECTORS = {
    "retinanet": DetectorEntry(
        "RetinaNet",
        "src.detectors.retinanet.build_retinanet",
        {
            "backbone": BACKBONES,
            "weights": str | None,
            "channels": int,
            "head_convolutions": int,
            "norms": bool | None,
            "anchor_scale": float,
            "candidates_per_level": int,
        },
        identity_defaults={"candidates_per_level": 1000, "norms": None, "head_convolutions": 4},
        batch_norm_stride=32,
    ),
    "ssd": DetectorEntry(
        "SSD",
        "src.detectors.ssd.build_ssd",
        {
            "weights": str | None,
            "normalisation": ("imagenet", "caffe"),
            "channels": int,
            "scales": list[float],
            "candidates_per_class": int,
        },
        batch_norm_stride=16,
    ),
}

_OF_MAKING = {
    **{"size": ("quarter", "half"), "steps": int, "learning_rate": float, "side": int},
    **{"shift": float, "scale": float, "rotation": float, "brightness": float},
}
_OF_PATCHES = {"size": ("quarter", "half"), "place": ("centre", "inside"), "difficult": bool}
# In the order of the paper's Table 3.
ATTACKS = {
    "none": AttackEntry("Original"),
    "black_patch": AttackEntry("Black Patch", "src.robustness.patches.black_patch", _OF_PATCHES),
    "random_patch": AttackEntry("Random Patch", "src.robustness.patches.random_patch", _OF_PATCHES),
    "flip_patch": AttackEntry("Flip Patch", "src.robustness.patches.flip_patch", _OF_PATCHES),
    "adversarial_patch": AttackEntry(
        "Adversarial Patch",
        "src.robustness.adversarial_patch.adversarial_patch",
        _OF_PATCHES | _OF_MAKING | {"against": ("other", "itself")},
    ),
    "gaussian_noise": AttackEntry(
        "Gaussian Noise", "src.robustness.gaussian_noise.gaussian_noise", {"standard_deviation": float}
    ),
    "deepfool": AttackEntry("DeepFool", own_options={"images": int | None, "iterations": int, "overshoot": float}),
    # No column of Table 3: the run that makes the adversarial patch.
    "patch_making": AttackEntry("Making of a patch", own_options=_OF_MAKING),
}

LOSS_OPTIONS = ("method", "step", "delta", "interpolated", "ranking")  # top-level keys that only some losses use


def objective_of(loss: str, method: str) -> Objective:
    """Return the function that a loss and a method choose, with its arguments' names."""
    return LOSSES[loss].objective or METHODS[method].objective


def used_options(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of :data:`LOSS_OPTIONS` that the chosen loss uses.

    Args:
        config: a resolved configuration, or a plain mapping with its keys `loss.name`, `method.name` and `step`.
    """
    loss, method = config["loss"]["name"], config["method"]["name"]
    used = {*objective_of(loss, method).options}
    if LOSSES[loss].objective is None:
        used.add("method")
    if LOSSES[loss].ranks:
        used.add("ranking")
    if "step" in used and config["step"] == "heaviside":
        used.discard("delta")
    return [option for option in LOSS_OPTIONS if option in used]


def unused_options(config: Mapping[str, Any]) -> set[str]:
    """Return the top-level keys that the chosen loss, and a run without an RPN's proposals, do not use.

    Args:
        config: see :func:`used_options`, with the key `proposals` too.
    """
    return {*LOSS_OPTIONS} - {*used_options(config)} | ({"rpn_epochs"} if config["proposals"] == "all" else set())


def loss_call(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name in `src.losses` of the chosen function, and its keyword arguments.

    Args:
        config: a resolved configuration.
    """
    used = used_options(config)
    objective = objective_of(config["loss"]["name"], config["method"]["name"])
    group = config["method"] if "method" in used else config["loss"]
    arguments = {option: config[option] for option in used if option in objective.options}
    return objective.function, arguments | {option: group[option] for option in objective.own_options}
