"""The most violated ranking of the structured hinge loss (loss-augmented inference), for all positives at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from .pair_sums import suffix_sums


def most_violated(
    positives: Tensor, negatives: int, score: Callable[[Tensor], Tensor], *, fewest: Tensor, most: Tensor
) -> Tensor:
    """Return how many negatives the most violated ranking has above each positive.

    The objective is a sum over pairs: |P| times what it gains when the negative of rank m goes above positive i, with
    all higher negatives already there, is i / ((i + m − 1)(i + m)) + 2 (s_m − s_i) / |N|. A negative goes above
    positive i and all positives below it, so it is best placed where the sum of its gains from there on is largest; as
    the gains fall with m, that place only falls from each negative to the next.

    An example: positives with scores 2 and 0, negatives with 1.5, 0.5, −1 and −2.

        m   s_m   gain at 2   gain at 0   sum from 2 on   sum from 0 on   best place of the negative
        1   1.5        0.25        1.08            1.33            1.08   above 2
        2   0.5       −0.58        0.42           −0.17            0.42   between 2 and 0
        3    −1       −1.42       −0.40           −1.82           −0.40   below 0
        4    −2       −1.95       −0.93           −2.88           −0.93   below 0

    So the most violated ranking is 1.5, 2, 0.5, 0, −1, −2, and the result is [1, 2].

    All places are found at once, by bisection. Positives that share the bounds of their number form a group. The best
    place in a group of the negative whose rank is in the middle between these bounds decides, for each positive of the
    group, which half remains.

    Args:
        positives: float64 [P], in descending order.
        negatives: |N|.
        score: returns the scores of the negatives of given ranks 1 … |N|, float64. Only those of ranks that `fewest`
            and `most` leave open count.
        fewest, most: int64 [P], bounds of the result, ascending.

    Returns:
        int64 [P], ascending.
    """
    i = torch.arange(1, len(positives) + 1, device=positives.device, dtype=torch.float64)
    position = torch.arange(len(positives), device=positives.device)
    low, high = torch.zeros_like(fewest), torch.full_like(most, negatives)
    for _ in range(negatives.bit_length()):
        middle = (low + high + 1) // 2
        m = middle.clamp(min=1)
        gain = i / ((i + m - 1) * (i + m)) + (2 / negatives) * (score(m) - positives)
        is_new_group = (low.diff() != 0) | (high.diff() != 0)
        group = torch.cat([low.new_zeros(1), is_new_group.cumsum(0)])
        # The sums of the gains from each positive to the end of its group.
        to_the_last = suffix_sums(gain)
        after_group = torch.cat([to_the_last, to_the_last.new_zeros(1)])[torch.searchsorted(group, group, right=True)]
        sums = to_the_last - after_group
        best_sum = sums.new_zeros(len(positives)).scatter_reduce(0, group, sums, "amax")  # 0: below the whole group
        is_best = (sums == best_sum[group]) & (sums > 0)
        candidate = torch.where(is_best, position, len(position))
        best_position = torch.full_like(position, len(position)).scatter_reduce(0, group, candidate, "amin")
        is_above = (position >= best_position[group]) & (most >= middle) | (fewest >= middle)
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle - 1).clamp(min=low)
    return low
