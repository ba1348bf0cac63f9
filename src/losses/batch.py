"""A batch as the ranking losses see it: its positives, and its negatives in the cells between breakpoints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_inputs, compute_dtype
from .collectives import Collectives
from .fixed_gradient import Degenerate
from .pair_sums import HeavisideSums, PairSums, PiecewiseSums
from .score_lookup import ScoreLookup, in_chunks
from .sigmoid_sums import SigmoidSums
from .step_functions import check_step

# The sums over pairs for each step function, from the scores of the positives in ascending order and δ.
PAIR_SUMS: dict[str, Callable[[Tensor, float], PairSums]] = {
    "piecewise": PiecewiseSums,
    "heaviside": lambda positives, _: HeavisideSums(positives),
    "sigmoid": SigmoidSums,
}


@dataclass(frozen=True)
class Negatives:
    """The negatives that can have a part in a sum, among logits [N].

    Attributes:
        scores: float32 or float64 [n]. Where `selected` is None these are all logits, with the dtype's lowest number in
            place of whatever is not a negative.
        cells: int32 [n], the cell of each score.
        selected: int64 [n], the indices of the scores among the logits; None for all.
    """

    scores: Tensor
    cells: Tensor
    selected: Tensor | None

    def evaluate(self, pair_sums: PairSums, polynomials: list[Tensor], dtype: torch.dtype) -> Tensor:
        """Return the values of the polynomials at the scores, [n] in this dtype."""
        values = torch.empty(self.scores.shape, dtype=dtype, device=self.scores.device)
        for scores, cells, out in in_chunks(self.scores, self.cells, values):
            out.copy_(pair_sums.evaluate(polynomials, scores, cells))
        return values

    def spread(self, values: Tensor, size: int) -> Tensor:
        """Return values [n] at their places among the logits, and 0 elsewhere, [size]."""
        if self.selected is None:
            return values
        return values.new_zeros(size).index_copy_(0, self.selected, values)


@dataclass(frozen=True)
class Batch:
    """Positives and negatives among logits [N]; dtypes other than float64 are taken as float32.

    In a process group `pair_sums`, `moments` and `number_of_negatives` are those of all processes together, the rest is
    that of this process's logits.

    Attributes:
        pair_sums: the sums over pairs with these positives, P of them.
        moments: float64 [degree + 1, cells], the negatives' moments in each cell.
        number_of_negatives: |N|, trivial ones included.
        index: int64 [p], the indices of the positives among the logits, in ascending order of score.
        among_all: the same positives' indices among those of all processes, int64 [p], or a slice of all.
        negatives: those that may enter a sum.
    """

    pair_sums: PairSums
    moments: Tensor
    number_of_negatives: int
    index: Tensor
    among_all: Tensor | slice
    negatives: Negatives


def make_batch(
    logits: Tensor, targets: Tensor, step: str, *, delta: float, process_group: ProcessGroup | None
) -> Batch | Degenerate:
    """Return the batch that logits and targets make, or the constant that its loss is.

    Args:
        logits: floating tensor of any shape; nothing is recorded for autograd.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        step: the step function, see :func:`step_function`.
        delta: its δ > 0.
        process_group: see :func:`ap_loss`.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does.
    """
    check_step(step, delta)
    check_inputs(logits, targets)
    collectives = Collectives(process_group, logits.device)
    logits, targets = compute_dtype(logits.detach()).flatten(), targets.flatten()
    index = (targets == 1).nonzero().squeeze(1)
    positives, order, among_all = collectives.sort(logits[index].double())
    if len(positives) == 0:
        return Degenerate(0.0)
    is_negative = targets == 0
    lowest = torch.finfo(logits.dtype).min
    scores = torch.where(is_negative, logits, lowest)
    if not (collectives.extreme(scores, torch.amax, lowest) + positives.sum()).isfinite():
        return Degenerate(torch.nan)

    pair_sums = PAIR_SUMS[step](positives, delta)
    negatives = _in_cells(scores, pair_sums)
    moments = collectives.sum(pair_sums.moments(negatives.scores, negatives.cells))
    (number_of_negatives,) = collectives.totals(int(is_negative.count_nonzero()))
    return Batch(pair_sums, moments, number_of_negatives, index[order], among_all=among_all, negatives=negatives)


def _in_cells(scores: Tensor, pair_sums: PairSums) -> Negatives:
    """Return the cells of the scores, without the trivial negatives where these are many."""
    # Negatives below s_min − δ are trivial: they enter no sum and get no update (Section 3.4.4).
    is_nontrivial = scores >= pair_sums.positives[0] - pair_sums.reach
    selected = None
    # Picking scores out costs time too, and pays only if few remain.
    if is_nontrivial.count_nonzero() < len(scores) // 4:
        selected = is_nontrivial.nonzero().squeeze(1)
        scores = scores[selected]
    cells = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
    lookup = ScoreLookup(pair_sums.breakpoints, scores.dtype)
    for chunk, chunk_cells in in_chunks(scores, cells):
        lookup(chunk, out=chunk_cells)
    return Negatives(scores, cells, selected)
