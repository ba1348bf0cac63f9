"""Sums of a step function over all pairs of a positive and a negative, without forming the pairs.

The ranking losses need Σ_j f(s_j − s_i) for every positive i, and their error-driven update needs Σ_i w_i f(s_j − s_i)
for every negative j. As a function of s, the sum Σ_i w_i f(s − s_i) is a polynomial of low degree in each of the cells
into which a few breakpoints cut the score axis: a constant for the Heaviside step function, whose breakpoints are the
s_i; a line for the piecewise one, with breakpoints s_i ± δ. So the update is one look-up and one polynomial a
negative. Conversely, the count, sum, sum of squares, … of the scores in a cell are all that matters about its
negatives. The cost is that of placing each negative in its cell once, O(|N| + |P| log |P|), and the result is exact up
to rounding in float64.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .chunks import in_chunks


class PairSums(ABC):
    """The sums over pairs for one step function and one set of positives.

    Attributes:
        positives: float64 [P], the scores of the positives in ascending order, P ≥ 1.
        breakpoints: float64 [M], ascending. A score's cell is the number of breakpoints that are at most the score.
        degree: of the polynomials.
        reach: f(x) = 0 for all x < −reach.
    """

    positives: Tensor
    breakpoints: Tensor
    degree: int
    reach: float

    @abstractmethod
    def over(self, moments: Tensor) -> Tensor:
        """Return Σ_j f(s_j − s_i) over the scores with these moments, for every positive i; float64 [P]."""

    @abstractmethod
    def polynomials(self, weights: Tensor) -> list[Tensor]:
        """Return the coefficients of Σ_i w_i f(s − s_i) in each cell, from the constant on: degree + 1 float64 [M + 1].

        Args:
            weights: float64 [P], the w_i.
        """

    def derivative(self) -> "PairSums":
        """Return these sums over the same cells with f' in place of f; only for the sigmoid."""
        raise NotImplementedError(f"{type(self).__name__} has no derivative")

    def argument(self, scores: Tensor, cells: Tensor) -> Tensor:
        """Return the coordinates of scores [n] in their cells, the polynomials' argument; float64 [n]."""
        return scores.double()

    def moments(self, scores: Tensor, cells: Tensor) -> Tensor:
        """Return the sums of the powers 0 … degree of the coordinates in each cell, float64 [degree + 1, M + 1]."""
        size = len(self.breakpoints) + 1
        counts = torch.zeros(size, dtype=torch.int64, device=scores.device)
        ones = counts.new_ones(len(in_chunks(scores)[0][0]))
        sums = self.breakpoints.new_zeros(self.degree, size)
        # A sum of sums over parts keeps more digits than one long sum would.
        for part in in_chunks(scores, cells, times=4):
            sums_of_part = torch.zeros_like(sums)
            for chunk, chunk_cells in in_chunks(*part):
                index = chunk_cells.long()
                add_at(counts, index, ones[: len(index)])
                if self.degree > 0:
                    argument = power = self.argument(chunk, chunk_cells)
                    for total in sums_of_part[:-1]:
                        add_at(total, index, power)
                        power = power * argument
                    add_at(sums_of_part[-1], index, power)
            sums += sums_of_part
        return torch.cat([counts[None].double(), sums])

    def over_positives(self) -> Tensor:
        """Return Σ_k≠i f(s_k − s_i) over the positives, for every positive i; float64 [P]."""
        return self.over(self.moments(self.positives, self.cells_of_positives())) - 0.5  # without k = i: f(0) = ½

    def cells_of_positives(self) -> Tensor:
        """Return the positives' own cells, int32 [P]."""
        return torch.searchsorted(self.breakpoints, self.positives, right=True, out_int32=True)

    def evaluate(self, polynomials: list[Tensor], scores: Tensor, cells: Tensor) -> Tensor:
        """Return the values of the polynomials at scores [n] in their cells, float64 [n]."""
        value = polynomials[-1].index_select(0, cells)
        if self.degree > 0:
            argument = self.argument(scores, cells)
            for coefficient in reversed(polynomials[:-1]):
                value = coefficient.index_select(0, cells).addcmul_(value, argument)
        return value


class HeavisideSums(PairSums):
    """Sums of the Heaviside step function (Equation 4).

    Ties are broken into a proper ranking (Section 3.1.2): a negative ranks above a positive of its score, as H(0) = 1
    requires, and of equal positives the later one ranks above the earlier.
    """

    degree = 0
    reach = 0.0

    def __init__(self, positives: Tensor):
        self.positives = self.breakpoints = positives

    def over(self, moments: Tensor) -> Tensor:
        return suffix_sums(moments[0])[1:]

    def over_positives(self) -> Tensor:
        above = torch.arange(len(self.positives) - 1, -1, -1, device=self.positives.device)
        return above.to(self.positives.dtype)

    def polynomials(self, weights: Tensor) -> list[Tensor]:
        return [torch.cat([weights.new_zeros(1), weights.cumsum(0)])]


class PiecewiseSums(PairSums):
    """Sums of the piecewise step function (Equation 21)."""

    degree = 1

    def __init__(self, positives: Tensor, delta: float):
        self.positives, self.delta, self.reach = positives, delta, delta
        self.breakpoints, self.order = torch.cat([positives - delta, positives + delta]).sort()
        position = torch.empty_like(self.order)
        position[self.order] = torch.arange(len(position), device=position.device)
        self.lower, self.upper = position.split(len(positives))  # the indices of s_i − δ and s_i + δ
        self.width = self.breakpoints.diff()
        # In a cell above more of the s_i − δ than of the s_i + δ, some pair is on the sloped part of f. Leaving out the
        # other cells keeps large gaps between scores out of the cumulative sums, where they would swallow the digits
        # of all the rest; gaps no wider than a slope may stay, as they add nothing.
        steps = torch.where(self.order < len(positives), 1, -1)
        self.sloped = (steps.cumsum(0)[:-1] > 0) | (self.width <= 2 * delta)

    def over(self, moments: Tensor) -> Tensor:
        count, total = moments
        # Σ_j f(s_j − s_i) = 1/2δ ∫ N(t) dt over [s_i − δ, s_i + δ], where N(t) counts the scores above t.
        above = suffix_sums(count)[2:]
        integral = above * self.width + total[1:-1] - count[1:-1] * self.breakpoints[:-1]
        integral = suffix_sums(torch.where(self.sloped, integral, 0))
        integral = torch.cat([integral, integral.new_zeros(1)])
        return (integral[self.lower] - integral[self.upper]).clamp(min=0) / (2 * self.delta)

    def polynomials(self, weights: Tensor) -> list[Tensor]:
        rise = weights / (2 * self.delta)
        slope = torch.cat([rise, -rise])[self.order].cumsum(0)[:-1]
        slope = torch.where(self.sloped, slope, 0)
        zero = slope.new_zeros(1)
        value = torch.cat([zero, (slope * self.width).cumsum(0)])
        slope = torch.cat([slope, zero])
        return [torch.cat([zero, value - slope * self.breakpoints]), torch.cat([zero, slope])]


def add_at(totals: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values [n] to the totals [m] of their dtype at an index, int64 [n].

    The result is repeatable bit for bit, except for floats on a GPU outside torch's deterministic mode: these are added
    in no fixed order, so that the last digits of float64 may differ.
    """
    if not values.is_cuda or values.is_floating_point() and torch.are_deterministic_algorithms_enabled():
        totals.scatter_add_(0, index, values)
    else:  # in shared memory, which is faster where many have one index
        weights = values if values.is_floating_point() else None
        totals += torch.bincount(index, weights, minlength=len(totals))


def suffix_sums(x: Tensor) -> Tensor:
    """Return for each entry of x [n] the sum of it and all that follow."""
    return x.flip(0).cumsum(0).flip(0)
