"""Sums of the sigmoid, or of its derivative, over all pairs of a positive and a negative, without forming the pairs.

The sigmoid has no exact prefix sums, but it is analytic. In a cell a quarter of its scale wide, a polynomial of degree
seven through the Chebyshev points is the sigmoid to some 10⁻¹³, rounding in float64 included; and at 37 times its scale
it is 0 or 1 to the last digit of float64. So each positive has a polynomial in each of the cells about it, and a
constant beyond: what `pairwise` asks for. The cost is O(|N| + |P| log |P|), with larger constants than the piecewise
step function's; a matrix of pairs is never formed, neither in memory nor in tiles.
"""

import copy
import math

import torch
from torch import Tensor

from .pairwise import PairSums, suffix_sums

_CELLS_PER_SCALE = 4
_REACH = 37 * _CELLS_PER_SCALE  # cells on either side of a positive's own; exp(−37) < 2⁻⁵³
_CELLS = 2 * _REACH + 1
_POSITIVES_AT_A_TIME = 256  # whose polynomials take 5 MiB


class SigmoidSums(PairSums):
    """Sums of f(x) = 1/(1 + exp(−2x/δ)), or of its derivative (see :meth:`derivative`)."""

    degree = 7

    def __init__(self, positives: Tensor, delta: float):
        self.positives = positives
        self.scale = delta / 2
        self.width = self.scale / _CELLS_PER_SCALE
        self.reach = _REACH * self.width
        self.differentiated = False

        own = torch.floor(positives / self.width)
        self.phase = positives / self.width - own  # a positive's place in its own cell, from 0 to 1
        # Runs of positives whose surroundings touch; between two runs lies one cell, wide and without a slope.
        begins = torch.cat([own.new_ones(1, dtype=torch.bool), own.diff() > _CELLS])
        run = begins.cumsum(0) - 1
        begin = own[begins]
        end = own[torch.cat([begins[1:], begins.new_ones(1)])]
        lengths = (end - begin).long() + _CELLS + 1  # breakpoints of each run
        before = lengths.cumsum(0) - lengths
        number = torch.arange(int(lengths.sum()), device=own.device) - before.repeat_interleave(lengths)
        self.breakpoints = ((begin - _REACH).repeat_interleave(lengths) + number) * self.width
        self.centres = torch.cat([self.breakpoints[:1], self.breakpoints]) + self.width / 2
        self.first = before[run] + 1 + (own - begin[run]).long()  # the lowest cell about each positive

        k = torch.arange(self.degree + 1, dtype=torch.float64)
        nodes = torch.cos((2 * k + 1) * math.pi / (2 * (self.degree + 1)))
        self.coefficients_from_values = torch.linalg.inv(nodes[:, None] ** k).to(positives.device)
        self.nodes = ((nodes + 1) / 2).to(positives.device)

    def derivative(self) -> "SigmoidSums":
        """The same cells with f' in the place of f."""
        other = copy.copy(self)
        other.differentiated = True
        return other

    def argument(self, scores: Tensor, cells: Tensor) -> Tensor:
        # Far from all positives the polynomials are constant, and a score there must not overflow.
        return (scores - self.centres.index_select(0, cells)).mul_(2 / self.width).clamp_(-1, 1)

    def over(self, moments: list[Tensor]) -> Tensor:
        by_value = torch.stack(moments, 1) @ self.coefficients_from_values
        sums = [(values * by_value[cells]).sum((1, 2)) for cells, values in self._surroundings()]
        if not self.differentiated:
            sums = [torch.cat(sums) + suffix_sums(moments[0])[self.first + _CELLS]]
        return torch.cat(sums).clamp(min=0)

    def polynomials(self, weights: Tensor) -> list[Tensor]:
        size = len(self.breakpoints) + 1
        values = weights.new_zeros(size, self.degree + 1)
        for (cells, about), weight in zip(
            self._surroundings(), weights.split(_POSITIVES_AT_A_TIME), strict=True
        ):
            about = about * weight[:, None, None]
            values.index_add_(0, cells.flatten(), about.flatten(0, 1))
        coefficients = list((values @ self.coefficients_from_values.T).T.contiguous())
        if not self.differentiated:
            beyond = torch.bincount(self.first + _CELLS, weights, minlength=size)
            coefficients[0] = coefficients[0] + beyond.cumsum(0)
        return coefficients

    def _surroundings(self):
        """For some positives at a time: the cells about each, [p, cells], and f at the nodes, [p, cells, nodes]."""
        offsets = torch.arange(_CELLS, device=self.first.device)
        for first, phase in zip(
            self.first.split(_POSITIVES_AT_A_TIME), self.phase.split(_POSITIVES_AT_A_TIME), strict=True
        ):
            x = (offsets[:, None] - _REACH + self.nodes) - phase[:, None, None]
            f = torch.sigmoid(x / _CELLS_PER_SCALE)
            yield first[:, None] + offsets, f * (1 - f) / self.scale if self.differentiated else f
