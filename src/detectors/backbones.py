"""Backbones: ResNets, and smaller networks for small machines, with random or pretrained weights."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import WeightsEnum, get_model, get_model_weights
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FrozenBatchNorm2d

from src.data.messages import first_names
from src.data.transforms import IMAGENET, Normalisation
from src.detectors import efficientnet_lite
from src.detectors.resnet10 import WIDTHS, HalfResNet10
from src.utils.errors import UserError


class Unread:
    """Stands for pretrained weights of a network that are not read, as a checkpoint's are loaded in their place."""


Weights = str | Unread | None


def build_backbone(name: str, weights: Weights) -> tuple[nn.Module, list[int]]:
    """Build a network without its classifier.

    With weights, the layers up to stride 4 (in a ResNet the first convolution and the first stage) and all batch norms
    are frozen. Without weights, everything is trained.

    Args:
        name: a key of :data:`BUILDERS`.
        weights: "imagenet", the path of a state dict of that network, None for random weights, or `Unread`.

    Returns:
        A module from images [B, 3, H, W] to an ordered dict of the maps "c3", "c4" and "c5" at strides 8, 16 and 32,
        and the number of channels of each map.

    Raises:
        UserError: the weights are not available, or do not fit the network.
    """
    return BUILDERS[name](name, weights)


def normalisation_of(name: str) -> Normalisation:
    """Return the normalisation of images with which a backbone's published weights were trained."""
    return efficientnet_lite.NORMALISATION if name == "efficientnet_lite0" else IMAGENET


def _build_resnet(name: str, weights: Weights) -> tuple[nn.Module, list[int]]:
    network = _of_torchvision(name, weights, FrozenBatchNorm2d)
    if weights is not None:
        _freeze([network.conv1, network.layer1])
    channels = network.fc.in_features
    layers = IntermediateLayerGetter(network, {"layer2": "c3", "layer3": "c4", "layer4": "c5"})
    return layers, [channels // 4, channels // 2, channels]


def _build_mobilenet(name: str, weights: Weights) -> tuple[nn.Module, list[int]]:
    features = _of_torchvision(name, weights, partial(FrozenBatchNorm2d, eps=1e-3)).features
    if weights is not None:
        _freeze(list(features[:4]))
    # The last block of strides 8 and 16, and the convolution after all blocks.
    return IntermediateLayerGetter(features, {"6": "c3", "12": "c4", "16": "c5"}), [40, 112, 960]


def _build_efficientnet_lite(name: str, weights: Weights) -> tuple[nn.Module, list[int]]:
    kind = nn.BatchNorm2d if weights is None else FrozenBatchNorm2d
    network = efficientnet_lite.EfficientNetLite0(partial(kind, eps=efficientnet_lite.NORM_EPSILON))
    if isinstance(weights, str):
        file = efficientnet_lite.weights_of_package() if weights == "imagenet" else weights
        state = _read_file(file)
        try:
            network.load_state_dict(efficientnet_lite.rename(state))
        except Exception as error:  # what a file holds instead of a state dict can raise almost anything
            raise UserError(misfit(file, name, error, state)) from error
    if weights is not None:
        _freeze(network.parts_to_freeze())
    return network, network.out_channels


def _build_resnet10(name: str, weights: Weights) -> tuple[nn.Module, list[int]]:
    if weights is not None:
        raise UserError(f"model.weights={weights}: {name} has random weights alone; give model.weights=null")
    return HalfResNet10(), list(WIDTHS[1:])


BUILDERS: dict[str, Callable[[str, Weights], tuple[nn.Module, list[int]]]] = {
    "resnet10_half": _build_resnet10,
    "resnet18": _build_resnet,
    "resnet50": _build_resnet,
    "resnet101": _build_resnet,
    "mobilenet_v3_large": _build_mobilenet,
    "efficientnet_lite0": _build_efficientnet_lite,
}


def _freeze(parts: list[nn.Module]) -> None:
    for part in parts:
        part.requires_grad_(False)


def _of_torchvision(name: str, weights: Weights, frozen_norm: Callable[[int], nn.Module]) -> Any:
    """Build one of torchvision's networks; with weights, its batch norms are `frozen_norm`."""
    if weights is None:
        return get_model(name, weights=None)
    network = get_model(name, weights=None, norm_layer=frozen_norm)
    if isinstance(weights, Unread):
        return network
    state = read_weights(weights, get_model_weights(name).IMAGENET1K_V1)
    try:
        network.load_state_dict(state)
    except Exception as error:  # what a file holds instead of a state dict can raise almost anything
        raise UserError(misfit(weights, name, error, state)) from error
    return network


def read_weights(weights: str, published: WeightsEnum) -> Mapping[str, Any]:
    """Return a state dict of one of torchvision's networks.

    Args:
        weights: "imagenet" for the published ones, or the path of a file.
        published: those that "imagenet" stands for.

    Raises:
        UserError: the weights cannot be read.
    """
    if weights != "imagenet":
        return _read_file(weights)
    try:
        return published.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # no internet, or an incomplete download
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"model.weights=imagenet: {published.url} cannot be loaded ({reason}). Put that file into "
            f"{Path(torch.hub.get_dir(), 'checkpoints')}, give its path as model.weights=FILE, or take "
            "model.weights=null for random weights"
        ) from error


def _read_file(weights: str) -> Mapping[str, Any]:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise UserError(f"model.weights={weights}: no such file; give imagenet, a state dict's path, or null")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"model.weights={weights} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a file that is no state dict can raise almost anything, with advice on Python code
        raise UserError(
            f"model.weights={weights} is not a state dict: give a file of torch.save(network.state_dict(), FILE)"
        ) from error


def misfit(weights: str, name: str, error: Exception, state: Any) -> str:
    """Return the message about weights that belong to another network, or are no weights at all.

    Args:
        weights: the value of model.weights.
        name: of the network that was expected.
        error: raised by what the file holds.
        state: what the file holds.
    """
    source = efficientnet_lite.PACKAGE if name == "efficientnet_lite0" else "torchvision"
    reason = " ".join(str(error).split())[:300]
    keys = f". The file's keys are {first_names([*map(str, state)], 3)}" if isinstance(state, Mapping) else ""
    return f"model.weights={weights} is not a state dict of {source}'s {name}: {reason}{keys}"
