"""RetinaNet, built from a backbone and torchvision's feature pyramid."""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from src.detectors.anchors import AnchorGrid
from src.detectors.backbones import Weights, build_backbone, normalisation_of
from src.detectors.detector import Detector
from src.detectors.head_at_anchors import head_at_anchors
from src.detectors.heads import PRIOR_BIAS, apply_head, convolution, group_norm
from src.detectors.postprocess import detect

STRIDES = (8, 16, 32, 64, 128)  # P3 to P7
SCALES = (1.0, math.sqrt(2.0))
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width
NETWORK_OPTIONS = ("backbone", "weights", "channels", "head_convolutions", "norms")  # of the configuration's `model`
ANCHORS_PER_CELL = len(SCALES) * len(ASPECT_RATIOS)


def build_retinanet(options: Mapping[str, Any], image_size: int) -> Detector:
    """Build RetinaNet from the options of conf/model/retinanet.yaml.

    Args:
        options: the configuration's `model`.
        image_size: side of the training images; not used, as the anchors do not depend on it.
    """
    network = partial(RetinaNet, **{name: options[name] for name in NETWORK_OPTIONS})
    return Detector(
        build_network=network,
        grids=partial(anchor_grids, scale=options["anchor_scale"]),
        detect=partial(detect, candidates_per_level=options["candidates_per_level"]),
        normalisation=normalisation_of(options["backbone"]),
        size_option=f"model.anchor_scale={options['anchor_scale']:g}",
        selects_boxes=True,
    )


def anchor_grids(height: int, width: int, scale: float = 4.0) -> list[AnchorGrid]:
    """Return the grids of anchors on each pyramid level (Section 4.1.1).

    At stride s, cells have s × s pixels, and each cell has six anchors at its centre: three aspect ratios with area
    (scale · s)², and three with twice that area. torchvision's generator rounds anchors to whole pixels and centres
    them on the cells' corners; these are exact and centred on the cells, as in the official recipe.

    Args:
        height: of the padded image in pixels.
        width: of the padded image in pixels.
        scale: side of the smaller square anchors in strides.
    """
    sides = torch.tensor([(scale * s / math.sqrt(r), scale * s * math.sqrt(r)) for s in SCALES for r in ASPECT_RATIOS])
    return [AnchorGrid(math.ceil(height / s), math.ceil(width / s), s, sides * s) for s in STRIDES]


class RetinaNet(nn.Module):
    """RetinaNet with levels P3 to P7 and two heads, by default with four convolutions before the last (Section 4.1.1).

    Args:
        classes: number of outputs per anchor K.
        backbone: its name, see :func:`build_backbone`.
        weights: "imagenet", the path of a state dict of that network, None for random weights, or `Unread`; see
            `build_backbone` for what is frozen.
        channels: of the pyramid and the heads.
        head_convolutions: in each head, before the last one.
        norms: whether the pyramid and the heads have group norms; None: where weights are random.

    Raises:
        UserError: the weights are not available, or do not fit the backbone.
    """

    def __init__(
        self,
        classes: int,
        backbone: str = "resnet50",
        weights: Weights = None,
        channels: int = 256,
        *,
        head_convolutions: int = 4,
        norms: bool | None = None,
    ) -> None:
        super().__init__()
        self.body, widths = build_backbone(backbone, weights)
        # From random weights, RetinaNet as published hardly begins to learn within hundreds of steps. Pyramid and heads
        # then get normalisation, as is usual for detectors trained from scratch.
        norm = group_norm if (weights is None if norms is None else norms) else None
        coarsest = LastLevelP6P7(widths[-1], channels)
        coarsest.use_P5 = False  # P6 from C5, as published, even if it has as many channels as P5
        self.pyramid = FeaturePyramidNetwork(widths, channels, coarsest, norm)
        self.classification = _head(channels, head_convolutions, classes, norm, std=0.01, bias=PRIOR_BIAS)
        self.regression = _head(channels, head_convolutions, 4, norm, std=0.001, bias=0.0)

    @property
    def backbone(self) -> nn.Module:
        """The layers whose learning rate `schedule.backbone_rate` sets."""
        return self.body

    def forward(self, images: Tensor, boxes_of: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits and box offsets of every anchor.

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 32.
            boxes_of: bool [B, A], the anchors whose offsets are wanted (others may be 0); None for all.

        Returns:
            Logits [B, A, K] and offsets [B, A, 4], in the order of :func:`anchor_grids`.
        """
        levels = list(self.pyramid(OrderedDict(self.body(images))).values())
        logits = apply_head(self.classification, levels, ANCHORS_PER_CELL)
        if boxes_of is not None:
            return logits, head_at_anchors(self.regression, levels, boxes_of)
        return logits, apply_head(self.regression, levels, ANCHORS_PER_CELL)


def _head(
    channels: int, convolutions: int, outputs: int, norm: Callable[[int], nn.Module] | None, *, std: float, bias: float
) -> nn.Sequential:
    """Build `convolutions` layers and a last one with `outputs` channels per anchor; `std` and `bias` initialise it."""
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers.append(convolution(channels, channels, std=0.01, bias=0.0))
        if norm:
            layers.append(norm(channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, convolution(channels, ANCHORS_PER_CELL * outputs, std=std, bias=bias))
