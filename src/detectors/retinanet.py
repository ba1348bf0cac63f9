"""RetinaNet, from a backbone and torchvision's feature pyramid."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from src.detectors.anchors import ANCHORS_PER_CELL
from src.detectors.backbones import build_backbone

PRIOR = 0.01  # the initial score of every (anchor, class)


class RetinaNet(nn.Module):
    """RetinaNet with levels P3 to P7 and two heads of four convolutions (Section 4.1.1).

    Args:
        classes: number of outputs per anchor K.
        backbone: the name of a residual network in torchvision.
        weights: "imagenet", the path of a state dict of that network, or None for random weights; see
            `build_backbone` for what is frozen. With None, the pyramid and the heads have group norms.
        channels: of the pyramid and the heads.

    Raises:
        UserError: the weights are not available, or do not fit the backbone.
    """

    def __init__(
        self, classes: int, backbone: str = "resnet50", weights: str | None = None, channels: int = 256
    ) -> None:
        super().__init__()
        self.body, widths = build_backbone(backbone, weights)
        # From random weights, RetinaNet as published hardly begins to learn within hundreds of steps. Pyramid and heads
        # then get normalisation, as is usual for detectors trained from scratch.
        norm = None if weights else partial(nn.GroupNorm, 1 if channels % 8 else channels // 8)
        self.pyramid = FeaturePyramidNetwork(widths, channels, LastLevelP6P7(widths[-1], channels), norm)
        self.classification = _head(channels, classes, norm, std=0.01, bias=-math.log((1 - PRIOR) / PRIOR))
        self.regression = _head(channels, 4, norm, std=0.001, bias=0.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and box offsets of every anchor.

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 32.

        Returns:
            Logits [B, A, K] and offsets [B, A, 4], in the order of `make_anchors`.
        """
        levels = list(self.pyramid(OrderedDict(self.body(images))).values())
        return _apply_head(self.classification, levels), _apply_head(self.regression, levels)


def _apply_head(head: nn.Module, levels: list[Tensor]) -> Tensor:
    """Return the outputs of a head for all anchors of all levels, [B, A, outputs]."""
    outputs = []
    for level in levels:
        output = head(level)
        outputs.append(output.permute(0, 2, 3, 1).reshape(len(output), -1, output.shape[1] // ANCHORS_PER_CELL))
    return torch.cat(outputs, dim=1)


def _head(
    channels: int, outputs: int, norm: Callable[[int], nn.Module] | None, *, std: float, bias: float
) -> nn.Sequential:
    """Build four convolutions and a last one with `outputs` channels per anchor, of the given initialisation."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers.append(_convolution(channels, channels, std=0.01, bias=0.0))
        if norm:
            layers.append(norm(channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, _convolution(channels, ANCHORS_PER_CELL * outputs, std=std, bias=bias))


def _convolution(channels: int, outputs: int, *, std: float, bias: float) -> nn.Conv2d:
    """Build a 3 × 3 convolution of normally distributed weights and a constant bias."""
    convolution = nn.Conv2d(channels, outputs, 3, padding=1)
    nn.init.normal_(convolution.weight, std=std)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, bias)
    return convolution
