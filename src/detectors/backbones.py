"""Backbones: torchvision's residual networks, with random or pretrained weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import ResNet, WeightsEnum, get_model, get_model_weights
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from src.utils.errors import UserError


def build_backbone(name: str, weights: str | None) -> tuple[nn.Module, list[int]]:
    """Build a residual network without its classifier.

    With weights, the first convolution, the first stage and all batch norms are frozen. Without, everything is trained.

    Args:
        name: of the network in torchvision.
        weights: "imagenet", the path of a state dict of that network, or None for random weights.

    Returns:
        A module from images [B, 3, H, W] to an ordered dict of the maps "c3", "c4" and "c5" at strides 8, 16 and 32,
        and the number of channels of each map.

    Raises:
        UserError: the weights are not available, or do not fit the network.
    """
    network = _build_network(name, weights)
    if weights is not None:
        for part in (network.conv1, network.layer1):
            part.requires_grad_(False)
    channels = network.fc.in_features
    layers = IntermediateLayerGetter(network, {"layer2": "c3", "layer3": "c4", "layer4": "c5"})
    return layers, [channels // 4, channels // 2, channels]


def _build_network(name: str, weights: str | None) -> ResNet:
    if weights is None:
        return get_model(name, weights=None)
    network = get_model(name, weights=None, norm_layer=FrozenBatchNorm2d)
    state = read_weights(weights, get_model_weights(name).IMAGENET1K_V1, name)
    try:
        network.load_state_dict(state)
    except Exception as error:  # what a file holds instead of a state dict can raise almost anything
        raise UserError(misfit(weights, name, error)) from error
    return network


def read_weights(weights: str, published: WeightsEnum, name: str) -> Mapping[str, Any]:
    """Return a state dict of a network of torchvision's.

    Args:
        weights: "imagenet" for the published ones, or the path of a file.
        published: those that "imagenet" stands for.
        name: of the network in torchvision.

    Raises:
        UserError: the weights cannot be read.
    """
    if weights == "imagenet":
        try:
            return published.get_state_dict(progress=True, check_hash=True)
        except Exception as error:  # no network, or a file that was not downloaded whole
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"model.weights=imagenet: {published.url} cannot be loaded ({reason}). Put that file into "
                f"{Path(torch.hub.get_dir(), 'checkpoints')}, give its path as model.weights=FILE, or take "
                "model.weights=null for random weights"
            ) from error
    if not Path(weights).is_file():
        raise UserError(f"model.weights={weights}: no such file; give imagenet, a state dict's path, or null")
    try:
        return torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no state dict can raise almost anything
        raise UserError(misfit(weights, name, error)) from error


def misfit(weights: str, name: str, error: Exception) -> str:
    """Return the message about weights that are of another network, or none."""
    reason = " ".join(str(error).split())[:300]
    return f"model.weights={weights} is not a state dict of torchvision's {name}: {reason}"
