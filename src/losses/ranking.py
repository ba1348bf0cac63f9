"""What the ranking losses share: a batch as positives and negatives in cells, and the error-driven update."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from .collectives import Collectives
from .pair_sums import HeavisideSums, PairSums, PiecewiseSums
from .score_lookup import ScoreLookup, in_chunks
from .sigmoid_sums import SigmoidSums
from .step_functions import check_step


@dataclass
class Batch:
    """The positives and negatives among logits [N]; dtypes other than float64 are taken as float32.

    Of the processes of a group each has the same pairs, moments and number of negatives, and the rest for its logits.
    """

    pairs: PairSums
    index: Tensor  # int64 [p]: the positives' places among the logits, in ascending order of score
    among_all: Tensor | slice  # an index: the places of the same positives among those of all processes, [P]
    negatives: int
    scores: Tensor  # those of the negatives that may have a part in a sum, others among them far below
    selected: Tensor | None  # int64: the places of `scores` among the logits; None for all
    cells: Tensor  # int32: the cell of each of `scores`
    moments: Tensor

    @classmethod
    def of(cls, logits: Tensor, targets: Tensor, step: str, delta: float, exchange: Collectives) -> "Batch | float":
        """The batch, or the number that its loss is: 0 without positives, NaN if a score is not finite."""
        logits, targets = compute_dtype(logits).flatten(), targets.flatten()
        index = (targets == 1).nonzero().squeeze(1)
        positives, order, among_all = exchange.sort(logits[index].double())
        if len(positives) == 0:
            return 0.0
        negative = targets == 0
        lowest = torch.finfo(logits.dtype).min
        scores = torch.where(negative, logits, lowest)
        if not (exchange.extreme(scores, torch.amax, lowest) + positives.sum()).isfinite():
            return torch.nan

        pairs = _pair_sums(positives, step, delta)
        # Negatives below s_min − δ are trivial: they enter no sum and get no update (Section 3.4.4).
        nontrivial = scores >= positives[0] - pairs.reach
        selected = None
        if nontrivial.count_nonzero() < len(scores) // 4:
            selected = nontrivial.nonzero().squeeze(1)
            scores = scores[selected]
        cells = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
        lookup = ScoreLookup(pairs.breakpoints, scores.dtype)
        for chunk, cell in in_chunks(scores, cells):
            lookup(chunk, out=cell)
        moments = exchange.sum(pairs.moments(scores, cells))
        (negatives,) = exchange.totals(int(negative.count_nonzero()))
        return cls(pairs, index[order], among_all, negatives, scores, selected, cells, moments)

    @property
    def large(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What autograd is to keep for the backward pass, and to let go after it."""
        return self.scores, self.cells, self.selected


def _pair_sums(positives: Tensor, step: str, delta: float) -> PairSums:
    if step == "heaviside":
        return HeavisideSums(positives)
    return (SigmoidSums if step == "sigmoid" else PiecewiseSums)(positives, delta)


def ranking_loss(
    logits: Tensor,
    targets: Tensor,
    step: str,
    delta: float,
    process_group: ProcessGroup | None,
    pair_weights: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]],
) -> Tensor:
    """A loss that is a weighted sum of f(s_j − s_i) over pairs, with the update of Equation 14 as its gradient.

    The update of positive i is −Σ_j L_ij / |P| and that of negative j is Σ_i L_ij / |P|, with L_ij = w_i f(s_j − s_i).

    Args:
        logits: floating tensor of any shape, raw scores.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        step, delta: which step function f, see :func:`src.losses.step_function`.
        process_group: see :func:`src.losses.ap_loss`. The positives and negatives are those of all its processes.
        pair_weights: takes, for the positives in ascending order of score, Σ_k≠i f(s_k − s_i) over the positives and
            Σ_j f(s_j − s_i) over the negatives, both float64 [P], and |N|. Returns Σ_j L_ij and w_i, float64 [P].

    Returns:
        The mean of Σ_j L_ij over the positives, a scalar; 0 with a zero update if there are none.
    """
    check_step(step, delta)
    check_inputs(logits, targets)
    return _RankingLoss.apply(logits, targets, step, delta, process_group, pair_weights)


class _RankingLoss(torch.autograd.Function):
    """Forward finds the cell of each negative and each positive's L_ij; backward turns them into the update."""

    @staticmethod
    def forward(ctx, logits, targets, step, delta, process_group, pair_weights) -> Tensor:
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        batch = Batch.of(logits, targets, step, delta, Collectives(process_group, logits.device))
        ctx.fill = batch if isinstance(batch, float) else None
        if ctx.fill is not None:
            return compute_dtype(logits).new_tensor(ctx.fill)
        positives_above = batch.pairs.over_positives()
        negatives_above = batch.pairs.over(batch.moments)
        ctx.losses, weights = pair_weights(positives_above, negatives_above, batch.negatives)
        ctx.pairs, ctx.index, ctx.among_all = batch.pairs, batch.index, batch.among_all
        ctx.polynomials = batch.pairs.polynomials(weights / len(weights))
        ctx.save_for_backward(*batch.large)
        return ctx.losses.mean().to(torch.promote_types(logits.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        if ctx.fill is not None:
            return gradient.new_full(ctx.shape, ctx.fill, dtype=ctx.dtype), None, None, None, None, None
        # The incoming gradient is multiplied in before rounding: updates are about 1/|N|, too small for float16 until
        # a gradient scaler has had its say.
        polynomials = [coefficient * gradient for coefficient in ctx.polynomials]
        update = _at_negatives(ctx, ctx.pairs, polynomials)
        update[ctx.index] = (ctx.losses * (-gradient / len(ctx.losses))).to(ctx.dtype)[ctx.among_all]
        return update.view(ctx.shape), None, None, None, None, None


def _at_negatives(ctx, pairs: PairSums, polynomials: list[Tensor]) -> Tensor:
    """The values of the polynomials at the negatives and 0 elsewhere, for all logits in one dimension."""
    scores, cells, selected = ctx.saved_tensors
    values = torch.empty(scores.shape, dtype=ctx.dtype, device=scores.device)
    for chunk, cell, out in in_chunks(scores, cells, values):
        out.copy_(pairs.evaluate(polynomials, chunk, cell))
    if selected is None:
        return values
    return values.new_zeros(ctx.shape).flatten().index_copy_(0, selected, values)


def smooth_ranks(
    logits: Tensor, targets: Tensor, delta: float, process_group: ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """How many positives and how many negatives rank above each positive, with the sigmoid for a step function.

    Unlike the rest of this module this is a smooth function, and ``backward()`` gives its true gradient.

    Returns:
        Σ_k≠i f(s_k − s_i) over the positives and Σ_j f(s_j − s_i) over the negatives, in ascending order of s_i; both
        float64 [P]. With a group, positives and negatives are those of all its processes; each is to go on alike.
    """
    check_step("sigmoid", delta)
    check_inputs(logits, targets)
    return _SmoothRanks.apply(logits, targets, delta, process_group)


class _SmoothRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, delta, process_group) -> tuple[Tensor, Tensor]:
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        exchange = Collectives(process_group, logits.device)
        batch = Batch.of(logits, targets, "sigmoid", delta, exchange)
        ctx.fill = batch if isinstance(batch, float) else None
        if ctx.fill is not None:
            (positives,) = exchange.totals(int((targets == 1).sum()))
            sums = logits.new_full((positives,), ctx.fill, dtype=torch.float64)
            return sums, sums.clone()
        ctx.pairs, ctx.index, ctx.among_all, ctx.moments = batch.pairs, batch.index, batch.among_all, batch.moments
        ctx.save_for_backward(*batch.large)
        return batch.pairs.over_positives(), batch.pairs.over(batch.moments)

    @staticmethod
    @once_differentiable
    def backward(ctx, by_positives: Tensor, by_negatives: Tensor):
        if ctx.fill is not None:
            return by_positives.new_full(ctx.shape, ctx.fill, dtype=ctx.dtype), None, None, None
        slopes = ctx.pairs.derivative()
        positives, cells = slopes.positives, slopes.cells_of_positives()
        gradient = _at_negatives(ctx, slopes, slopes.polynomials(by_negatives))
        # f'(s_i − s_i) is in the first line and in the last, and cancels.
        at_positives = slopes.evaluate(slopes.polynomials(by_positives), positives, cells)
        at_positives -= by_negatives * slopes.over(ctx.moments)
        at_positives -= by_positives * slopes.over(slopes.moments(positives, cells))
        gradient[ctx.index] = at_positives.to(ctx.dtype)[ctx.among_all]
        return gradient.view(ctx.shape), None, None, None


def compute_dtype(x: Tensor) -> Tensor:
    """The tensor in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_inputs(logits: Tensor, targets: Tensor) -> None:
    """Raises a ValueError or TypeError that says what is wrong with the arguments of a loss."""
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}")
    check_values(logits, targets)


def check_values(logits: Tensor, targets: Tensor) -> None:
    """As :func:`check_inputs`, for logits and targets whose shapes differ."""
    if not logits.is_floating_point():
        raise TypeError(f"logits must be a floating tensor, not {logits.dtype}")
    if logits.device != targets.device:
        raise ValueError(f"logits are on {logits.device}, targets on {targets.device}")
    if targets.numel() and targets.dtype != torch.bool:
        low, high = targets.aminmax()
        whole = not targets.is_floating_point() or bool((targets == targets.round()).all())
        if not (whole and low >= -1 and high <= 1):
            raise ValueError("targets must be 1 (positive), 0 (negative) or -1 (ignored)")
