"""The optimizer and its learning rate schedule."""

from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR


def build_optimizer(
    model: nn.Module, schedule: DictConfig, batch_size: int, steps: int
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Build SGD with a learning rate that is linear in the batch size and follows :func:`learning_rate_factor`.

    Args:
        schedule: the configuration's `schedule`.
        steps: of the whole training.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters,
        lr=schedule.learning_rate * batch_size / schedule.reference_batch_size,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=parameters[0].is_cuda or None,  # without a wait in precision=fp16; on a CPU it rounds otherwise
    )
    keys = ("warmup_iterations", "warmup_divisor")
    options = {key: schedule[key] for key in keys} | {"decay_at": list(schedule.decay_at)}
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, **options))


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
