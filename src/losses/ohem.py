"""Cross-entropy with online hard example mining, the loss of SSD."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.nn.functional import cross_entropy

from .checks import are_finite, check_kinds, check_ratio, compute_dtype, waits
from .collectives import Collectives, shared_nan
from .compiling import NAMESPACE, checked_targets


def ohem_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    negatives_per_positive: int = 3,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return the softmax cross-entropy over all positive anchors and the hardest negative ones of each image.

    An anchor is positive for the one class whose target is 1. Of an image's negative anchors, those with the highest
    background loss are selected, `negatives_per_positive` for each of its positive ones. The sum over all positive and
    selected anchors is divided by the number of positive anchors in the batch (at least 1).

    Args:
        logits: floating tensor [B, A, K + 1], the raw scores of B images with A anchors each; output 0 is background.
        targets: tensor [B, A, K]; 1 positive, 0 negative, −1 ignored. An anchor with a −1 is ignored.
        negatives_per_positive: how many negative anchors for each positive one, at least 0.
        process_group: see :func:`ap_loss`; the batch is then the images of all its processes.

    Returns:
        The scalar loss; 0 with a zero gradient without positives. An output of −∞ adds nothing and gets no gradient,
        unless it is that of the anchor's class or background; this, or an output of +∞ or NaN, makes the loss and the
        gradient of all outputs NaN, except those of ignored anchors.

    Raises:
        TypeError: logits are not floating.
        ValueError: shapes do not fit or devices differ, an anchor has two classes, or targets hold anything else than
            1, 0 and −1. On a GPU the last two make the loss NaN instead.
    """
    check_ratio(negatives_per_positive)
    check_kinds(logits, targets)
    is_batch = logits.dim() == targets.dim() == 3
    if not is_batch or logits.shape[:2] != targets.shape[:2] or logits.shape[2] != targets.shape[2] + 1:
        raise ValueError(
            f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)} instead of "
            "[B, A, K + 1] and [B, A, K]"
        )
    if targets.shape[2] == 0:
        raise ValueError("targets have no class: their last dimension is empty")
    (targets, valid), logits = checked_targets(targets), compute_dtype(logits)
    collectives = Collectives(process_group, logits.device)
    if torch.compiler.is_compiling():
        counted, labels, scale = _choose_operator(logits.detach(), targets, negatives_per_positive)
    else:
        counted, labels, scale = _choose(logits.detach(), targets, negatives_per_positive)
    if torch.compiler.is_compiling() or waits(logits):
        # The same sum without a shape that depends on the data.
        entries = torch.where(counted[..., None], logits, 0).flatten(0, 1)
        losses = cross_entropy(entries, labels.flatten(), reduction="none")
        total = torch.where(counted.flatten(), losses, 0).sum()
    else:
        total = cross_entropy(logits[counted], labels[counted], reduction="sum")
    total = total * (scale * valid)
    positives = collectives.sum((labels > 0).sum())
    return shared_nan(collectives.sum(total) / positives.clamp(min=1))


def softmax_scores(logits: Tensor) -> Tensor:
    """Return the class scores [..., K] of a detector trained with :func:`ohem_loss`, from logits [..., K + 1]."""
    return compute_dtype(logits).softmax(-1)[..., 1:]


def _choose(logits: Tensor, targets: Tensor, negatives_per_positive: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which anchors count, bool [B, A], their labels, int64 [B, A], and 1, or NaN if some output is not finite.

    In the latter case all anchors count that are not ignored. Anchors with two classes are treated like that if
    checking them would wait for a GPU; otherwise they are an error.
    """
    is_class = targets == 1
    positive = is_class.any(2)
    several = is_class.sum() != positive.sum()
    if not waits(logits) and several:
        raise ValueError("targets give an anchor more than one class")
    ignored = (targets == -1).any(2)  # some of them may have a class beside
    negative = ~(positive | ignored)
    positive &= ~ignored
    labels = torch.where(positive, is_class.int().argmax(2) + 1, 0)
    broken = several
    if not are_finite(logits):
        of_label = logits.gather(2, labels[..., None]).squeeze(2)
        is_finite = (logits < torch.inf).all(2) & (of_label > -torch.inf)
        broken = several | ~(is_finite | ignored).all()
    background_loss = torch.where(negative, logits.logsumexp(2) - logits[..., 0], -torch.inf)
    numbers_counted = torch.minimum(negatives_per_positive * positive.sum(1), negative.sum(1))
    if waits(logits):
        ranks = background_loss.argsort(1, descending=True).argsort(1)
        counted = torch.where(broken, ~ignored, positive | (ranks < numbers_counted[:, None]))
        return counted, labels, torch.where(broken, torch.nan, logits.new_tensor(1.0))
    if broken:
        return ~ignored, labels, logits.new_tensor(torch.nan)
    counted = positive.clone()
    for image, number in enumerate(numbers_counted.tolist()):
        counted[image, background_loss[image].topk(number).indices] = True
    return counted, labels, logits.new_tensor(1.0)


@torch.library.custom_op(f"{NAMESPACE}::choose_anchors", mutates_args=())
def _choose_operator(logits: Tensor, targets: Tensor, negatives_per_positive: int) -> tuple[Tensor, Tensor, Tensor]:
    return _choose(logits, targets, negatives_per_positive)


@_choose_operator.register_fake
def _(logits: Tensor, targets: Tensor, negatives_per_positive: int) -> tuple[Tensor, Tensor, Tensor]:
    labels = targets.new_empty(targets.shape[:2], dtype=torch.int64)
    return labels.bool(), labels, logits.new_empty(())
