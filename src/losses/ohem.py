"""Cross-entropy with online hard example mining, the loss of SSD."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.functional import cross_entropy

from .checks import check_values, compute_dtype
from .collectives import Collectives


def ohem_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    negatives_per_positive: int = 3,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return the softmax cross-entropy over all positive anchors and the hardest negative ones of each image.

    An anchor is positive for the one class whose target is 1. Of an image's negative anchors those that believe least
    in the background count, `negatives_per_positive` for each of its positive ones. The sum over all anchors that
    count is divided by the number of positive anchors in the batch (at least 1).

    Args:
        logits: floating tensor [B, A, K + 1], the raw scores of B images with A anchors each; output 0 is background.
        targets: tensor [B, A, K]; 1 positive, 0 negative, −1 ignored. An anchor with a −1 is ignored.
        negatives_per_positive: how many negative anchors for each positive one.
        process_group: see :func:`ap_loss`; the batch is then the images of all its processes.

    Returns:
        The scalar loss; 0 with a zero gradient without positives.

    Raises:
        TypeError: logits are not floating.
        ValueError: shapes do not fit or devices differ, an anchor has two classes, or targets hold anything else than
            1, 0 and −1.
    """
    if logits.dim() != 3 or logits.shape[:2] != targets.shape[:2] or logits.shape[2] != targets.shape[2] + 1:
        raise ValueError(
            f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)} instead of "
            "[B, A, K + 1] and [B, A, K]"
        )
    check_values(logits, targets)
    is_class = targets == 1
    positive = is_class.any(2)
    if is_class.sum() != positive.sum():
        raise ValueError("targets give an anchor more than one class")
    negative = ~positive & (targets == 0).all(2)
    logits = compute_dtype(logits)
    with torch.no_grad():
        background_loss = logits.logsumexp(2) - logits[..., 0]
        background_loss[~negative] = -torch.inf
        counted = positive.clone()
        numbers_counted = torch.minimum(negatives_per_positive * positive.sum(1), negative.sum(1))
        for image, number in enumerate(numbers_counted.tolist()):
            counted[image, background_loss[image].topk(number).indices] = True
    labels = torch.where(positive, is_class.int().argmax(2) + 1, 0)
    collectives = Collectives(process_group, logits.device)
    total = collectives.sum(cross_entropy(logits[counted], labels[counted], reduction="sum"))
    return total / collectives.sum(positive.sum()).clamp(min=1)


def softmax_scores(logits: Tensor) -> Tensor:
    """Return the classes' scores [..., K] of a detector trained with :func:`ohem_loss`, from logits [..., K + 1]."""
    return compute_dtype(logits).softmax(-1)[..., 1:]
