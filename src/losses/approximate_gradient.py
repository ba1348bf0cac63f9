"""AP-loss by its approximate gradient, the paper's first baseline for the optimisation (Section 4.2.3)."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .batch import make_batch
from .checks import check_epsilon
from .fixed_gradient import Degenerate
from .ranking import smooth_ranks


def ap_approximate_gradient_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    epsilon: float = 1e-6,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return −log(AP + ε) of a smooth AP, with its true gradient (Henderson and Ferrari 2016, Song et al. 2016).

    The smooth AP is that of Equation 5 with the sigmoid f(x) = 1/(1 + exp(−2x/δ)) in place of the step function:
    the mean over the positives i of (1 + Σ_k f(s_k − s_i)) / (1 + Σ_k f(s_k − s_i) + Σ_j f(s_j − s_i)), with k ≠ i over
    the positives and j over the negatives. Value and gradient agree with the double sum to about 10⁻¹², in
    O(|N| + |P| log |P|) time and O(|N| + |P|) memory.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: δ > 0, twice the scale of the sigmoid.
        epsilon: ε ≥ 0.
        process_group: see :func:`ap_loss`.

    Returns:
        The scalar loss; 0 with a zero gradient without positives, NaN if a positive or negative is not finite.

    Raises:
        TypeError: logits are not floating.
        ValueError: shapes or devices differ, delta ≤ 0, epsilon < 0, or targets hold anything else than 1, 0 and −1.
    """
    check_epsilon(epsilon)
    batch = make_batch(logits, targets, "sigmoid", delta=delta, process_group=process_group)
    if isinstance(batch, Degenerate):
        return batch.loss(logits)
    positives_above, negatives_above = smooth_ranks(logits, batch)
    precision = (1 + positives_above) / (1 + positives_above + negatives_above)
    loss = -(precision.mean() + epsilon).log()
    return loss.to(torch.promote_types(logits.dtype, torch.float32))
