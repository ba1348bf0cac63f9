"""The error-driven update of a ranking loss, and the ranks of the positives as smooth functions of the scores."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from .batch import Batch, Negatives, make_batch
from .fixed_gradient import Degenerate

# From the positives and the negatives above each positive, and |N|: Σ_j L_ij and w_i.
PairWeights = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def ranking_loss(
    logits: Tensor,
    targets: Tensor,
    pair_weights: PairWeights,
    *,
    step: str,
    delta: float,
    process_group: ProcessGroup | None,
) -> Tensor:
    """Return a weighted sum of f(s_j − s_i) over pairs, with the update of Equation 14 as its gradient.

    The update of positive i is −Σ_j L_ij / |P| and that of negative j is Σ_i L_ij / |P|, with L_ij = w_i f(s_j − s_i).

    Args:
        logits: floating tensor of any shape, raw scores.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        pair_weights: takes, for the positives in ascending order of score, Σ_k≠i f(s_k − s_i) over the positives and
            Σ_j f(s_j − s_i) over the negatives, both float64 [P], and |N|. Returns Σ_j L_ij and w_i, float64 [P].
        step, delta: which step function f, see :func:`step_function`.
        process_group: see :func:`ap_loss`. The positives and negatives are those of all its processes.

    Returns:
        The mean of Σ_j L_ij over the positives, a scalar; 0 with a zero update if there are none.
    """
    batch = make_batch(logits, targets, step, delta=delta, process_group=process_group)
    if isinstance(batch, Degenerate):
        return batch.loss(logits)
    return _RankingLoss.apply(logits, batch, pair_weights)


class _RankingLoss(torch.autograd.Function):
    """Compute each positive's Σ_j L_ij in the forward pass, and turn the L_ij into the update in the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, batch: Batch, pair_weights: PairWeights) -> Tensor:
        _keep(ctx, logits, batch)
        positives_above = batch.pair_sums.over_positives()
        negatives_above = batch.pair_sums.over(batch.moments)
        ctx.losses, weights = pair_weights(positives_above, negatives_above, batch.number_of_negatives)
        ctx.polynomials = batch.pair_sums.polynomials(weights / len(weights))
        return ctx.losses.mean().to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        # The incoming gradient is multiplied in before rounding: updates are about 1/|N|, too small for float16 until
        # a gradient scaler has enlarged them.
        polynomials = [coefficient * incoming for coefficient in ctx.polynomials]
        negatives = Negatives(*ctx.saved_tensors)
        update = negatives.spread(negatives.evaluate(ctx.pair_sums, polynomials, ctx.dtype), ctx.shape.numel())
        update[ctx.index] = (ctx.losses * (-incoming / len(ctx.losses))).to(ctx.dtype)[ctx.among_all]
        return update.view(ctx.shape), None, None


def smooth_ranks(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how many positives and how many negatives rank above each positive, with the sigmoid as step function.

    This is a smooth function of the logits, and ``backward()`` gives its true gradient.

    Args:
        logits: floating tensor of any shape, those of the batch.
        batch: made with step "sigmoid".

    Returns:
        Σ_k≠i f(s_k − s_i) over the positives and Σ_j f(s_j − s_i) over the negatives, in ascending order of s_i; both
        float64 [P]. In a process group they are the same on all processes, each of which has to go on alike.
    """
    return _SmoothRanks.apply(logits, batch)


class _SmoothRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        _keep(ctx, logits, batch)
        ctx.moments = batch.moments
        return batch.pair_sums.over_positives(), batch.pair_sums.over(batch.moments)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_positives: Tensor, by_negatives: Tensor) -> tuple[Tensor, None]:
        slopes = ctx.pair_sums.derivative()
        positives, cells = slopes.positives, slopes.cells_of_positives()
        negatives = Negatives(*ctx.saved_tensors)
        at_negatives = negatives.evaluate(slopes, slopes.polynomials(by_negatives), ctx.dtype)
        gradient = negatives.spread(at_negatives, ctx.shape.numel())
        # f'(s_i − s_i) is in the first line and in the last, and cancels.
        at_positives = slopes.evaluate(slopes.polynomials(by_positives), positives, cells)
        at_positives -= by_negatives * slopes.over(ctx.moments)
        at_positives -= by_positives * slopes.over(slopes.moments(positives, cells))
        gradient[ctx.index] = at_positives.to(ctx.dtype)[ctx.among_all]
        return gradient.view(ctx.shape), None


def _keep(ctx: Any, logits: Tensor, batch: Batch) -> None:
    """Keep what the backward pass needs; autograd frees the tensors of the negatives' size after it."""
    ctx.shape, ctx.dtype = logits.shape, logits.dtype
    ctx.pair_sums, ctx.index, ctx.among_all = batch.pair_sums, batch.index, batch.among_all
    ctx.save_for_backward(batch.negatives.scores, batch.negatives.cells, batch.negatives.selected)
