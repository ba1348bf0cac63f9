"""A batch in the form that the ranking losses use: its positives, and its negatives in cells between breakpoints."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_inputs
from .chunks import in_chunks, indices_from
from .collectives import Collectives
from .outcome import Outcome, not_a_number, zero
from .pair_sums import HeavisideSums, PairSums, PiecewiseSums
from .score_lookup import ScoreLookup
from .sigmoid_sums import SigmoidSums
from .split import Split, split
from .step_functions import check_digits, check_step

# The sums over pairs for each step function, from the scores of the positives in ascending order and δ.
PAIR_SUMS: dict[str, Callable[[Tensor, float], PairSums]] = {
    "piecewise": PiecewiseSums,
    "heaviside": lambda positives, _: HeavisideSums(positives),
    "sigmoid": SigmoidSums,
}


@dataclass(frozen=True)
class Negatives:
    """The negatives that can contribute to a sum, among logits [N].

    Attributes:
        scores: float32 or float64 [n]. If `selected` is None these are all logits, with the dtype's lowest number in
            place of −∞ and of everything that is not a negative.
        cells: int32 [n], the cell of each score; 0 for those replaced.
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
        result = values.new_empty(size)
        for (chunk,) in in_chunks(result):
            chunk.zero_()
        return result.index_copy_(0, self.selected, values)


@dataclass(frozen=True)
class Batch:
    """Positives and negatives among logits [N]; dtypes other than float64 are converted to float32.

    In a process group, `pair_sums`, `moments` and `number_of_negatives` are those of all processes together; the rest
    is that of this process's logits.

    Attributes:
        shape: that of the logits.
        loss_dtype: that of the logits, or float32 if theirs is narrower.
        pair_sums: the sums over pairs with these positives, P of them.
        moments: float64 [degree + 1, cells], the negatives' moments in each cell.
        number_of_negatives: |N|, trivial ones included.
        index: int64 [p], the indices of the positives among the logits, in ascending order of score.
        among_all: the same positives' indices among those of all processes, int64 [p], or a slice of all.
        negatives: those that can contribute to a sum.
    """

    shape: torch.Size
    loss_dtype: torch.dtype
    pair_sums: PairSums
    moments: Tensor
    number_of_negatives: int
    index: Tensor
    among_all: Tensor | slice
    negatives: Negatives


def make_batch(
    logits: Tensor, targets: Tensor, step: str, *, delta: float, process_group: ProcessGroup | None
) -> Batch | Outcome:
    """Return the batch that logits and targets make, or the loss if they cannot be ranked.

    Args:
        logits: floating tensor of any shape, without autograd.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        step: the step function, see :func:`step_function`.
        delta: its δ > 0.
        process_group: see :func:`ap_loss`.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does.
    """
    check_step(step, delta)
    delta = float(delta)  # NumPy's float32 would compute in float32
    targets = check_inputs(logits, targets)
    collectives = Collectives(process_group, logits.device)
    parts = split(logits, targets, collectives)
    if not parts.is_finite:
        return not_a_number(logits, targets)
    if len(parts.positives) == 0:
        return zero(logits)
    check_digits(step, delta, parts.largest_positive)

    pair_sums = PAIR_SUMS[step](parts.positives, delta)
    negatives = _in_cells(parts, pair_sums)
    return Batch(
        shape=logits.shape,
        loss_dtype=parts.scores.dtype,
        pair_sums=pair_sums,
        moments=collectives.sum(pair_sums.moments(negatives.scores, negatives.cells)),
        number_of_negatives=parts.number_of_negatives,
        index=parts.index,
        among_all=parts.among_all,
        negatives=negatives,
    )


def _in_cells(parts: Split, pair_sums: PairSums) -> Negatives:
    """Return the negatives with their cells; trivial negatives are left out if there are many."""
    # Negatives below s_min − δ are trivial: they contribute to no sum and get no update (Section 3.4.4). In comparisons
    # with float32 scores the bound is rounded to float32, which moves no score to its other side.
    bound = pair_sums.positives[0] - pair_sums.reach
    scores, selected = parts.scores, None
    # On a CPU a comparison is several times faster if its result is 0 or 1 in the scores' own dtype, not a bool.
    chunks = in_chunks(scores)
    reaches = torch.empty_like(chunks[0][0])
    number = sum(int(torch.ge(chunk, bound, out=reaches[: len(chunk)]).sum()) for (chunk,) in chunks)
    # Picking scores out costs time too, and pays only if few remain.
    if number < len(scores) // 4:
        selected = indices_from(scores, bound)
        scores = scores.index_select(0, selected)
    cells = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
    lookup = ScoreLookup(pair_sums.breakpoints, scores.dtype)
    for chunk, chunk_cells in in_chunks(scores, cells):
        lookup(chunk, out=chunk_cells)
        chunk.clamp_(min=torch.finfo(scores.dtype).min)  # a polynomial that is 0 would be NaN at −∞
    return Negatives(scores, cells, selected)
