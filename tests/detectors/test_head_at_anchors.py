import pytest
import torch
from torch import nn

from src.detectors import head_at_anchors as module
from src.detectors.head_at_anchors import head_at_anchors
from src.detectors.heads import apply_head, group_norm
from src.detectors.retinanet import RetinaNet
from tests.support.exhaustive import trials

ANCHORS_PER_CELL, OUTPUTS = 2, 4


def make_head(convolutions, norm=False):
    layers = []
    for _ in range(convolutions - 1):
        layers += [nn.Conv2d(3, 3, 3, padding=1), *([group_norm(3)] if norm else []), nn.ReLU(inplace=True)]
    head = nn.Sequential(*layers, nn.Conv2d(3, ANCHORS_PER_CELL * OUTPUTS, 3, padding=1)).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.5)
    return head


def whole(head, levels):
    return apply_head(head, levels, ANCHORS_PER_CELL)


def outcome(outputs, wanted, head, levels):
    """Return the wanted outputs, and the gradients of what they come from for a loss of these outputs alone."""
    sources = [*head.parameters(), *levels]
    return outputs[wanted], torch.autograd.grad(outputs[wanted].square().sum(), sources, retain_graph=True)


@pytest.mark.parametrize("convolutions", [1, 2, 5])
def test_wanted_outputs_and_gradients_are_those_of_the_head_on_whole_maps(convolutions, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 1.0)
    for seed in trials(6, 60):
        torch.manual_seed(seed)
        head = make_head(convolutions)
        sizes = [(7, 5), (4, 3), (1, 2)][: 1 + seed % 3]
        levels = [torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]
        wanted = torch.rand(2, ANCHORS_PER_CELL * sum(h * w for h, w in sizes)) < [0.02, 0.1, 1.0][seed % 3]
        wanted[0, -1] = wanted[1, 0] = True  # in corners of maps
        expected = outcome(whole(head, levels), wanted, head, levels)
        torch.testing.assert_close(outcome(head_at_anchors(head, levels, wanted), wanted, head, levels), expected)


def test_what_is_far_from_wanted_anchors_is_not_computed():
    """Values that are not finite would show."""
    head, level = make_head(2), torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    wanted = torch.zeros(1, 9 * 9 * ANCHORS_PER_CELL, dtype=torch.bool)
    wanted[0, 0] = True
    level[..., 3:, :] = level[..., 3:] = torch.nan
    outputs = head_at_anchors(head, [level], wanted)
    assert outputs.shape == (1, 9 * 9 * ANCHORS_PER_CELL, OUTPUTS) and outputs.isfinite().all()
    assert outputs[0, :ANCHORS_PER_CELL].all() and not outputs[0, ANCHORS_PER_CELL:].any()
    level[..., 2, 2] = torch.nan  # two cells away: the farthest that two convolutions reach
    assert head_at_anchors(head, [level], wanted)[0, 0].isnan().all()


@pytest.mark.parametrize("case", ["no anchor", "most anchors", "a norm"])
def test_otherwise_the_head_sees_whole_maps(case):
    head, levels = make_head(3, norm=case == "a norm"), [torch.randn(2, 3, 6, 6, dtype=torch.float64)]
    wanted = torch.zeros(2, 6 * 6 * ANCHORS_PER_CELL, dtype=torch.bool)
    wanted[:, : {"no anchor": 0, "most anchors": 60, "a norm": 1}[case]] = True
    assert torch.equal(head_at_anchors(head, levels, wanted), whole(head, levels))


def test_retinanet_has_the_wanted_offsets_and_all_logits():
    torch.manual_seed(0)
    network = RetinaNet(3, "resnet18", channels=8, norms=False).double().eval()
    images = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    logits, offsets = network(images)
    wanted = torch.zeros(offsets.shape[:2], dtype=torch.bool)
    wanted[0, 100] = wanted[1, 5] = True
    logits_again, some = network(images, wanted)
    assert torch.equal(logits_again, logits) and some.shape == offsets.shape
    torch.testing.assert_close(some[wanted], offsets[wanted], rtol=1e-10, atol=0)
    assert (some != 0).any(2).sum() == 12  # the anchors of two cells
