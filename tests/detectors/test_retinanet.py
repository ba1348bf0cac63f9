"""RetinaNet's outputs and initialisation."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from src.detectors.anchors import make_anchors
from src.detectors.retinanet import RetinaNet, anchor_grids


def test_outputs_match_the_anchors_and_start_from_the_prior():
    torch.manual_seed(0)
    model = RetinaNet(3, "resnet18", weights=None, channels=32).eval()
    with torch.no_grad():
        logits, offsets = model(torch.randn(2, 3, 96, 160))
    count = sum(len(level) for level in make_anchors(anchor_grids(96, 160)))
    assert logits.shape == (2, count, 3) and offsets.shape == (2, count, 4)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)
    assert offsets.abs().max() < 0.5


def test_outputs_are_in_the_order_of_the_anchors():
    """A change in one region of the image moves the scores of anchors near it most."""
    torch.manual_seed(0)
    model = RetinaNet(1, "resnet18", weights=None, channels=32).eval()
    image = torch.zeros(1, 3, 256, 256)
    changed = image.clone()
    changed[:, :, 24:40, 200:216] = 3
    with torch.no_grad():
        difference = (model(changed)[0] - model(image)[0]).abs()[0, :, 0]
    finest = make_anchors(anchor_grids(256, 256))[0]
    centre = (finest[:, :2] + finest[:, 2:])[difference[: len(finest)].argmax()] / 2
    assert abs(centre[0] - 208) < 40 and abs(centre[1] - 32) < 40


def test_without_pretrained_weights_pyramid_and_heads_are_normalised_and_everything_is_trained():
    model = RetinaNet(2, "resnet18", weights=None, channels=32)
    assert all(p.requires_grad for p in model.parameters())
    for part in (model.pyramid, model.classification, model.regression):
        assert any(isinstance(m, nn.GroupNorm) for m in part.modules())


def test_pretrained_weights_need_no_normalisation_of_pyramid_and_heads(tmp_path):
    torch.manual_seed(1)
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    model = RetinaNet(2, "resnet18", weights=str(path), channels=32)
    assert not any(isinstance(m, nn.GroupNorm) for m in model.modules())
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
        n for n, _ in model.named_parameters() if n.startswith(("body.conv1", "body.layer1"))
    }


def test_p6_comes_from_c5_even_if_p5_has_as_many_channels():
    model, inputs = RetinaNet(1, "resnet10_half", channels=256, head_convolutions=0).eval(), []
    model.pyramid.extra_blocks.p6.register_forward_pre_hook(lambda _, taken: inputs.extend(taken))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(images)
        assert torch.equal(*inputs, model.body(images)["c5"])


@pytest.mark.parametrize("norms", [True, False])
def test_norms_are_chosen_whatever_the_weights(norms):
    model = RetinaNet(2, "resnet18", weights=None, channels=16, norms=norms)
    for part in (model.pyramid, model.classification, model.regression):
        assert any(isinstance(m, nn.GroupNorm) for m in part.modules()) == norms
