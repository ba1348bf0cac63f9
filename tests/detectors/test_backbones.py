"""Backbones with random and pretrained weights."""

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large, resnet18
from torchvision.ops import FrozenBatchNorm2d

from src.config.registry import BACKBONES
from src.detectors.backbones import BUILDERS, build_backbone


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize(("name", "width"), [("resnet18", 128), ("resnet10_half", 64)])
def test_maps_have_their_strides_and_channels(name, width):
    torch.manual_seed(0)
    backbone, channels = build_backbone(name, None)
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert channels == [width, 2 * width, 4 * width]
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "c3": (1, width, 8, 12),
        "c4": (1, 2 * width, 4, 6),
        "c5": (1, 4 * width, 2, 3),
    }


def test_half_a_resnet10_has_ten_layers_and_no_published_weights():
    backbone, _ = build_backbone("resnet10_half", None)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 10  # the second of the stem is in the place of the classifier
    with pytest.raises(ValueError, match="model.weights=imagenet: resnet10_half has random weights alone"):
        build_backbone("resnet10_half", "imagenet")


def test_random_weights_train_everything():
    backbone, _ = build_backbone("resnet18", None)
    assert all(p.requires_grad for p in backbone.parameters())
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in backbone.modules())


def test_pretrained_weights_are_loaded_and_frozen_where_the_paper_freezes_them(weights):
    backbone, _ = build_backbone("resnet18", str(weights))
    state = torch.load(weights, weights_only=True)
    torch.testing.assert_close(backbone.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in backbone.named_parameters() if name.startswith(("conv1", "layer1"))}
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in backbone.modules())


def test_weights_are_found_in_the_home_folder(weights, monkeypatch):
    monkeypatch.setenv("HOME", str(weights.parent))
    backbone, _ = build_backbone("resnet18", f"~/{weights.name}")
    state = torch.load(weights, weights_only=True)
    torch.testing.assert_close(backbone.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])


@pytest.mark.slow
def test_errors_of_weights_name_the_key(weights, tmp_path):
    with pytest.raises(ValueError, match="model.weights=nowhere.pth: no such file"):
        build_backbone("resnet18", "nowhere.pth")
    with pytest.raises(ValueError, match="not a state dict of torchvision's resnet50"):
        build_backbone("resnet50", str(weights))
    for content in (b"broken", b"", b"<html>404"):
        (tmp_path / "broken.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"broken.pth is not a state dict: .*torch\.save\(network"):
            build_backbone("resnet18", str(tmp_path / "broken.pth"))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_weights_in_another_form_are_told_by_their_keys(name, weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    for other, keys in (
        ({"epoch": 3, "state_dict": state}, "epoch, state_dict"),
        ({f"module.{key}": value for key, value in state.items()}, "module.conv1.weight, .* in all"),
    ):
        torch.save(other, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=f"other.pth is not a state dict of .*{name}.* keys are {keys}"):
            build_backbone(name, str(tmp_path / "other.pth"))


def test_imagenet_weights_that_cannot_be_loaded_name_their_address_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet18-f37072fd.pth").write_bytes(b"half of a download")
    with pytest.raises(ValueError, match=f"resnet18-f37072fd.pth cannot be loaded .*{checkpoints}.*model.weights=null"):
        build_backbone("resnet18", "imagenet")


def test_configurations_may_choose_every_backbone():
    assert set(BACKBONES) == set(BUILDERS)


@pytest.mark.parametrize(
    ("name", "channels"), [("mobilenet_v3_large", [40, 112, 960]), ("efficientnet_lite0", [40, 112, 1280])]
)
def test_maps_of_the_small_backbones_have_their_strides_and_channels(name, channels):
    torch.manual_seed(0)
    backbone, widths = build_backbone(name, None)
    with torch.no_grad():
        maps = backbone.eval()(torch.randn(1, 3, 64, 96))
    assert widths == channels
    shapes = {name: tuple(value.shape[1:]) for name, value in maps.items()}
    assert shapes == {"c3": (channels[0], 8, 12), "c4": (channels[1], 4, 6), "c5": (channels[2], 2, 3)}
    assert all(p.requires_grad for p in backbone.parameters())


def test_mobilenets_pretrained_maps_are_those_of_torchvision(tmp_path):
    torch.manual_seed(2)
    published = mobilenet_v3_large(weights=None)
    for norm in (m for m in published.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.running_var, 0.01, 0.1)  # small, so that a wrong epsilon shows
    torch.save(published.state_dict(), tmp_path / "mobilenet.pth")
    backbone, _ = build_backbone("mobilenet_v3_large", str(tmp_path / "mobilenet.pth"))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.train()(images)["c5"], published.eval().features(images))
    frozen = {name.split(".")[0] for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen == {"0", "1", "2", "3"}
    assert all(p.requires_grad for p in backbone["4"].parameters())
