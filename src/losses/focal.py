"""Focal loss on K sigmoids, one of the paper's two classification losses (Section 4.2.2)."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.functional import logsigmoid

from .checks import are_finite, check_focusing, check_shapes, compute_dtype
from .collectives import Collectives, shared_nan
from .compiling import checked_targets


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return focal loss, summed over all entries that count and divided by the number of positives (at least 1).

    Args:
        logits: floating tensor of any shape, raw scores.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        alpha: weight of the positives, in [0, 1]; that of the negatives is 1 − alpha.
        gamma: focusing exponent ≥ 0.
        process_group: see :func:`ap_loss`; entries and positives are those of all its processes.

    Returns:
        The scalar loss. A negative of −∞ adds nothing and gets no gradient; any other positive or negative that is not
        finite makes the loss NaN, and all gradients except those of ignored entries.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does, or alpha or gamma is out of its range. On a GPU targets that are
            not 1, 0 or −1 make the loss NaN instead.
    """
    check_focusing(alpha, gamma)
    check_shapes(logits, targets)
    targets, scale = checked_targets(targets)
    logits, counts, is_positive = compute_dtype(logits), targets != -1, targets == 1
    if not are_finite(logits):
        # Entries that do not count are replaced before anything is computed, as their gradient would be 0 times NaN.
        counts &= is_positive | (logits != -torch.inf)
        logits = torch.where(counts, logits, 0)
        scale = torch.where(logits.isfinite().all(), scale, torch.nan)
    positive = is_positive.to(logits.dtype)
    loss = torch.where(counts, _entry_losses(logits, positive, alpha, gamma), 0)
    collectives = Collectives(process_group, logits.device)
    total = collectives.sum(loss.sum() * scale)
    return shared_nan(total / collectives.sum(positive.sum()).clamp(min=1))


def _entry_losses(logits: Tensor, positive: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the loss of each entry, of the logits' shape."""
    if 0 < gamma < 1:
        # The derivative of (1 − p)^γ at p = 1 is infinite. By logarithms it is that of exp(−γ log(1 + exp(x))).
        margin = logits * (2 * positive - 1)
        weight = alpha * positive + (1 - alpha) * (1 - positive)
        return -weight * logsigmoid(margin) * (gamma * logsigmoid(-margin)).exp()
    # Imported only here, as it takes as long as importing torch.
    from torchvision.ops import sigmoid_focal_loss

    return sigmoid_focal_loss(logits, positive, alpha=alpha, gamma=gamma, reduction="none")
