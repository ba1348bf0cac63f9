"""The result of a loss: its value and what its gradient needs, and how autograd gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .checks import check_differentiated_once, compute_dtype


@dataclass(frozen=True)
class Outcome:
    """The value of a loss, and its gradient with respect to the logits.

    Attributes:
        loss: scalar.
        gradient: takes the incoming gradient, a scalar, a dtype and the tensors; returns what ``backward()`` puts into
            ``logits.grad``, in this dtype and the logits' shape. The incoming gradient is multiplied in before
            rounding: updates are about 1/|N|, too small for float16 until a gradient scaler has enlarged them.
        tensors: those of the logits' size, which autograd frees after the backward pass.
    """

    loss: Tensor
    gradient: Callable[..., Tensor]
    tensors: tuple[Tensor | None, ...] = ()

    def of(self, logits: Tensor) -> Tensor:
        """Return the loss as a function of these logits."""
        return _WithGradient.apply(logits, self)


class _WithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, outcome: Outcome) -> Tensor:
        ctx.dtype, ctx.gradient = logits.dtype, outcome.gradient
        ctx.save_for_backward(*outcome.tensors)
        return outcome.loss

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        check_differentiated_once()
        return ctx.gradient(incoming, ctx.dtype, *ctx.saved_tensors), None


def fixed(loss: Tensor, gradient: Tensor) -> Outcome:
    """Return the outcome of a loss whose gradient is a known tensor, in a dtype no narrower than the logits'."""
    return Outcome(loss, lambda incoming, dtype, known: (known * incoming).to(dtype), (gradient,))


def zero(logits: Tensor) -> Outcome:
    """Return the outcome without positives: loss 0 and update 0."""
    shape = logits.shape
    return Outcome(_scalar(logits, 0.0), lambda incoming, dtype: incoming.new_zeros(shape, dtype=dtype))


def not_a_number(logits: Tensor, targets: Tensor) -> Outcome:
    """Return the outcome for logits that are not finite: NaN, except for the update of entries that do not count."""
    counts = targets == 1
    counts |= (targets == 0) & (logits != -torch.inf)
    nan = torch.where(counts, _scalar(logits, torch.nan), 0)
    return fixed(_scalar(logits, torch.nan), nan.view(logits.shape))


def _scalar(logits: Tensor, value: float) -> Tensor:
    return compute_dtype(logits.new_empty(0)).new_tensor(value)
