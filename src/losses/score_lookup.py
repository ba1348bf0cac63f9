"""Look up the cells of millions of scores among a few sorted breakpoints."""

import torch
from torch import Tensor


class Grid:
    """A uniform grid of numbered intervals from `low` to `high`, and one beyond each end.

    Rounding keeps the interval's number a monotone function of the score.

    Args:
        low, high: where the grid begins and ends, exact in the scores' dtype.
        size: the number of intervals from `low` to `high`; these are 1 … size + 1, those beyond 0 and size + 2.
        dtype: float32 or float64, that of the scores to come.
    """

    def __init__(self, low: float, high: float, size: int, dtype: torch.dtype):
        self.low = low
        self.intervals = size + 3
        self.scale = size / max(high - low, size * torch.finfo(dtype).tiny)
        self.dtype = dtype if high - low <= torch.finfo(dtype).max else torch.float64

    def __call__(self, scores: Tensor) -> Tensor:
        """Return the numbers of the scores' intervals, int32."""
        # One is added before truncation so that every score below the grid falls into interval 0.
        places = (scores.to(self.dtype) - self.low).mul_(self.scale).add_(1)
        return places.clamp_(0, self.intervals - 1).int()


class ScoreLookup:
    """The cells of scores: a score's cell is the number of breakpoints that are at most the score.

    A binary search for every score would cost more than all the rest of the loss. A uniform grid laid over the
    breakpoints replaces it by one table look-up for all scores in grid intervals that hold no breakpoint, which are
    nearly all; only the scores in the others are searched.

    Args:
        breakpoints: float64 [M], ascending.
        dtype: float32 or float64, that of the scores to come.
    """

    def __init__(self, breakpoints: Tensor, dtype: torch.dtype):
        self.breakpoints = breakpoints
        nearest = breakpoints.to(dtype)
        infinity = nearest.new_tensor(torch.inf)
        below = torch.where(nearest > breakpoints, torch.nextafter(nearest, -infinity), nearest)
        above = torch.where(nearest < breakpoints, torch.nextafter(nearest, infinity), nearest)
        # No score is beyond the largest numbers, and a grid to infinity would have no intervals.
        largest = torch.finfo(dtype).max
        below, above = below.clamp(-largest, largest), above.clamp(-largest, largest)
        self.grid = Grid(below[0].item(), above[-1].item(), min(max(32 * len(breakpoints), 2**10), 2**17), dtype)
        # A score outside the intervals between those of `below` and `above` is on the known side of the breakpoint,
        # however the grid rounds.
        first, last = self.grid(below).long(), self.grid(above).long()
        reached = torch.bincount(first, minlength=self.grid.intervals).cumsum(0)
        passed = torch.bincount(last + 1, minlength=self.grid.intervals)[: self.grid.intervals].cumsum(0)
        # Negative where breakpoints reach into the interval: then −1 minus the number of those below it.
        self.table = torch.where(reached == passed, passed, -1 - passed).int()
        if breakpoints.is_cpu:
            steps = int((reached - passed).max()).bit_length()
            padded = torch.cat([breakpoints, breakpoints.new_full((2**steps,), torch.inf)])
            # For each step of a binary search, its length, and the breakpoint that decides it for each cell.
            self.steps = [(2**step, padded[2**step - 1 :]) for step in reversed(range(steps))]

    def __call__(self, scores: Tensor, out: Tensor) -> None:
        """Write the cells of scores [n] into an int32 tensor [n]."""
        torch.index_select(self.table, 0, self.grid(scores), out=out)
        if len(out) and out.amin() < 0:
            unknown = (out < 0).nonzero().squeeze(1)
            values = scores.index_select(0, unknown).double()
            if scores.is_cpu:
                cells = self._search(values, -1 - out.index_select(0, unknown))
            else:
                cells = torch.searchsorted(self.breakpoints, values, right=True, out_int32=True)
            out.index_copy_(0, unknown, cells)

    def _search(self, values: Tensor, cells: Tensor) -> Tensor:
        """Return the cells of scores among the few breakpoints of their intervals, from the lowest cell possible.

        On a CPU torch.searchsorted searches among all of them, and starts threads for 200 scores.
        """
        for length, breakpoints in self.steps:
            cells.add_(breakpoints.index_select(0, cells) <= values, alpha=length)
        return cells
