"""AP-loss by its structured hinge upper bound, the paper's second baseline for the optimisation (Section 4.2.3)."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_inputs, compute_dtype
from .collectives import Collectives
from .fixed_gradient import Degenerate, with_gradient
from .most_violated import most_violated
from .negative_bins import NegativeBins
from .score_lookup import Grid


def ap_structured_hinge_loss(logits: Tensor, targets: Tensor, *, process_group: ProcessGroup | None = None) -> Tensor:
    """Return the structured hinge loss of AP, with its subgradient (Yue et al. 2007, Mohapatra et al. 2018).

    max over all rankings R of Δ(R) + F(s, R) − F(s, R*), where Δ(R) is 1 − AP of that ranking, R* ranks every positive
    above every negative, and F(s, R) = 1/(|P||N|) Σ_ij R_ij (s_i − s_j) over the positives i and the negatives j, with
    R_ij = 1 where i is above j and −1 where it is below. The maximum is exact. Sorts the positives and those few
    negatives whose order decides something: O(|N| + |P| log |N|) time, more only if the scores are badly spread, and
    O(|P| + |N|) memory.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        process_group: see :func:`ap_loss`. The processes also exchange the numbers of scores in at most 2¹⁸ bins, and
            the negatives that have to be sorted.

    Returns:
        The scalar loss, at least 1 − AP; 0 with a zero gradient without positives or without negatives, NaN if a
        positive or negative is not finite.

    Raises:
        TypeError: logits are not floating.
        ValueError: shapes or devices differ, or targets hold anything else than 1, 0 and −1.
    """
    check_inputs(logits, targets)
    result = _loss_and_subgradient(logits.detach(), targets, Collectives(process_group, logits.device))
    if isinstance(result, Degenerate):
        return result.loss(logits)
    loss, subgradient = result
    return with_gradient(logits, loss, subgradient)


def _loss_and_subgradient(
    logits: Tensor, targets: Tensor, collectives: Collectives
) -> tuple[Tensor, Tensor] | Degenerate:
    """Return the scalar loss, and its slope in the scores of the most violated ranking, of the logits' shape."""
    flat, targets = compute_dtype(logits).flatten(), targets.flatten()
    index = (targets == 1).nonzero().squeeze(1)
    positives, order, among_all = collectives.sort(flat[index].double(), descending=True)
    index = index[order]
    is_negative = targets == 0
    number_of_negatives, number_of_logits = collectives.totals(int(is_negative.count_nonzero()), len(flat))
    if len(positives) == 0 or number_of_negatives == 0:
        return Degenerate(0.0)
    lowest, highest = torch.finfo(flat.dtype).min, torch.finfo(flat.dtype).max
    scores = torch.where(is_negative, flat, lowest)
    low = collectives.extreme(torch.where(is_negative, flat, highest), torch.amin, highest)
    high = collectives.extreme(scores, torch.amax, lowest)
    if not (low + high + positives.sum()).isfinite():
        return Degenerate(torch.nan)

    # Fine bins are more to look up, coarse ones more to sort.
    grid = Grid(low.item(), high.item(), min(max(number_of_logits // 16, 2**4), 2**18), flat.dtype)
    bins = NegativeBins(scores, number_of_negatives, grid, collectives)
    above = _negatives_above(positives, bins)
    slope, total = bins.positives_below(above)  # Σ_j of the score of j times the number of positives below it
    pairs = len(positives) * number_of_negatives
    slope *= 2 / pairs
    slope[index] = (above.double() * (-2 / pairs)).to(slope.dtype)[among_all]
    rank = torch.arange(1, len(positives) + 1, device=flat.device)
    ap_loss = 1 - (rank / (rank + above).double()).mean()  # Δ(R)
    margin = (total - above.double() @ positives) * (2 / pairs)  # F(s, R) − F(s, R*)
    return (ap_loss + margin).to(flat.dtype), slope.view(logits.shape)


def _negatives_above(positives: Tensor, bins: NegativeBins) -> Tensor:
    """Return how many negatives the most violated ranking has above each positive.

    Args:
        positives: float64 [P], in descending order.
        bins: those of the negatives, none sorted yet.

    Returns:
        int64 [P], ascending.
    """
    # Raising the negatives' scores never lowers these numbers. So with every negative at the lower or at the upper edge
    # of its bin they are bounds of the result, and only the bins between the bounds have to be sorted.
    none = torch.zeros(len(positives), dtype=torch.int64, device=positives.device)
    all_negatives = torch.full_like(none, bins.number)
    fewest = most_violated(positives, bins.number, bins.lower_edge, fewest=none, most=all_negatives)
    most = most_violated(positives, bins.number, bins.upper_edge, fewest=none, most=all_negatives)
    bins.sort_between(fewest, most)
    return most_violated(positives, bins.number, bins.score, fewest=fewest, most=most)
