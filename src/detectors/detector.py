"""The interface of a detector, as training, tests and inspection use it."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from src.config.registry import DETECTORS
from src.data.transforms import IMAGENET, Normalisation
from src.detectors.anchors import AnchorGrid, make_anchors
from src.detectors.backbones import Unread
from src.detectors.detections import Detections
from src.detectors.postprocess import ImageOutputs
from src.detectors.targets import Targets, assign_targets
from src.utils.errors import UserError
from src.utils.text import counted

# Of every detector in the configuration's `model`, and arguments of its `detect`.
DETECTION_OPTIONS = ("score_threshold", "nms_iou", "max_detections")


class AssignTargets(Protocol):
    """The rule that matches anchors with objects; see :func:`src.detectors.targets.assign_targets`."""

    def __call__(self, anchors: Tensor, boxes: list[Tensor], labels: list[Tensor], *, classes: int) -> Targets: ...


class Detect(Protocol):
    """The rule from outputs to detections, with its options; see :func:`src.detectors.postprocess.detect`."""

    def __call__(
        self, outputs: ImageOutputs, *, score_threshold: float = ..., nms_iou: float = ..., max_detections: int = ...
    ) -> Detections: ...


@dataclass(frozen=True)
class Detector:
    """A network, its anchors, and the rules from objects to targets and from outputs to detections.

    Attributes:
        build_network: from a number of outputs per anchor to a module from images [B, 3, H, W], with H and W multiples
            of 32, to logits [B, A, outputs] and box offsets [B, A, 4].
        grids: from the height and width of such images to the grids of their A anchors, in the order of the outputs.
        detect: from the outputs for an image to detections in pixels of the network's input; `build_detector` gives
            it the values of `DETECTION_OPTIONS`.
        assign_targets: from anchors and objects to targets.
        normalisation: of the network's input.
        size_option: the option that sets the anchors' sizes, with its value: "model.anchor_scale=4".
        scales_with_images: whether anchors grow with `dataset.train_size`.
        selects_boxes: whether the module takes a second argument, bool [B, A]: the anchors whose offsets are wanted.
    """

    build_network: Callable[[int], nn.Module]
    grids: Callable[[int, int], list[AnchorGrid]]
    detect: Detect
    assign_targets: AssignTargets = assign_targets
    normalisation: Normalisation = IMAGENET
    size_option: str = ""
    scales_with_images: bool = False
    selects_boxes: bool = False

    def anchors(self, height: int, width: int, device: torch.device | str = "cpu") -> list[Tensor]:
        """Return the anchors of images of this size on each level, see :func:`src.detectors.anchors.make_anchors`."""
        return make_anchors(self.grids(height, width), device)


def check_outputs(logits: Tensor, offsets: Tensor, *, images: int, anchors: int) -> None:
    """Raise a UserError unless a network returns logits [images, anchors, K] and box offsets [images, anchors, 4]."""
    if logits.shape[:-1] != (images, anchors) or offsets.shape != (images, anchors, 4):
        raise UserError(
            f"the detector's module returns logits {list(logits.shape)} and offsets {list(offsets.shape)} for "
            f"{counted(images, 'image')} whose grids have {anchors:,} anchors; they must be "
            f"[{images}, {anchors}, outputs] and [{images}, {anchors}, 4]"
        )


def build_detector(options: Mapping[str, Any], image_size: int, *, reads_weights: bool = True) -> Detector:
    """Build the detector that `model.name` chooses. Its network is built later, when the number of classes is known.

    Args:
        options: the configuration's `model`.
        image_size: side of the square training images in pixels.
        reads_weights: whether the network gets its pretrained weights, if it has any; else they need not be there, and
            those of a checkpoint must be loaded.
    """
    if not reads_weights and options.get("weights") is not None:
        options = {**options, "weights": Unread()}
    module, _, name = DETECTORS[options["name"]].builder.rpartition(".")
    detector: Detector = getattr(importlib.import_module(module), name)(options, image_size)
    return replace(detector, detect=partial(detector.detect, **{key: options[key] for key in DETECTION_OPTIONS}))
