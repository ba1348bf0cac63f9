"""Split logits into positives, negatives and entries that do not count."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import LogitsTooLarge, check_float64
from .chunks import in_chunks, nonzero
from .collectives import Collectives

# Sums of float64 scores below this do not overflow.
_LARGEST = 1e150


@dataclass(frozen=True)
class Split:
    """Positives and negatives among logits [N].

    A negative of −∞ ranks last: it counts in `number_of_negatives` and in nothing else.

    Attributes:
        scores: float32 or float64 [N], those of the negatives, and −∞ in place of everything that is not a negative.
        positives: float64 [P], the positives of all processes in order.
        index: int64 [p], the indices among the logits of this process's positives, in the same order.
        among_all: the same positives' indices among those of all processes, int64 [p], or a slice of all.
        number_of_negatives: |N| on all processes.
        highest_negative: of all processes, −∞ without negatives.
        largest_positive: the largest magnitude of a positive, 0 without positives.
        is_finite: whether no positive is infinite or NaN, and no negative +∞ or NaN, on any process.
    """

    scores: Tensor
    positives: Tensor
    index: Tensor
    among_all: Tensor | slice
    number_of_negatives: int
    highest_negative: float
    largest_positive: float
    is_finite: bool


def split(logits: Tensor, targets: Tensor, collectives: Collectives, *, descending: bool = False) -> Split:
    """Split logits of any shape by their targets of the same shape; the positives in ascending order by default.

    Raises:
        LogitsTooLarge: a score is too large to be summed in float64.
        ValueError: the device has no float64.
    """
    check_float64(logits.device)
    logits, targets = logits.reshape(-1), targets.reshape(-1)
    scores = torch.empty(len(logits), dtype=torch.promote_types(logits.dtype, torch.float32), device=logits.device)
    for chunk, out in in_chunks(logits, scores):
        out.copy_(chunk)
    others = sum(int(chunk.count_nonzero()) for (chunk,) in in_chunks(targets))
    if 16 * others < len(targets):
        not_negative = nonzero(targets)
        scores.index_fill_(0, not_negative, -torch.inf)
        index = not_negative[targets[not_negative] == 1]
    else:  # many entries are ignored, so masks are faster
        scores.masked_fill_(targets != 0, -torch.inf)
        index = (targets == 1).nonzero().squeeze(1)
    positives, order, among_all = collectives.sort(logits[index].double(), descending=descending)
    top = collectives.extreme(scores, torch.amax, -torch.inf)
    highest_negative, *ends = torch.cat([top.double()[None], positives[:1], positives[-1:]]).tolist()
    largest_positive = max(map(abs, ends), default=0.0)
    is_finite = highest_negative < math.inf and all(map(math.isfinite, ends))
    if is_finite and max(largest_positive, highest_negative) > _LARGEST:
        raise LogitsTooLarge(f"logits of more than {_LARGEST:g} are too large to be summed in float64")
    (number_of_negatives,) = collectives.totals(len(logits) - others)
    return Split(
        scores=scores,
        positives=positives,
        index=index[order],
        among_all=among_all,
        number_of_negatives=number_of_negatives,
        highest_negative=highest_negative,
        largest_positive=largest_positive,
        is_finite=is_finite,
    )
