"""Checks of the losses' arguments, and the dtype in which they compute."""

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> Tensor:
    """Return the tensor in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_inputs(logits: Tensor, targets: Tensor) -> None:
    """Raise a TypeError or a ValueError unless logits and targets have one shape and fit together.

    Args:
        logits: floating tensor of any shape.
        targets: tensor of the same shape and device; 1 positive, 0 negative, −1 ignored.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}")
    check_values(logits, targets)


def check_values(logits: Tensor, targets: Tensor) -> None:
    """Raise as :func:`check_inputs` does, for logits and targets whose shapes may differ."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be a floating tensor, not {logits.dtype}")
    if logits.device != targets.device:
        raise ValueError(f"logits are on {logits.device}, targets on {targets.device}")
    if targets.numel() and targets.dtype != torch.bool:
        low, high = targets.aminmax()
        whole = not targets.is_floating_point() or bool((targets == targets.round()).all())
        if not (whole and low >= -1 and high <= 1):
            raise ValueError("targets must be 1 (positive), 0 (negative) or -1 (ignored)")


def check_epsilon(epsilon: float) -> None:
    """Raise a ValueError unless ε, which is added to AP before the logarithm, is at least 0."""
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, not {epsilon}")
