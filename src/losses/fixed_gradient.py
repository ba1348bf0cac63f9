"""Losses whose value and gradient are both known already, for autograd."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .checks import compute_dtype


def with_gradient(logits: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
    """Return the loss, whose ``backward()`` puts a given tensor into ``logits.grad``, times the incoming gradient.

    Args:
        logits: floating tensor of any shape.
        loss: scalar.
        gradient: tensor of the logits' shape, in a dtype no narrower than theirs.
    """
    return _WithGradient.apply(logits, loss, gradient)


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        ctx.dtype = logits.dtype
        ctx.save_for_backward(gradient)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * incoming).to(ctx.dtype), None, None


@dataclass(frozen=True)
class Degenerate:
    """What logits and targets give that cannot be ranked: one number as the loss and as every entry of its gradient.

    Attributes:
        value: 0 without positives, NaN if a positive or negative is not finite.
    """

    value: float

    def loss(self, logits: Tensor) -> Tensor:
        """Return the scalar loss of these logits."""
        return _Constant.apply(logits, self.value)


class _Constant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: float) -> Tensor:
        ctx.shape, ctx.dtype, ctx.value = logits.shape, logits.dtype, value
        return compute_dtype(logits).new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        return incoming.new_full(ctx.shape, ctx.value, dtype=ctx.dtype), None
