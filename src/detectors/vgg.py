"""VGG-16 as the backbone of SSD, with random or pretrained weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from src.data.transforms import IMAGENET, Normalisation
from src.detectors.backbones import Unread, Weights, misfit, read_weights
from src.utils.errors import UserError

STAGES = (2, 2, 3, 3, 3)  # convolutions between poolings: conv1_1 … conv5_3
CHANNELS = 64  # of the first stage, in VGG-16
# Caffe's weights, with which SSD was published, expect values from 0 to 255 minus this mean.
CAFFE = Normalisation((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))
NORMALISATIONS = {"imagenet": IMAGENET, "caffe": CAFFE}
PUBLISHED = {"imagenet": VGG16_Weights.IMAGENET1K_V1, "caffe": VGG16_Weights.IMAGENET1K_FEATURES}


class VGG16(nn.Module):
    """VGG-16 up to conv7, with its fully connected layers as convolutions (Liu et al.); returns conv4_3 and conv7.

    Args:
        channels: of the first stage; the other stages scale in proportion.
        with_norms: whether a batch norm follows each convolution, for random weights.
    """

    def __init__(self, channels: int = CHANNELS, *, with_norms: bool = False) -> None:
        super().__init__()
        self.widths = [channels * factor for factor in (1, 2, 4, 8, 8)]
        stages = []
        for before, width, count in zip([3, *self.widths], self.widths, STAGES, strict=False):
            layers = [_layer(before if i == 0 else width, width, with_norms, padding=1) for i in range(count)]
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        last = self.out_channels[1]
        self.conv6 = _layer(self.widths[-1], last, with_norms, padding=6, dilation=6)
        self.conv7 = _layer(last, last, with_norms, kernel=1)

    @property
    def out_channels(self) -> tuple[int, int]:
        """The channels of conv4_3 and conv7."""
        return self.widths[3], 2 * self.widths[4]

    def convolutions(self) -> list[nn.Conv2d]:
        """Return conv1_1 … conv5_3."""
        return [layer for layer in self.stages.modules() if isinstance(layer, nn.Conv2d)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of conv4_3 [B, C, H/8, W/8] and conv7 [B, C′, H/16, W/16].

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 16.
        """
        x = images
        for stage in self.stages[:3]:
            x = nn.functional.max_pool2d(stage(x), 2)
        conv4_3 = self.stages[3](x)
        x = self.stages[4](nn.functional.max_pool2d(conv4_3, 2))
        # pool5 keeps the stride of 16, so conv6 looks at every sixth cell instead of every third.
        x = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
        return conv4_3, self.conv7(self.conv6(x))


def build_vgg(weights: Weights, normalisation: str, channels: int) -> VGG16:
    """Build VGG-16 without its classifier.

    Nothing is frozen, as Liu et al. train all layers. With weights, conv6 and conv7 are subsampled from the
    classifier's first two layers, if the weights include them.

    Args:
        weights: "imagenet", the path of a state dict of torchvision's vgg16, None for random weights, or `Unread`.
        normalisation: "imagenet" or "caffe"; the weights "imagenet" are then IMAGENET1K_V1 or IMAGENET1K_FEATURES.
        channels: of the first stage.

    Raises:
        UserError: the weights are not available, or fit neither the network nor the normalisation.
    """
    if weights is None:
        return VGG16(channels, with_norms=True)
    if channels != CHANNELS:
        raise UserError(f"model.channels={channels}: VGG-16 with weights has {CHANNELS}; take model.weights=null")
    if isinstance(weights, Unread):
        return VGG16()
    state = read_weights(weights, PUBLISHED[normalisation])
    try:
        expected = _expected_normalisation(state)
        features = _features(state)
    except Exception as error:  # what a file holds instead of a state dict can raise almost anything
        raise UserError(misfit(weights, "vgg16", error, state)) from error
    if expected not in (None, normalisation):
        raise UserError(
            f"model.weights={weights} were trained with other pixels than model.normalisation={normalisation} gives "
            f"them: take model.normalisation={expected}"
        )
    network = VGG16()
    try:
        for layer, values in zip(network.convolutions(), features, strict=True):
            layer.load_state_dict(values)
        if expected == "imagenet":
            _load_classifier(network, state)
    except Exception as error:
        raise UserError(misfit(weights, "vgg16", error, state)) from error
    return network


def _layer(
    channels: int, outputs: int, with_norm: bool, *, kernel: int = 3, padding: int = 0, dilation: int = 1
) -> nn.Sequential:
    """Build a convolution, its batch norm if there is one, and its ReLU."""
    convolution = nn.Conv2d(channels, outputs, kernel, padding=padding, dilation=dilation, bias=not with_norm)
    if with_norm:
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, nn.ReLU(inplace=True))


def _expected_normalisation(state: Mapping[str, Any]) -> str | None:
    """Return the normalisation that weights were trained with; None if they lack the classifier, which shows it.

    torchvision's file of Caffe's weights has NaN in place of a classifier.
    """
    fc6 = state.get("classifier.0.weight")
    if fc6 is None:
        return None
    return "imagenet" if bool(fc6[0].isfinite().all()) else "caffe"


def _features(state: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    """Return weight and bias of each of the thirteen convolutions in a state dict of torchvision's vgg16."""
    numbers = sorted({int(name.split(".")[1]) for name in state if name.startswith("features.")})
    if len(numbers) != sum(STAGES):
        raise ValueError(f"{len(numbers)} layers of features instead of {sum(STAGES)}")
    return [{part: state[f"features.{number}.{part}"] for part in ("weight", "bias")} for number in numbers]


def _load_classifier(network: VGG16, state: Mapping[str, Any]) -> None:
    """Subsample the fully connected layers: every fourth output, and every third of 7 × 7 positions (Liu et al.)."""
    fc6, fc7 = state["classifier.0.weight"].reshape(4096, 512, 7, 7), state["classifier.3.weight"]
    network.conv6[0].load_state_dict({"weight": fc6[::4, :, ::3, ::3], "bias": state["classifier.0.bias"][::4]})
    network.conv7[0].load_state_dict({"weight": fc7[::4, ::4, None, None], "bias": state["classifier.3.bias"][::4]})
