"""Backbones with random and pretrained weights."""

import pytest
import torch
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from src.detectors.backbones import build_backbone


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


def test_maps_have_their_strides_and_channels():
    torch.manual_seed(0)
    backbone, channels = build_backbone("resnet18", None)
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert channels == [128, 256, 512]
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "c3": (1, 128, 8, 12),
        "c4": (1, 256, 4, 6),
        "c5": (1, 512, 2, 3),
    }


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


@pytest.mark.slow
def test_errors_of_weights_name_the_key(weights, tmp_path):
    with pytest.raises(ValueError, match="model.weights=nowhere.pth: no such file"):
        build_backbone("resnet18", "nowhere.pth")
    with pytest.raises(ValueError, match="not a state dict of torchvision's resnet50"):
        build_backbone("resnet50", str(weights))
    (tmp_path / "broken.pth").write_bytes(b"broken")
    with pytest.raises(ValueError, match="broken.pth is not a state dict"):
        build_backbone("resnet18", str(tmp_path / "broken.pth"))


def test_imagenet_weights_that_cannot_be_loaded_name_their_address_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet18-f37072fd.pth").write_bytes(b"half of a download")
    with pytest.raises(ValueError, match=f"resnet18-f37072fd.pth cannot be loaded .*{checkpoints}.*model.weights=null"):
        build_backbone("resnet18", "imagenet")
