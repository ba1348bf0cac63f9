"""The learning rate of a backbone beside that of the other layers."""

from functools import partial

import pytest
import torch
from torch import nn

from src.config.validate import resolve
from src.detectors.detector import build_detector
from src.training.optimizer import build_optimizer
from src.utils.errors import UserError
from tests.support.configurations import make_config


class Network(nn.Module):
    """A frozen and a trained layer as the backbone, and a head."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1)
        self.body = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
        self.body[0].requires_grad_(False)

    @property
    def backbone(self):
        return self.body


def changes(backbone_rate: float, optimizer_name: str) -> list[torch.Tensor]:
    """Return how a step changes the parameters: of the head, of the frozen layer, of the trained one."""
    torch.manual_seed(0)
    network = Network()
    schedule = resolve(make_config(f"schedule.optimizer={optimizer_name}")).schedule
    schedule.backbone_rate, schedule.weight_decay = backbone_rate, 0.0
    optimizer, _ = build_optimizer(network, schedule, batch_size=8, steps=10)
    before = [p.detach().clone() for p in network.parameters()]
    network.head(network.body(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    return [after - b for after, b in zip(network.parameters(), before, strict=True)]


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_alone_learns_at_a_multiple_of_the_learning_rate(optimizer, rate):
    usual, changed = changes(1.0, optimizer), changes(rate, optimizer)
    assert all(change.abs().sum() > 0 for change in usual[:2] + usual[4:])
    torch.testing.assert_close(changed[:2], usual[:2], rtol=0, atol=0)
    torch.testing.assert_close(changed[2:], [rate * change for change in usual[2:]], rtol=1e-4, atol=1e-7)


def test_the_optimizers_are_torchs():
    words = ["schedule.learning_rate=0.04", "schedule.momentum=0.8", "schedule.weight_decay=0.01"]
    for name, expected in (
        ("sgd", partial(torch.optim.SGD, momentum=0.8)),
        ("adamw", partial(torch.optim.AdamW, betas=(0.8, 0.999))),
    ):
        schedule = resolve(make_config(*words, f"schedule.optimizer={name}", "schedule.warmup_divisor=1")).schedule
        ours, theirs = nn.Linear(2, 3), nn.Linear(2, 3)
        theirs.load_state_dict(ours.state_dict())
        optimizer, _ = build_optimizer(ours, schedule, batch_size=4, steps=10)
        reference = expected(theirs.parameters(), lr=0.02, weight_decay=0.01)  # half the reference batch size
        for _ in range(3):
            for network, steps in ((ours, optimizer), (theirs, reference)):
                steps.zero_grad()
                network(torch.ones(1, 2)).square().sum().backward()
                steps.step()
        assert torch.equal(ours.weight, theirs.weight), name


def test_a_network_without_a_named_backbone_is_refused():
    schedule = make_config("schedule.backbone_rate=0.1").schedule
    with pytest.raises(UserError, match="schedule.backbone_rate=0.1: Linear has no attribute `backbone`"):
        build_optimizer(nn.Linear(2, 1), schedule, batch_size=8, steps=10)


@pytest.mark.parametrize("model", ["retinanet", "ssd"])
def test_both_detectors_have_a_backbone(model):
    config = resolve(make_config(f"model={model}", "model.channels=4"))
    config.schedule.backbone_rate = 0
    network = build_detector(config.model, 96).build_network(2)
    build_optimizer(network, config.schedule, batch_size=8, steps=10)
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert all(p.requires_grad for p in network.classification.parameters())
