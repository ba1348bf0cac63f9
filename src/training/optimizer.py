"""The optimizer and its learning rate schedule."""

from collections.abc import Sequence
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from src.utils.errors import UserError


def build_optimizer(
    model: nn.Module, schedule: DictConfig, batch_size: int, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Build SGD or AdamW with a learning rate that is linear in the batch size and follows `learning_rate_factor`.

    Args:
        model: a network. Unless `backbone_rate` is 1, it needs an attribute `backbone`: the part whose learning rate
            is this multiple of the others', or which 0 freezes here.
        schedule: the configuration's `schedule`.
        steps: of the whole training.

    Raises:
        UserError: the network has no attribute `backbone`, and `backbone_rate` is not 1.
    """
    rate = schedule.learning_rate * batch_size / schedule.reference_batch_size
    groups = _parameter_groups(model, rate, schedule.backbone_rate)
    fused = next(model.parameters()).is_cuda or None  # no wait in precision=fp16; a CPU would round differently
    shared: dict[str, Any] = {"lr": rate, "weight_decay": schedule.weight_decay, "fused": fused}
    optimizer: torch.optim.Optimizer
    if schedule.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=(schedule.momentum, 0.999), **shared)
    else:
        optimizer = torch.optim.SGD(groups, momentum=schedule.momentum, **shared)
    keys = ("warmup_iterations", "warmup_divisor")
    options = {key: schedule[key] for key in keys} | {"decay_at": list(schedule.decay_at)}
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, **options))


def _parameter_groups(model: nn.Module, rate: float, backbone_rate: float) -> list[dict[str, Any]]:
    """Return the trained parameters; those of the backbone in a second group if their learning rate differs."""
    if backbone_rate == 1:
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise UserError(
            f"schedule.backbone_rate={backbone_rate:g}: {type(model).__name__} has no attribute `backbone`; give it "
            "one, or leave schedule.backbone_rate at 1"
        )
    if backbone_rate == 0:
        backbone.requires_grad_(False)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    others = set(model.parameters()).difference(backbone.parameters())
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if p in others and p.requires_grad]}]
    return [*groups, {"params": trained, "lr": rate * backbone_rate}] if trained else groups


def learning_rate_factor(
    step: int, steps: int, *, warmup_iterations: int, decay_at: Sequence[float], warmup_divisor: float = 3
) -> float:
    """Return the learning rate's factor at a step.

    Linear warm-up from 1 / `warmup_divisor`, then a division by 10 at each fraction `decay_at` of the training.
    """
    warmup = min(step / warmup_iterations, 1) if warmup_iterations else 1
    return (
        (1 + (warmup_divisor - 1) * warmup)
        / warmup_divisor
        * 0.1 ** sum(step >= fraction * steps for fraction in decay_at)
    )
