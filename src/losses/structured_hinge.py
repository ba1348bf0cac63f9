"""AP-loss by its structured hinge upper bound, the paper's second baseline for the optimisation (Section 4.2.3)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup

from .collectives import Collectives
from .pair_sums import suffix_sums
from .ranking import check_inputs, compute_dtype
from .score_lookup import Grid, in_chunks


def ap_structured_hinge_loss(logits: Tensor, targets: Tensor, *, process_group: ProcessGroup | None = None) -> Tensor:
    """The structured hinge loss of AP, with its subgradient (Yue et al. 2007, Mohapatra et al. 2018).

    max over all rankings R of Δ(R) + F(s, R) − F(s, R*), where Δ(R) is 1 − AP of that ranking, R* ranks every positive
    above every negative, and F(s, R) = 1/(|P||N|) Σ_ij R_ij (s_i − s_j) over the positives i and the negatives j, with
    R_ij = 1 where i is above j and −1 where it is below. The maximum is exact. Sorts the positives and those few
    negatives whose order decides something: O(|N| + |P| log |N|) time, more only if the scores are badly spread, and
    O(|P| + |N|) memory.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        process_group: see :func:`src.losses.ap_loss`. Exchanged are also the numbers of scores in at most 2¹⁸ bins,
            and the negatives that have to be sorted.

    Returns:
        The scalar loss, at least 1 − AP; 0 with a zero gradient without positives or without negatives, NaN if a
        positive or negative is not finite.

    Raises:
        TypeError: logits are not floating.
        ValueError: shapes or devices differ, or targets hold anything else than 1, 0 and −1.
    """
    check_inputs(logits, targets)
    return _StructuredHinge.apply(logits, targets, process_group)


class _StructuredHinge(torch.autograd.Function):
    """Forward finds the most violated ranking, in which the loss is linear in the scores; backward is its slope."""

    @staticmethod
    def forward(ctx, logits, targets, process_group) -> Tensor:
        ctx.dtype = logits.dtype
        exchange = Collectives(process_group, logits.device)
        flat, targets = compute_dtype(logits).flatten(), targets.flatten()
        index = (targets == 1).nonzero().squeeze(1)
        positives, order, among_all = exchange.sort(flat[index].double(), descending=True)
        index = index[order]
        negative = targets == 0
        number, total = exchange.totals(int(negative.count_nonzero()), len(flat))
        if len(positives) == 0 or number == 0:
            ctx.save_for_backward(torch.zeros_like(flat).view(logits.shape))
            return flat.new_zeros(())
        lowest, highest = torch.finfo(flat.dtype).min, torch.finfo(flat.dtype).max
        scores = torch.where(negative, flat, lowest)
        low = exchange.extreme(torch.where(negative, flat, highest), torch.amin, highest)
        high = exchange.extreme(scores, torch.amax, lowest)
        if not (low + high + positives.sum()).isfinite():
            ctx.save_for_backward(torch.full_like(flat, torch.nan).view(logits.shape))
            return flat.new_tensor(torch.nan)

        # Fine bins are more to look up, coarse ones more to sort.
        grid = Grid(low.item(), high.item(), min(max(total // 16, 2**4), 2**18), flat.dtype)
        negatives = _NegativesInBins(scores, number, grid, exchange)
        above = negatives.above_each_positive(positives)
        slope, value = negatives.positives_below(above)
        pairs = len(positives) * number
        slope *= 2 / pairs
        slope[index] = (above.double() * (-2 / pairs)).to(slope.dtype)[among_all]
        ctx.save_for_backward(slope.view(logits.shape))
        rank = torch.arange(1, len(positives) + 1, device=flat.device)
        difference = 1 - (rank / (rank + above).double()).mean()
        return (difference + (value - above.double() @ positives) * (2 / pairs)).to(flat.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * gradient).to(ctx.dtype), None, None


class _NegativesInBins:
    """The negatives in bins of a uniform grid, so that only those have to be sorted whose order decides something.

    Args:
        scores: float [n]; of the negatives, all others being the dtype's lowest number.
        number: of negatives, on all processes.
        grid: from the lowest to the highest negative of all processes.
        exchange: the processes.
    """

    def __init__(self, scores: Tensor, number: int, grid: Grid, exchange: Collectives):
        self.scores, self.number, self.grid, self.exchange = scores, number, grid, exchange
        self.bins = torch.empty(scores.shape, dtype=torch.int32, device=scores.device)
        for chunk, bins in in_chunks(scores, self.bins):
            bins.copy_(self.grid(chunk))
        self.counts = exchange.sum(torch.bincount(self.bins, minlength=self.grid.intervals))
        self.at_least = suffix_sums(self.counts)  # scores in a bin and in those above it
        # Lower bounds of the bins. A tenth of a bin is more than the rounding of a score's place in the grid.
        edges = torch.arange(self.grid.intervals + 1, dtype=torch.float64, device=scores.device)
        self.edges = self.grid.low + (edges - 1) / self.grid.scale
        self.slack = 0.1 / self.grid.scale

    def bin_of(self, rank: Tensor) -> Tensor:
        """The bin of the negative of that rank, which is 1 for the highest; int64 of the same shape."""
        return self.grid.intervals - 1 - torch.searchsorted(self.at_least.flip(0), rank)

    def above_each_positive(self, positives: Tensor) -> Tensor:
        """How many negatives the most violated ranking has above each positive.

        Args:
            positives: float64 [P], in descending order.

        Returns:
            int64 [P], ascending.
        """
        # Raising the negatives' scores never lowers these numbers. So with every negative at the upper or at the lower
        # bound of its bin they are bounds of what is sought, and only the bins between the bounds have to be sorted.
        start = (
            torch.zeros(len(positives), dtype=torch.int64, device=positives.device),
            torch.full_like(positives, self.number, dtype=torch.int64),
        )
        fewest = most_violated(positives, self.number, lambda rank: self.edges[self.bin_of(rank)] - self.slack, *start)
        most = most_violated(
            positives, self.number, lambda rank: self.edges[self.bin_of(rank) + 1] + self.slack, *start
        )
        self._sort(fewest, most)
        return most_violated(positives, self.number, self._score, fewest, most)

    def _sort(self, fewest: Tensor, most: Tensor) -> None:
        """Sorts the bins of all ranks that may be the last above a positive or the first below it."""
        first = (fewest + 1).clamp(max=self.number)
        sort = torch.zeros(self.grid.intervals + 1, dtype=torch.int64, device=self.bins.device)
        sort.index_add_(0, self.bin_of(torch.maximum(most, first)), torch.ones_like(most))
        sort.index_add_(0, self.bin_of(first) + 1, -torch.ones_like(most))
        self.is_sorted = sort.cumsum(0)[:-1] > 0
        chosen = [self.is_sorted.index_select(0, bins) for (bins,) in in_chunks(self.bins)]
        self.sorted_index = torch.cat(chosen).nonzero().squeeze(1)
        self.sorted_scores, order, self.among_all = self.exchange.sort(self.scores[self.sorted_index], descending=True)
        self.sorted_index = self.sorted_index[order]
        before = suffix_sums(torch.where(self.is_sorted, self.counts, 0))
        # What is to be taken from a rank for its place among the sorted.
        self.offset = (self.at_least - before).roll(-1)
        self.offset[-1] = 0

    def _score(self, rank: Tensor) -> Tensor:
        place = rank - 1 - self.offset[self.bin_of(rank)]
        return self.sorted_scores[place.clamp(0, len(self.sorted_scores) - 1)].double()

    def positives_below(self, above: Tensor) -> tuple[Tensor, Tensor]:
        """How many positives are below each negative, and the sum of that times the score over all processes.

        Returns:
            The scores' dtype [n], 0 for those that are not negatives; float64 scalar.
        """

        def below(rank: Tensor) -> Tensor:
            return (len(above) - torch.searchsorted(above, rank)).to(torch.float64)

        # All negatives in a bin that was not sorted are on the same side of every positive.
        table = below((self.at_least - self.counts + 1).clamp(max=self.number + 1))
        table = torch.where(self.counts > 0, table, 0)
        number = torch.empty_like(self.scores)
        for bins, out in in_chunks(self.bins, number):
            out.copy_(table.index_select(0, bins))
        bins = self.bins[self.sorted_index]
        rank = torch.arange(1, len(self.sorted_scores) + 1, device=bins.device)[self.among_all] + self.offset[bins]
        number[self.sorted_index] = below(rank).to(number.dtype)
        value = sum((out.double() @ chunk.double() for out, chunk in in_chunks(number, self.scores)))
        return number, self.exchange.sum(value)


def most_violated(
    positives: Tensor, negatives: int, score: Callable[[Tensor], Tensor], fewest: Tensor, most: Tensor
) -> Tensor:
    """How many negatives the most violated ranking has above each positive (loss-augmented inference).

    The objective is a sum over pairs: |P| times what it gains when the negative of rank m goes above positive i, with
    all higher negatives already there, is i / ((i + m − 1)(i + m)) + 2 (s_m − s_i) / |N|. So a negative is best placed
    where the sum of its gains over all positives below it is largest; as the gains fall with m, that place only falls
    from each negative to the next. All places are found at once, by bisection: the best place of the middle one of the
    ranks that are open for a stretch of positives says for each of these positives which half remains.

    Args:
        positives: float64 [P], in descending order.
        negatives: how many there are, |N|.
        score: the scores of the negatives of given ranks, 1 … |N|; it is asked for those that `fewest` and `most` leave
            open, and its answers for others are not used.
        fewest, most: int64 [P], bounds of the result, ascending.

    Returns:
        int64 [P], ascending.
    """
    i = torch.arange(1, len(positives) + 1, device=positives.device, dtype=torch.float64)
    place = torch.arange(len(positives), device=positives.device)
    low, high = torch.zeros_like(fewest), torch.full_like(most, negatives)
    for _ in range(negatives.bit_length()):
        middle = (low + high + 1) // 2
        m = middle.clamp(min=1)
        gain = i / ((i + m - 1) * (i + m)) + (2 / negatives) * (score(m) - positives)
        # A stretch is what shares its bounds. Sums to the end of a stretch:
        stretch = torch.cat([low.new_zeros(1), ((low.diff() != 0) | (high.diff() != 0)).cumsum(0)])
        gains = suffix_sums(gain)
        after = torch.cat([gains, gains.new_zeros(1)])[torch.searchsorted(stretch, stretch, right=True)]
        gains = gains - after
        best = gains.new_zeros(len(positives)).scatter_reduce(0, stretch, gains, "amax")  # 0: below the stretch
        is_best = (gains == best[stretch]) & (gains > 0)
        first = torch.where(is_best, place, len(place))
        first = torch.full_like(place, len(place)).scatter_reduce(0, stretch, first, "amin")
        above = (place >= first[stretch]) & (most >= middle) | (fewest >= middle)
        low, high = torch.where(above, middle, low), torch.where(above, high, middle - 1).clamp(min=low)
    return low
