"""From ground truth boxes to what the losses want: a target for each (anchor, class), and boxes to regress to."""

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
    """What a batch of B images with A anchors and K classes should be."""

    classes: Tensor  # int8 [B, A, K]: 1 positive, 0 negative, −1 ignored
    boxes: Tensor  # float32 [P, 4]: of each positive anchor, in the order of (image, anchor)
    positive: Tensor  # bool [B, A]


def assign_targets(
    anchors: Tensor,
    boxes: list[Tensor],
    labels: list[Tensor],
    classes: int,
    positive_iou: float = 0.5,
    negative_iou: float = 0.4,
) -> Targets:
    """Labels each anchor, replicated K times (Section 3.1.1, Fig. 3).

    An anchor is positive for the class of the ground truth that it overlaps most if that IoU is at least
    `positive_iou`, or if no anchor overlaps some ground truth more; it is negative for all other classes. Below
    `negative_iou` it is negative for all, between the two it is ignored by all.

    Args:
        anchors: float32 [A, 4], shared by all images.
        boxes: for each image float32 [N, 4]; N may be 0.
        labels: for each image int64 [N], 0 … K−1.
        classes: the number of classes K.
    """
    matcher = Matcher(positive_iou, negative_iou, allow_low_quality_matches=True)
    shape = len(boxes), len(anchors)
    target = torch.zeros(*shape, classes, dtype=torch.int8, device=anchors.device)
    positive = torch.zeros(shape, dtype=torch.bool, device=anchors.device)
    matched_boxes = []
    for image, (image_boxes, image_labels) in enumerate(zip(boxes, labels, strict=True)):
        if len(image_boxes) == 0:
            continue
        match = matcher(box_iou(image_boxes, anchors))
        target[image, match == Matcher.BETWEEN_THRESHOLDS] = -1
        index = (match >= 0).nonzero().squeeze(1)
        positive[image, index] = True
        target[image, index, image_labels[match[index]]] = 1
        matched_boxes.append(image_boxes[match[index]])
    return Targets(target, torch.cat(matched_boxes) if matched_boxes else anchors.new_zeros(0, 4), positive)


def box_loss(offsets: Tensor, anchors: Tensor, targets: Targets) -> Tensor:
    """Smooth L1 loss with β = 1 of the positive anchors' offsets, averaged over their 4|P| numbers; 0 without any.

    Args:
        offsets: [B, A, 4], predicted.
        anchors: float32 [A, 4].
    """
    if len(targets.boxes) == 0:
        return offsets.sum() * 0
    positive_anchors = anchors.expand(len(offsets), -1, -1)[targets.positive]
    wanted = BOX_CODER.encode_single(targets.boxes, positive_anchors)
    return smooth_l1_loss(offsets[targets.positive].float(), wanted)
