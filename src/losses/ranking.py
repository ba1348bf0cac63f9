"""What the ranking losses share: splitting a batch into positives and negatives, and the error-driven update."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from src.losses.pairwise import CellLookup, PairSums

# A CPU is fastest on chunks that stay in its cache, other devices on few large kernels.
_CHUNK_ON_CPU, _CHUNK_ELSEWHERE = 2**17, 2**25


def ranking_loss(
    logits: Tensor,
    targets: Tensor,
    delta: float,
    pair_weights: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]],
) -> Tensor:
    """A loss that is a weighted sum of f(s_j − s_i) over pairs, with the update of Equation 14 as its gradient.

    The update of positive i is −Σ_j L_ij / |P| and that of negative j is Σ_i L_ij / |P|, with L_ij = w_i f(s_j − s_i).

    Args:
        logits: floating tensor of any shape, raw scores.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: half width δ > 0 of the piecewise step function (Equation 21).
        pair_weights: takes, for the positives in ascending order of score, Σ_k≠i f(s_k − s_i) over the positives and
            Σ_j f(s_j − s_i) over the negatives, both float64 [P], and |N|. Returns Σ_j L_ij and w_i, float64 [P].

    Returns:
        The mean of Σ_j L_ij over the positives, a scalar; 0 with a zero update if there are none.
    """
    check_inputs(logits, targets, delta)
    return _RankingLoss.apply(logits, targets, delta, pair_weights)


class _RankingLoss(torch.autograd.Function):
    """Forward finds the cell of each negative and each positive's L_ij; backward turns them into the update."""

    @staticmethod
    def forward(ctx, logits, targets, delta, pair_weights) -> Tensor:
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        logits, targets = logits.flatten(), targets.flatten()
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        ctx.fill = None
        index = (targets == 1).nonzero().squeeze(1)
        if len(index) == 0:
            ctx.fill = 0.0
            return logits.new_zeros(())
        positives, order = logits[index].double().sort()
        negative = targets == 0
        scores = torch.where(negative, logits, torch.finfo(logits.dtype).min)
        if not (scores.amax() + positives.sum()).isfinite():
            ctx.fill = torch.nan
            return logits.new_tensor(torch.nan)

        # Negatives below s_min − δ are trivial: they enter no sum and get no update (Section 3.4.4).
        nontrivial = scores > positives[0] - delta
        selected = None
        if nontrivial.count_nonzero() < len(scores) // 4:
            selected = nontrivial.nonzero().squeeze(1)
            scores = scores[selected]
        pairs = PairSums(positives, delta)
        cells = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
        lookup = CellLookup(pairs.breakpoints, scores.dtype)
        for chunk, cell in _chunks(scores, cells):
            lookup(chunk, out=cell)

        positives_above = pairs.over_positives() - 0.5
        negatives_above = pairs.over(_chunks(scores, cells))
        losses, weights = pair_weights(positives_above, negatives_above, int(negative.count_nonzero()))
        ctx.save_for_backward(scores, cells, *pairs.lines(weights / len(index)), selected, index[order], losses)
        return losses.mean().to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.fill is not None:
            return gradient.new_full(ctx.shape, ctx.fill, dtype=ctx.dtype), None, None, None
        scores, cells, slope, intercept, selected, index, losses = ctx.saved_tensors
        # The incoming gradient is multiplied in before rounding: updates are about 1/|N|, too small for float16 until
        # a gradient scaler has had its say.
        slope, intercept = slope * gradient, intercept * gradient
        update = torch.empty(scores.shape, dtype=ctx.dtype, device=scores.device)
        for chunk, cell, out in _chunks(scores, cells, update):
            out.copy_(intercept.index_select(0, cell).addcmul_(slope.index_select(0, cell), chunk.double()))
        if selected is not None:
            update = update.new_zeros(ctx.shape).flatten().index_copy_(0, selected, update)
        update[index] = (losses * (-gradient / len(index))).to(ctx.dtype)
        return update.view(ctx.shape), None, None, None


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    size = _CHUNK_ON_CPU if tensors[0].is_cpu else _CHUNK_ELSEWHERE
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def check_inputs(logits: Tensor, targets: Tensor, delta: float = 1.0) -> None:
    """Raises a ValueError or TypeError that says what is wrong with the arguments of a loss."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be a floating tensor, not {logits.dtype}")
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}")
    if logits.device != targets.device:
        raise ValueError(f"logits are on {logits.device}, targets on {targets.device}")
    if not delta > 0:
        raise ValueError(f"delta must be greater than 0, not {delta}")
    if targets.numel() and targets.dtype != torch.bool:
        low, high = targets.aminmax()
        whole = not targets.is_floating_point() or bool((targets == targets.round()).all())
        if not (whole and low >= -1 and high <= 1):
            raise ValueError("targets must be 1 (positive), 0 (negative) or -1 (ignored)")
