"""Focal loss on K sigmoids, the paper's strongest classification baseline."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_inputs
from .collectives import Collectives


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

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does.
    """
    # Here alone, as it takes as long to import as torch does.
    from torchvision.ops import sigmoid_focal_loss

    check_inputs(logits, targets)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    positive = (targets == 1).to(logits.dtype)
    loss = sigmoid_focal_loss(logits, positive, alpha=alpha, gamma=gamma, reduction="none")
    collectives = Collectives(process_group, logits.device)
    return collectives.sum(torch.where(targets == -1, 0, loss).sum()) / collectives.sum(positive.sum()).clamp(min=1)
