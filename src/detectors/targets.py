"""Training targets from ground truth: a target for each (anchor, class), and a box for each positive anchor.

Nothing here synchronises with a GPU: no shape depends on values on it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection._utils import BoxCoder

# Offsets are divided by standard deviations of (.1, .1, .2, .2).
BOX_CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
NEGATIVE, IGNORED = -1, -2  # in place of the index of an anchor's object
POSITIVE_IOU = 0.5  # with an object, of a positive anchor
NO_OBJECT = -1.0  # the IoU of padding, where an image has fewer objects than another
# Pairs of objects and anchors processed at once: on a CPU as many as its cache holds, elsewhere 64 MiB of IoUs.
_PAIRS_ON_CPU, _PAIRS_ELSEWHERE = 2**18, 2**24


@dataclass(frozen=True)
class Targets:
    """The targets of a batch of B images with A anchors and K classes."""

    classes: Tensor  # int8 [B, A, K]: 1 positive, 0 negative, −1 ignored
    boxes: Tensor  # float32 [B, A, 4]: the ground truth of each positive anchor; arbitrary for the others
    positive: Tensor  # bool [B, A]


def assign_targets(
    anchors: Tensor,
    boxes: list[Tensor],
    labels: list[Tensor],
    *,
    classes: int,
    match: Callable[[Tensor], Tensor] | None = None,
) -> Targets:
    """Return the targets of each anchor, replicated K times (Section 3.1.1, Fig. 3).

    A matched anchor is positive for the class of its object and negative for all other classes. An unmatched anchor is
    negative, or ignored, for all classes.

    Args:
        anchors: float32 [A, 4], shared by all images.
        boxes: for each image float32 [N, 4]; N may be 0.
        labels: for each image int64 [N], 0 … K−1.
        classes: number of classes K.
        match: from the IoUs of objects and anchors [B, N, A], where an image has fewer objects than another
            `NO_OBJECT`, to each anchor's object, int64 [B, A], `NEGATIVE` or `IGNORED`; :func:`match_by_iou`.
    """
    parts = [
        _assign(anchors, *group, classes=classes, match=match or match_by_iou)
        for group in _groups(boxes, labels, len(anchors))
    ]
    if len(parts) == 1:
        return parts[0]
    return Targets(*(torch.cat([getattr(part, name) for part in parts]) for name in ("classes", "boxes", "positive")))


def _groups(boxes: list[Tensor], labels: list[Tensor], anchors: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the objects of a few images at a time: boxes [B, N, 4], and labels [B, N] with −1 beyond an image's own."""
    most = max(len(of_image) for of_image in boxes)
    size = max((_PAIRS_ON_CPU if boxes[0].is_cpu else _PAIRS_ELSEWHERE) // max(most * anchors, 1), 1)
    for start in range(0, len(boxes), size):
        padded = pad_sequence(boxes[start : start + size], batch_first=True)
        yield padded, pad_sequence(labels[start : start + size], batch_first=True, padding_value=-1)


def _assign(
    anchors: Tensor, boxes: Tensor, labels: Tensor, *, classes: int, match: Callable[[Tensor], Tensor]
) -> Targets:
    if boxes.shape[1] == 0:
        shape = len(boxes), len(anchors)
        of_classes = torch.zeros(*shape, classes, dtype=torch.int8, device=anchors.device)
        return Targets(of_classes, anchors.expand(len(boxes), -1, -1), of_classes.new_zeros(shape, dtype=torch.bool))
    object_of = match(_pairwise_iou(boxes, anchors).masked_fill_(labels[..., None] < 0, NO_OBJECT))
    positive, index = object_of >= 0, object_of.clamp(min=0)
    states = positive.to(torch.int8).masked_fill_(object_of == IGNORED, -1)
    of_classes = states.clamp(max=0)[..., None].repeat(1, 1, classes)
    of_classes.scatter_(2, labels.gather(1, index).clamp_(min=0)[..., None], states[..., None])
    return Targets(of_classes, boxes.gather(1, index[..., None].expand(-1, -1, 4)), positive)


def _pairwise_iou(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the IoUs [B, N, A] of each image's boxes [B, N, 4] and anchors [A, 4], bit for bit those of `box_iou`."""
    x1, y1, x2, y2 = boxes[..., None].unbind(2)
    left, top, right, bottom = anchors.unbind(1)
    intersection = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp_(min=0)
    intersection *= (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp_(min=0)
    return intersection / ((x2 - x1) * (y2 - y1) + (right - left) * (bottom - top) - intersection)


def match_by_iou(iou: Tensor, positive_iou: float = POSITIVE_IOU, negative_iou: float = 0.4) -> Tensor:
    """Match anchors with objects as RetinaNet does, by IoU alone.

    An anchor is positive for the object that it overlaps most, if that IoU is at least `positive_iou`, or if no other
    anchor overlaps some object more than it does. Below `negative_iou` it is negative, between the two ignored.

    Args:
        iou: float [..., N, A] of N objects and A anchors; `NO_OBJECT` in rows without object.

    Returns:
        int64 [..., A]: the index of each anchor's object, `NEGATIVE` or `IGNORED`.
    """
    best_iou, object_of = iou.max(-2)
    is_best = ((iou == iou.amax(-1, keepdim=True)) & (iou > 0)).any(-2)
    no_object = torch.full_like(object_of, NEGATIVE).masked_fill_(best_iou >= negative_iou, IGNORED)
    return torch.where((best_iou >= positive_iou) | is_best, object_of, no_object)


def match_bipartite(iou: Tensor, positive_iou: float = POSITIVE_IOU) -> Tensor:
    """Match anchors with objects as SSD does: each object with one anchor of its own, then by IoU.

    The pair with the highest IoU is matched first, then the best pair of the remaining objects and anchors, until all
    objects have an anchor that they overlap or none is left. Each remaining anchor gets the object that it overlaps
    most if that IoU is greater than `positive_iou`; the others are negative. Ties go to the first object, then to the
    first anchor, on every device.

    Args:
        iou: float [..., N, A] of N objects and A anchors; `NO_OBJECT` in rows without object.
        positive_iou: the IoU that further anchors of an object must exceed.

    Returns:
        int64 [..., A]: the index of each anchor's object, or `NEGATIVE`.
    """
    objects, anchors = iou.shape[-2:]
    best_iou, object_of = iou.max(-2)
    object_of = torch.where(best_iou > positive_iou, object_of, NEGATIVE)
    left = iou.clone()
    for _ in range(min(objects, anchors)):
        pairs = left.flatten(-2)
        pair = pairs.argmax(-1, keepdim=True)
        row, anchor = pair // anchors, pair % anchors
        matched = torch.where(pairs.gather(-1, pair) > 0, row, object_of.gather(-1, anchor))
        object_of.scatter_(-1, anchor, matched)
        left.scatter_(-2, row[..., None].expand(*row.shape[:-1], 1, anchors), NO_OBJECT)
        left.scatter_(-1, anchor[..., None].expand(*anchor.shape[:-1], objects, 1), NO_OBJECT)
    return object_of


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the offsets of boxes from anchors, [..., 4], from which `BOX_CODER.decode_single` makes the boxes again.

    The results equal those of `BOX_CODER.encode_single` bit for bit. That method copies its weights to the device each
    time, for which the host waits on a GPU.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    left, top, right, bottom = anchors.unbind(-1)
    width, height = right - left, bottom - top
    box_width, box_height = x2 - x1, y2 - y1
    of_x, of_y, of_width, of_height = BOX_CODER.weights
    dx = of_x * ((x1 + 0.5 * box_width) - (left + 0.5 * width)) / width
    dy = of_y * ((y1 + 0.5 * box_height) - (top + 0.5 * height)) / height
    dw, dh = of_width * torch.log(box_width / width), of_height * torch.log(box_height / height)
    return torch.stack([dx, dy, dw, dh], dim=-1)


def box_loss(offsets: Tensor, anchors: Tensor, targets: Targets) -> Tensor:
    """Return the smooth L1 loss (β = 1) of the offsets of the P positive anchors, averaged over 4P numbers; 0 if P = 0.

    Args:
        offsets: [B, A, 4], predicted.
        anchors: float32 [A, 4].
        targets: of the same B images and A anchors.
    """
    if not offsets.is_cpu:
        return _box_loss_without_wait(offsets, anchors, targets)
    # On a CPU it is cheaper to use the positive anchors only, and their number is known.
    if not targets.positive.any():
        return offsets.sum(dtype=torch.float32) * 0
    positive_anchors = anchors.expand(len(offsets), -1, -1)[targets.positive]
    target_offsets = encode_boxes(targets.boxes[targets.positive], positive_anchors)
    return smooth_l1_loss(offsets[targets.positive].float(), target_offsets)


def _box_loss_without_wait(offsets: Tensor, anchors: Tensor, targets: Targets) -> Tensor:
    """Return the box loss, computed at all anchors so that no shape depends on the number of positive ones."""
    positive, target_offsets = targets.positive[..., None], encode_boxes(targets.boxes, anchors)
    # Other anchors are replaced before anything is computed, as their gradient would be 0 times infinity.
    predicted, wanted = torch.where(positive, offsets.float(), 0.0), torch.where(positive, target_offsets, 0.0)
    return smooth_l1_loss(predicted, wanted, reduction="sum") / (4 * targets.positive.sum()).clamp(min=1)
