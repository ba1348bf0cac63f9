"""RetinaNet, from torchvision's residual networks and feature pyramid."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from src.detectors.anchors import ANCHORS_PER_CELL
from src.utils.errors import UserError

PRIOR = 0.01  # the probability of an object that all scores start from


class RetinaNet(nn.Module):
    """RetinaNet with levels P3 to P7 and two heads of four convolutions (Section 4.1.1).

    Args:
        classes: number of classes K.
        backbone: the name of a residual network in torchvision.
        weights: "imagenet", the path of a state dict of that network, or None for random weights. With weights, the
            first convolution, the first stage and all batch norms are frozen. Without, everything is trained, and the
            pyramid and the heads have group norms.
        channels: of the pyramid and the heads.

    Raises:
        UserError: the weights cannot be had, or do not fit the backbone.
    """

    def __init__(self, classes: int, backbone: str = "resnet50", weights: str | None = None, channels: int = 256):
        super().__init__()
        body = _build_backbone(backbone, weights)
        widths = [body.fc.in_features // 4, body.fc.in_features // 2, body.fc.in_features]
        self.body = IntermediateLayerGetter(body, {"layer2": "c3", "layer3": "c4", "layer4": "c5"})
        # From random weights, RetinaNet as published hardly begins to learn within hundreds of steps; what has no
        # normalisation of its own then gets one, as is usual for detectors trained from scratch.
        norm = None if weights else partial(nn.GroupNorm, 1 if channels % 8 else channels // 8)
        self.pyramid = FeaturePyramidNetwork(widths, channels, LastLevelP6P7(widths[-1], channels), norm)
        self.classification = _head(channels, classes, norm, 0.01, bias=-math.log((1 - PRIOR) / PRIOR))
        self.regression = _head(channels, 4, norm, 0.001, bias=0.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and box offsets of every anchor.

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 32.

        Returns:
            Logits [B, A, K] and offsets [B, A, 4], in the order of :func:`make_anchors`.
        """
        levels = list(self.pyramid(OrderedDict(self.body(images))).values())
        return _predict(self.classification, levels), _predict(self.regression, levels)


def _predict(head: nn.Module, levels: list[Tensor]) -> Tensor:
    outputs = []
    for level in levels:
        output = head(level)
        outputs.append(output.permute(0, 2, 3, 1).reshape(len(output), -1, output.shape[1] // ANCHORS_PER_CELL))
    return torch.cat(outputs, dim=1)


def _head(
    channels: int, outputs: int, norm: Callable[[int], nn.Module] | None, std: float, bias: float
) -> nn.Sequential:
    layers = []
    for _ in range(4):
        convolution = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(convolution.weight, std=0.01)
        nn.init.zeros_(convolution.bias)
        layers += [convolution, *([norm(channels)] if norm else []), nn.ReLU(inplace=True)]
    last = nn.Conv2d(channels, ANCHORS_PER_CELL * outputs, 3, padding=1)
    nn.init.normal_(last.weight, std=std)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(*layers, last)


def _build_backbone(name: str, weights: str | None) -> nn.Module:
    if weights is None:
        return get_model(name, weights=None)
    if weights == "imagenet":
        body = get_model(name, weights=get_model_weights(name).IMAGENET1K_V1, norm_layer=FrozenBatchNorm2d)
    else:
        body = get_model(name, weights=None, norm_layer=FrozenBatchNorm2d)
        if not Path(weights).is_file():
            raise UserError(f"model.weights={weights}: no such file; give imagenet, a state dict's path, or null")
        try:
            body.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            raise UserError(f"model.weights={weights} is not a state dict of torchvision's {name}: {error}") from error
    for part in (body.conv1, body.layer1):
        part.requires_grad_(False)
    return body
