"""An approximation of AP-loss by buckets of negatives, for comparison only: what exactness costs, and what it buys."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .checks import check_inputs, compute_dtype
from .step_functions import check_step, step_function


def ap_loss_bucketed(logits: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Return an approximation of AP-loss without interpolation, exact only as δ → 0.

    The negatives between two consecutive positives, above the highest and below the lowest make one bucket each, and a
    bucket's members are all given their mean score. The error-driven update is then that of
    ``ap_loss(interpolated=False)`` between |P| positives and at most |P| + 1 buckets, as a matrix; a bucket counts as
    many times as it has members and shares its update equally among them. But where in a bucket a negative lies
    matters as long as it is within δ of some positive. All scores are sorted, trivial negatives too:
    O(|N| log |N| + |P|²) time and O(|N| + |P|²) memory.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: δ > 0, the half width of the piecewise step function (Equation 21).

    Returns:
        The scalar loss; 0 with a zero update without positives.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does.
    """
    check_step("piecewise", delta)
    check_inputs(logits, targets)
    return _Bucketed.apply(logits, targets, delta)


class _Bucketed(torch.autograd.Function):
    """Compute the buckets' update in the forward pass; share it among their members in the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, delta: float) -> Tensor:
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        scores, targets = compute_dtype(logits).flatten(), targets.flatten()
        ctx.positives = (targets == 1).nonzero().squeeze(1)
        number_of_positives = len(ctx.positives)
        if number_of_positives == 0:
            return scores.new_zeros(())
        # The positives come first, so that a negative of a positive's score is sorted above it.
        index = torch.cat([ctx.positives, (targets == 0).nonzero().squeeze(1)])
        scores, order = scores[index].sort(stable=True)
        is_positive = order < number_of_positives
        s = scores[is_positive].double()
        ctx.positives = index[order[is_positive]]
        negatives = index[order[~is_positive]]
        bucket = is_positive.cumsum(0)[~is_positive]  # how many positives are below
        size = torch.bincount(bucket, minlength=number_of_positives + 1)
        total = torch.bincount(bucket, scores[~is_positive].double(), minlength=number_of_positives + 1)
        mean = total / size.clamp(min=1)

        positives_above = step_function(s[None] - s[:, None], delta=delta).sum(1) - 0.5  # without k = i: f(0) = ½
        L = step_function(mean[None] - s[:, None], delta=delta) * size
        L /= (1 + positives_above + L.sum(1))[:, None] * number_of_positives
        ctx.losses, ctx.shares = L.sum(1), L.sum(0) / size.clamp(min=1)
        ctx.save_for_backward(negatives, bucket)
        return ctx.losses.sum().to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        update = gradient.new_zeros(ctx.shape, dtype=ctx.dtype).flatten()
        if len(ctx.positives):
            negatives, bucket = ctx.saved_tensors
            update[negatives] = (ctx.shares * gradient).to(ctx.dtype)[bucket]
            update[ctx.positives] = (ctx.losses * -gradient).to(ctx.dtype)
        return update.view(ctx.shape), None, None
