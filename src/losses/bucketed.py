"""An approximation of AP-loss by buckets of negatives, only for comparison: what exactness costs and gains."""

import torch
from torch import Tensor

from .checks import check_inputs, compute_dtype
from .collectives import Collectives
from .outcome import Outcome, not_a_number, zero
from .split import split
from .step_functions import check_digits, check_step, step_function


def ap_loss_bucketed(logits: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Return an approximation of AP-loss without interpolation, exact only as δ → 0.

    The negatives between two consecutive positives, above the highest and below the lowest make one bucket each, and a
    bucket's members are all given their mean score. The error-driven update is then that of
    ``ap_loss(interpolated=False)`` between |P| positives and at most |P| + 1 buckets, as a matrix; a bucket counts as
    many times as it has members and shares its update equally among them. It is inexact because the position of a
    negative in its bucket matters if it is within δ of some positive. All scores are sorted, trivial negatives too:
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
    return _outcome(logits.detach(), check_inputs(logits, targets), delta).of(logits)


def _outcome(logits: Tensor, targets: Tensor, delta: float) -> Outcome:
    """Return the buckets' loss, and their update, which is shared among their members in the backward pass."""
    parts = split(logits, targets, Collectives(None, logits.device))
    number_of_positives = len(parts.positives)
    if not parts.is_finite:
        return not_a_number(logits, targets)
    if number_of_positives == 0:
        return zero(logits)
    check_digits("piecewise", delta, parts.largest_positive)
    # The positives come first, so that a negative of a positive's score is sorted above it.
    index = torch.cat([parts.index.sort().values, (parts.scores > -torch.inf).nonzero().squeeze(1)])
    scores, order = compute_dtype(logits.reshape(-1)[index]).sort(stable=True)
    is_positive = order < number_of_positives
    s = scores[is_positive].double()
    positives, negatives = index[order[is_positive]], index[order[~is_positive]]
    bucket = is_positive.cumsum(0)[~is_positive]  # how many positives are below
    size = torch.bincount(bucket, minlength=number_of_positives + 1)
    total = torch.bincount(bucket, scores[~is_positive].double(), minlength=number_of_positives + 1)
    mean = total / size.clamp(min=1)

    positives_above = step_function(s[None] - s[:, None], delta=delta).sum(1) - 0.5  # without k = i: f(0) = ½
    L = step_function(mean[None] - s[:, None], delta=delta) * size
    L /= (1 + positives_above + L.sum(1))[:, None] * number_of_positives
    losses, shares, shape = L.sum(1), L.sum(0) / size.clamp(min=1), logits.shape

    def update(incoming: Tensor, dtype: torch.dtype, negatives: Tensor, bucket: Tensor) -> Tensor:
        result = incoming.new_zeros(shape.numel(), dtype=dtype)
        result[negatives] = (shares * incoming).to(dtype)[bucket]
        result[positives] = (losses * -incoming).to(dtype)
        return result.view(shape)

    return Outcome(losses.sum().to(parts.scores.dtype), update, (negatives, bucket))
