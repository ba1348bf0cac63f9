"""AP-loss optimised by its structured hinge bound, the paper's second baseline for the optimisation (Section 4.2.3)."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_inputs
from .collectives import Collectives
from .compiling import evaluate, operator
from .most_violated import most_violated
from .negative_bins import NegativeBins
from .outcome import Outcome, fixed, not_a_number, zero
from .score_lookup import Grid
from .split import split


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
        The scalar loss, at least 1 − AP; 0 with a zero gradient without positives or without negatives. Values
        that are not finite are treated as in :func:`ap_loss`.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does.
    """
    return evaluate("ap_structured_hinge_loss", logits, targets, process_group)


@operator("ap_structured_hinge_loss")
def _outcome(logits: Tensor, targets: Tensor, *, process_group: ProcessGroup | None) -> Outcome:
    targets = check_inputs(logits, targets)
    collectives = Collectives(process_group, logits.device)
    parts = split(logits, targets, collectives, descending=True)
    if not parts.is_finite:
        return not_a_number(logits, targets)
    if len(parts.positives) == 0 or parts.highest_negative == -torch.inf:
        return zero(logits)
    scores, dtype = parts.scores, parts.scores.dtype
    is_ranked = scores > -torch.inf  # a negative of −∞ is below all positives in every optimal ranking
    low = collectives.extreme(torch.where(is_ranked, scores, torch.inf), torch.amin, torch.inf).item()
    ranked, number_of_logits = collectives.totals(int(is_ranked.count_nonzero()), scores.numel())

    # Finer bins mean more look-ups, coarser ones more sorting.
    grid = Grid(low, parts.highest_negative, min(max(number_of_logits // 16, 2**4), 2**18), dtype)
    bins = NegativeBins(scores, ranked, grid, collectives)
    pairs = len(parts.positives) * parts.number_of_negatives
    above = _negatives_above(parts.positives, parts.number_of_negatives, bins)
    slope, total = bins.positives_below(above)  # Σ_j of the score of j times the number of positives below it
    slope *= 2 / pairs
    slope[parts.index] = (above.double() * (-2 / pairs)).to(dtype)[parts.among_all]
    rank = torch.arange(1, len(parts.positives) + 1, device=scores.device)
    ap_loss = 1 - (rank / (rank + above).double()).mean()  # Δ(R)
    margin = (total - above.double() @ parts.positives) * (2 / pairs)  # F(s, R) − F(s, R*)
    return fixed((ap_loss + margin).to(dtype), slope.view(logits.shape))


def _negatives_above(positives: Tensor, negatives: int, bins: NegativeBins) -> Tensor:
    """Return how many negatives the most violated ranking has above each positive.

    Args:
        positives: float64 [P], in descending order.
        negatives: |N|, those of −∞ included.
        bins: those of the other negatives, none sorted yet.

    Returns:
        int64 [P], ascending.
    """
    # Raising the negatives' scores never lowers these numbers. So computed with every negative at the lower or the
    # upper edge of its bin, they bound the result, and only the bins between the bounds have to be sorted.
    none = torch.zeros(len(positives), dtype=torch.int64, device=positives.device)
    all_negatives = torch.full_like(none, bins.number)
    fewest = most_violated(positives, negatives, bins.lower_edge, fewest=none, most=all_negatives)
    most = most_violated(positives, negatives, bins.upper_edge, fewest=none, most=all_negatives)
    bins.sort_between(fewest, most)
    return most_violated(positives, negatives, bins.score, fewest=fewest, most=most)
