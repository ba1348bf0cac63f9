"""Sums of the sigmoid, or of its derivative, over all pairs of a positive and a negative, without forming the pairs.

The sigmoid has no exact prefix sums, but it is analytic. In a cell a quarter of its scale wide, a polynomial of degree
seven through the Chebyshev points equals the sigmoid to about 10⁻¹³, including float64 rounding; and at 37 times its
scale it is 0 or 1 to the last digit of float64. So each positive has a polynomial in each of the cells about it, and a
constant beyond: what `PairSums` needs. As a positive's place within its own cell can be interpolated too, one small
matrix leads from any cell with positives to the cells about it. The cost is O(|N| + |P| log |P|), with larger constants
than the piecewise step function's; a matrix of pairs is never formed, neither in memory nor in tiles.
"""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .pair_sums import PairSums, add_at, suffix_sums

_CELLS_PER_SCALE = 4
_REACH = 37 * _CELLS_PER_SCALE  # cells on either side of a positive's own; exp(−37) < 2⁻⁵³
_CELLS = 2 * _REACH + 1
_CELLS_AT_A_TIME = 256  # whose surroundings take 5 MiB


class SigmoidSums(PairSums):
    """Sums of f(x) = 1/(1 + exp(−2x/δ)), or of its derivative (see :meth:`derivative`)."""

    degree = 7

    def __init__(self, positives: Tensor, delta: float):
        self.positives = positives
        self.scale = delta / 2
        self.width = self.scale / _CELLS_PER_SCALE
        self.reach = _REACH * self.width

        own = torch.floor(positives / self.width)
        # The cells that hold positives, and for each positive which of them.
        occupied, self.owner = own.unique_consecutive(return_inverse=True)
        # Runs of occupied cells whose surroundings touch; between two runs lies one cell, wide and without a slope.
        begins = torch.cat([occupied.new_ones(1, dtype=torch.bool), occupied.diff() > _CELLS])
        run = begins.cumsum(0) - 1
        begin = occupied[begins]
        end = occupied[torch.cat([begins[1:], begins.new_ones(1)])]
        lengths = (end - begin).long() + _CELLS + 1  # breakpoints of each run
        before = lengths.cumsum(0) - lengths
        number = torch.arange(int(lengths.sum()), device=own.device) - before.repeat_interleave(lengths)
        self.breakpoints = ((begin - _REACH).repeat_interleave(lengths) + number) * self.width
        self.centres = torch.cat([self.breakpoints[:1], self.breakpoints]) + self.width / 2
        self.first = before[run] + 1 + (occupied - begin[run]).long()  # the lowest cell about each occupied one

        k = torch.arange(self.degree + 1, dtype=torch.float64, device="cpu")
        nodes = torch.cos((2 * k + 1) * math.pi / (2 * (self.degree + 1)))
        coefficients_from_values = torch.linalg.inv(nodes[:, None] ** k)
        offsets = torch.arange(_CELLS, device="cpu")[:, None, None] - _REACH
        f = torch.sigmoid((offsets + (nodes[:, None] - nodes) / 2) / _CELLS_PER_SCALE)
        self.coefficients_from_values = coefficients_from_values.to(positives.device)
        # f from the nodes of a positive's cell [last dimension] to those of the cells about it.
        self.f = f.flatten(0, 1).to(positives.device)
        self.constant_beyond = True
        # A positive's place in its own cell, from −1 to 1, as the weights of the nodes' values there.
        argument = (positives / self.width - own) * 2 - 1
        self.interpolation = argument[:, None] ** k.to(positives.device) @ self.coefficients_from_values

    def derivative(self) -> "SigmoidSums":
        """Return these sums over the same cells with f' in the place of f."""
        other = copy.copy(self)
        other.f = self.f * (1 - self.f) / self.scale
        other.constant_beyond = False
        return other

    def argument(self, scores: Tensor, cells: Tensor) -> Tensor:
        # Far from all positives the polynomials are constant, and a score there must not overflow.
        return (scores - self.centres.index_select(0, cells)).mul_(2 / self.width).clamp_(-1, 1)

    def over(self, moments: Tensor) -> Tensor:
        by_value = moments.T.contiguous() @ self.coefficients_from_values
        sums = torch.cat([by_value[cells].flatten(1) @ self.f for cells in self._surroundings()])
        if self.constant_beyond:
            sums += suffix_sums(moments[0])[self.first + _CELLS, None]
        return (self.interpolation * sums[self.owner]).sum(1).clamp(min=0)

    def polynomials(self, weights: Tensor) -> list[Tensor]:
        size = len(self.breakpoints) + 1
        by_node = weights.new_zeros(len(self.first), self.degree + 1)
        by_node.index_add_(0, self.owner, self.interpolation * weights[:, None])
        values = weights.new_zeros(size, self.degree + 1)
        for cells, weight in zip(self._surroundings(), by_node.split(_CELLS_AT_A_TIME), strict=True):
            values.index_add_(0, cells.flatten(), (weight @ self.f.T).view(-1, self.degree + 1))
        coefficients = list((values @ self.coefficients_from_values.T).T.contiguous())
        if self.constant_beyond:
            beyond = weights.new_zeros(size)
            add_at(beyond, self.first[self.owner] + _CELLS, weights)
            coefficients[0] = coefficients[0] + beyond.cumsum(0)
        return coefficients

    def _surroundings(self) -> Iterator[Tensor]:
        """Yield, for some of the occupied cells at a time, the cells about each: int64 [c, cells]."""
        offsets = torch.arange(_CELLS, device=self.first.device)
        return (first[:, None] + offsets for first in self.first.split(_CELLS_AT_A_TIME))
