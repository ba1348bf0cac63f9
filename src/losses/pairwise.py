"""Sums of the piecewise step function over all pairs of a positive and a negative, without forming the pairs.

With f of Equation 21, the ranking losses need Σ_j f(s_j − s_i) for every positive i, and their error-driven
update needs Σ_i w_i f(s_j − s_i) for every negative j. Both are piecewise linear, with breakpoints at s_i − δ and
s_i + δ: the 2|P| sorted breakpoints cut the score axis into cells, and in a cell a number and a sum of scores (or
a slope and an intercept) say everything. The cost is that of placing each negative in its cell once, O(|N| +
|P| log |P|), and the result is exact up to rounding in float64.
"""

import torch
from torch import Tensor


class PairSums:
    """The pairwise sums for one set of positives.

    Args:
        positives: float64 [P], the scores of the positives in ascending order, P ≥ 1.
        delta: half width δ > 0 of the piecewise step function.
    """

    def __init__(self, positives: Tensor, delta: float):
        self.positives = positives
        self.delta = delta
        self.breakpoints, self.order = torch.cat([positives - delta, positives + delta]).sort()
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(place), device=place.device)
        self.lower, self.upper = place.split(len(positives))
        self.width = self.breakpoints.diff()
        # No pair is on the sloped part of f in a cell wider than that part. Leaving such cells out keeps large gaps
        # between scores out of the cumulative sums, where they would swallow the digits of all the rest.
        self.sloped = self.width <= 2 * delta * (1 + 1e-9)

    def over_positives(self) -> Tensor:
        """Σ_k f(s_k − s_i) over all positives k, i itself included with f(0) = ½; float64 [P]."""
        return self.over([(self.positives, torch.searchsorted(self.breakpoints, self.positives))])

    def over(self, chunks: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Σ_j f(s_j − s_i) over all scores j, which come in chunks of (scores, their cells); float64 [P]."""
        size = len(self.breakpoints) + 1
        count = sum(torch.bincount(cells, minlength=size) for _, cells in chunks)
        total = sum(torch.bincount(cells, scores.double(), minlength=size) for scores, cells in chunks)
        # Σ_j f(s_j − s_i) = 1/2δ ∫ N(t) dt over [s_i − δ, s_i + δ], where N(t) counts the scores above t.
        above = _suffix_sums(count)[2:]
        integral = above * self.width + total[1:-1] - count[1:-1] * self.breakpoints[:-1]
        integral = _suffix_sums(torch.where(self.sloped, integral, 0))
        integral = torch.cat([integral, integral.new_zeros(1)])
        return (integral[self.lower] - integral[self.upper]).clamp(min=0) / (2 * self.delta)

    def lines(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and intercept, in each cell, of Σ_i w_i f(s − s_i) as a function of s.

        Args:
            weights: float64 [P], the w_i.

        Returns:
            Two float64 tensors [2P + 1], to be indexed by cell.
        """
        rise = weights / (2 * self.delta)
        slope = torch.cat([rise, -rise])[self.order].cumsum(0)[:-1]
        slope = torch.where(self.sloped, slope, 0)
        zero = slope.new_zeros(1)
        value = torch.cat([zero, (slope * self.width).cumsum(0)])
        slope = torch.cat([slope, zero])
        return torch.cat([zero, slope]), torch.cat([zero, value - slope * self.breakpoints])


def _suffix_sums(x: Tensor) -> Tensor:
    return x.flip(0).cumsum(0).flip(0)


class CellLookup:
    """Finds the cell of each score: how many breakpoints lie below it.

    A binary search for every score would cost more than all the rest of the loss. A uniform grid laid over the
    breakpoints answers by one table look-up for all scores in grid intervals that hold no breakpoint, which are
    nearly all; only the scores in the others are searched.

    Args:
        breakpoints: float64 [M], ascending.
        dtype: float32 or float64, that of the scores to come.
    """

    def __init__(self, breakpoints: Tensor, dtype: torch.dtype):
        self.breakpoints = breakpoints
        self.size = min(max(32 * len(breakpoints), 2**10), 2**17)
        nearest = breakpoints.to(dtype)
        infinity = nearest.new_tensor(torch.inf)
        below = torch.where(nearest > breakpoints, torch.nextafter(nearest, -infinity), nearest)
        above = torch.where(nearest < breakpoints, torch.nextafter(nearest, infinity), nearest)
        self.origin = below[0].item()
        self.scale = self.size / max(above[-1].item() - self.origin, self.size * torch.finfo(dtype).tiny)
        # Rounding keeps the interval a monotone function of the score. So a score outside the intervals from that of
        # `below` to that of `above` is on the known side of the breakpoint, whatever was rounded.
        first, last = self._intervals(below).long(), self._intervals(above).long()
        intervals = self.size + 3
        begun = torch.bincount(first, minlength=intervals).cumsum(0)
        passed = torch.bincount(last + 1, minlength=intervals)[:intervals].cumsum(0)
        self.table = torch.where(begun == passed, passed, -1).int()

    def _intervals(self, scores: Tensor) -> Tensor:
        # One is added before truncation so that every score below the origin falls into interval 0.
        return (scores - self.origin).mul_(self.scale).add_(1).clamp_(0, self.size + 2).int()

    def __call__(self, scores: Tensor, out: Tensor) -> None:
        """Writes the cells of scores [n] into an int32 tensor [n]."""
        torch.index_select(self.table, 0, self._intervals(scores), out=out)
        unknown = (out < 0).nonzero().squeeze(1)
        if len(unknown):
            out[unknown] = torch.searchsorted(self.breakpoints, scores[unknown].double(), out_int32=True)
