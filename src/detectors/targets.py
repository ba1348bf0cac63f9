"""Training targets from ground truth: a target for each (anchor, class), and a box for each positive anchor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

# Offsets are divided by standard deviations of (.1, .1, .2, .2).
BOX_CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))
NEGATIVE, IGNORED = Matcher.BELOW_LOW_THRESHOLD, Matcher.BETWEEN_THRESHOLDS

# RetinaNet's rule: an anchor is positive for the object that it overlaps most if that IoU is at least 0.5, or if no
# anchor overlaps some object more. Below 0.4 it is negative; between the two it is ignored.
match_by_iou = Matcher(0.5, 0.4, allow_low_quality_matches=True)


@dataclass(frozen=True)
class Targets:
    """The targets of a batch of B images with A anchors and K classes."""

    classes: Tensor  # int8 [B, A, K]: 1 positive, 0 negative, −1 ignored
    boxes: Tensor  # float32 [P, 4]: ground truth of each positive anchor, ordered by image, then anchor
    positive: Tensor  # bool [B, A], P of them true


def assign_targets(
    anchors: Tensor,
    boxes: list[Tensor],
    labels: list[Tensor],
    *,
    classes: int,
    match: Callable[[Tensor], Tensor] = match_by_iou,
) -> Targets:
    """Return the targets of each anchor, replicated K times (Section 3.1.1, Fig. 3).

    A matched anchor is positive for the class of its object and negative for all other classes. One without object is
    negative, or ignored, for all.

    Args:
        anchors: float32 [A, 4], shared by all images.
        boxes: for each image float32 [N, 4]; N may be 0.
        labels: for each image int64 [N], 0 … K−1.
        classes: number of classes K.
        match: from the IoUs of an image's objects and anchors [N, A] to each anchor's object, int64 [A], `NEGATIVE` or
            `IGNORED`.
    """
    shape = len(boxes), len(anchors)
    target_classes = torch.zeros(*shape, classes, dtype=torch.int8, device=anchors.device)
    positive = torch.zeros(shape, dtype=torch.bool, device=anchors.device)
    matched_boxes = []
    for image, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
        if len(image_boxes) == 0:
            continue
        object_of = match(box_iou(image_boxes, anchors))
        target_classes[image, object_of == IGNORED] = -1
        index = (object_of >= 0).nonzero().squeeze(1)
        positive[image, index] = True
        target_classes[image, index, image_labels[object_of[index]]] = 1
        matched_boxes.append(image_boxes[object_of[index]])
    target_boxes = torch.cat(matched_boxes) if matched_boxes else anchors.new_zeros(0, 4)
    return Targets(target_classes, target_boxes, positive)


def match_bipartite(iou: Tensor, positive_iou: float = 0.5) -> Tensor:
    """Match anchors with objects as SSD does: each object with one anchor of its own, then by IoU.

    The pair of greatest IoU is matched first, then that of all other objects and anchors, until all objects have an
    anchor that they overlap or none is left. Each remaining anchor has the object that it overlaps most if that IoU is
    greater than `positive_iou`; the others are negative. Of equal IoUs the first object's counts, then the first
    anchor's, on every device.

    Args:
        iou: float [N, A] of N objects and A anchors.
        positive_iou: the IoU that an anchor beyond each object's first must exceed.

    Returns:
        int64 [A]: the index of each anchor's object, or `NEGATIVE`.
    """
    best_iou, object_of = iou.max(0)
    object_of = torch.where(best_iou > positive_iou, object_of, NEGATIVE)
    left = iou.clone()
    for _ in range(min(iou.shape)):
        pair = left.argmax()
        row, anchor = pair // iou.shape[1], pair % iou.shape[1]
        object_of[anchor] = torch.where(left[row, anchor] > 0, row, object_of[anchor])
        left[row] = -1
        left[:, anchor] = -1
    return object_of


def box_loss(offsets: Tensor, anchors: Tensor, targets: Targets) -> Tensor:
    """Return the smooth L1 loss (β = 1) of the offsets of the P positive anchors, averaged over 4P numbers; 0 if P = 0.

    Args:
        offsets: [B, A, 4], predicted.
        anchors: float32 [A, 4].
        targets: of the same B images and A anchors.
    """
    if len(targets.boxes) == 0:
        return offsets.sum() * 0
    positive_anchors = anchors.expand(len(offsets), -1, -1)[targets.positive]
    target_offsets = BOX_CODER.encode_single(targets.boxes, positive_anchors)
    return smooth_l1_loss(offsets[targets.positive].float(), target_offsets)
