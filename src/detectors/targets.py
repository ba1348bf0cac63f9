"""Training targets from ground truth: a target for each (anchor, class), and a box for each positive anchor."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

# Offsets are divided by standard deviations of (.1, .1, .2, .2).
BOX_CODER = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))


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
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
) -> Targets:
    """Return the targets of each anchor, replicated K times (Section 3.1.1, Fig. 3).

    An anchor is positive for the class of the ground truth that it overlaps most if that IoU is at least
    `positive_iou`, or if no anchor overlaps some ground truth more; it is negative for all other classes. Below
    `negative_iou` it is negative for all classes; between the two it is ignored for all.

    Args:
        anchors: float32 [A, 4], shared by all images.
        boxes: for each image float32 [N, 4]; N may be 0.
        labels: for each image int64 [N], 0 … K−1.
        classes: number of classes K.
        positive_iou: the least IoU of a positive anchor.
        negative_iou: the IoU below which an anchor is negative.
    """
    matcher = Matcher(positive_iou, negative_iou, allow_low_quality_matches=True)
    shape = len(boxes), len(anchors)
    target_classes = torch.zeros(*shape, classes, dtype=torch.int8, device=anchors.device)
    positive = torch.zeros(shape, dtype=torch.bool, device=anchors.device)
    matched_boxes = []
    for image, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
        if len(image_boxes) == 0:
            continue
        match = matcher(box_iou(image_boxes, anchors))
        target_classes[image, match == Matcher.BETWEEN_THRESHOLDS] = -1
        index = (match >= 0).nonzero().squeeze(1)
        positive[image, index] = True
        target_classes[image, index, image_labels[match[index]]] = 1
        matched_boxes.append(image_boxes[match[index]])
    target_boxes = torch.cat(matched_boxes) if matched_boxes else anchors.new_zeros(0, 4)
    return Targets(target_classes, target_boxes, positive)


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
