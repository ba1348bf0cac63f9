"""Negatives counted in the bins of a uniform grid; only a few bins are ever sorted."""

import torch
from torch import Tensor

from .chunks import in_chunks
from .collectives import Collectives
from .pair_sums import suffix_sums
from .score_lookup import Grid


class NegativeBins:
    """The negatives by rank, 1 for the highest of all processes and `number` for the lowest.

    Counting the scores in each bin already gives the bin of every rank, and so bounds on its score: `lower_edge` and
    `upper_edge`. After `sort_between` has sorted the bins whose order matters, `score` gives the exact scores there.

    Args:
        scores: float32 or float64 [n]; of the negatives, all others being −∞, which this replaces.
        number: of negatives above −∞ on all processes.
        grid: from the lowest to the highest negative of all processes.
        collectives: the processes.
    """

    def __init__(self, scores: Tensor, number: int, grid: Grid, collectives: Collectives):
        self.scores, self.number, self.grid, self.collectives = scores, number, grid, collectives
        self.bins = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)  # of each score
        for chunk, bins in in_chunks(scores, self.bins):
            bins.copy_(self.grid(chunk))
            chunk.clamp_(min=torch.finfo(scores.dtype).min)  # as 0 times −∞ is NaN
        self.counts = collectives.sum(torch.bincount(self.bins, minlength=self.grid.intervals))
        self.count_from = suffix_sums(self.counts)  # scores in a bin and in those above it
        # Lower edges of the bins, and the upper one of the last.
        edges = torch.arange(self.grid.intervals + 1, dtype=torch.float64, device=scores.device)
        self.edges = self.grid.low + (edges - 1) / self.grid.scale
        # A tenth of a bin is more than the rounding of a score's place in the grid.
        self.slack = 0.1 / self.grid.scale

    def bin_of(self, rank: Tensor) -> Tensor:
        """Return the bin of the negative of each rank, int64 of the same shape."""
        return self.grid.intervals - 1 - torch.searchsorted(self.count_from.flip(0), rank)

    def lower_edge(self, rank: Tensor) -> Tensor:
        """Return a lower bound of the score of the negative of each rank, float64 of the same shape."""
        return self.edges[self.bin_of(rank)] - self.slack

    def upper_edge(self, rank: Tensor) -> Tensor:
        """Return an upper bound of the score of the negative of each rank, float64 of the same shape."""
        return self.edges[self.bin_of(rank) + 1] + self.slack

    def score(self, rank: Tensor) -> Tensor:
        """Return the score of the negative of each rank, float64 of the same shape; any number in unsorted bins."""
        position = rank - 1 - self.unsorted_above[self.bin_of(rank)]
        return self.sorted_scores[position.clamp(0, len(self.sorted_scores) - 1)].double()

    def sort_between(self, fewest: Tensor, most: Tensor) -> None:
        """Sort the bins of all ranks that may be the last above some positive, or the first below it.

        Args:
            fewest, most: int64 [P], bounds of the numbers of negatives above each positive, ascending.
        """
        first_rank = (fewest + 1).clamp(max=self.number)
        last_rank = torch.maximum(most, first_rank)
        # Each positive opens the bins from that of its last rank, which is the lowest of them, to that of its first.
        opened = torch.zeros(self.grid.intervals + 1, dtype=torch.int64, device=self.bins.device)
        opened.index_add_(0, self.bin_of(last_rank), torch.ones_like(most))
        opened.index_add_(0, self.bin_of(first_rank) + 1, -torch.ones_like(most))
        is_open = opened.cumsum(0)[:-1] > 0
        # The scores in these bins: their indices, in descending order, and their positions among all processes'.
        in_open_bin = [is_open.index_select(0, bins) for (bins,) in in_chunks(self.bins)]
        index = torch.cat(in_open_bin).nonzero().squeeze(1)
        self.sorted_scores, order, self.among_all = self.collectives.sort(self.scores[index], descending=True)
        self.sorted_index = index[order]
        # For each bin the number of unsorted scores above it: a rank less that, less 1, is a position among the sorted.
        unsorted_from = self.count_from - suffix_sums(torch.where(is_open, self.counts, 0))
        self.unsorted_above = unsorted_from.roll(-1)
        self.unsorted_above[-1] = 0

    def positives_below(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many positives are below each negative, and the sum of that times the score over all processes.

        Args:
            above: int64 [P], the number of negatives above each positive, ascending.

        Returns:
            The scores' dtype [n], 0 for those that are not negatives; float64 scalar.
        """

        def positives_below_rank(rank: Tensor) -> Tensor:
            return (len(above) - torch.searchsorted(above, rank)).to(torch.float64)

        # All negatives in a bin that was not sorted are on the same side of every positive: the highest stands for all.
        highest_rank = (self.count_from - self.counts + 1).clamp(max=self.number + 1)
        table = torch.where(self.counts > 0, positives_below_rank(highest_rank), 0)
        below = torch.empty_like(self.scores)
        for bins, out in in_chunks(self.bins, below):
            out.copy_(table.index_select(0, bins))
        sorted_bins = self.bins[self.sorted_index]
        position = torch.arange(1, len(self.sorted_scores) + 1, device=sorted_bins.device)[self.among_all]
        below[self.sorted_index] = positives_below_rank(position + self.unsorted_above[sorted_bins]).to(below.dtype)
        parts = [out.double() @ chunk.double() for out, chunk in in_chunks(below, self.scores, times=4)]
        total = sum(parts[1:], parts[0])
        return below, self.collectives.sum(total)
