"""Post-processing: from a detector's outputs to detections."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from src.detectors.detections import Detections
from src.detectors.targets import BOX_CODER


@dataclass(frozen=True)
class ImageOutputs:
    """A detector's raw outputs for one image."""

    index: int  # of the image in the data set
    size: tuple[int, int]  # (height, width) of the image as the detector's input, without its padding
    scores: Tensor  # [A, K], from 0 to 1
    offsets: Tensor  # [A, 4], of the anchors
    anchors: list[Tensor]  # of each level, A in total


def detect(
    outputs: ImageOutputs,
    *,
    score_threshold: float = 0.01,
    candidates_per_level: int = 1000,
    nms_iou: float = 0.5,
    max_detections: int = 100,
) -> Detections:
    """Return the best detections of one image: the top candidates of each level after class-wise NMS.

    Args:
        outputs: of the detector for the image.
        score_threshold: candidates must exceed it, except on the coarsest level, whose few anchors are all kept.
        candidates_per_level: the maximum number of (anchor, class) pairs per level.
        nms_iou: IoU above which the lower-scored of two boxes of a class is removed.
        max_detections: the maximum number of detections kept.

    Returns:
        Detections on the CPU in descending order of score, in pixels of the detector's input.
    """
    boxes, scores, labels = [], [], []
    start = 0
    for level, anchors in enumerate(outputs.anchors):
        stop = start + len(anchors)
        level_scores = outputs.scores[start:stop].flatten()
        threshold = score_threshold if level < len(outputs.anchors) - 1 else 0.0
        above = (level_scores > threshold).nonzero().squeeze(1)
        top_scores, order = level_scores[above].topk(min(candidates_per_level, len(above)))
        classes = outputs.scores.shape[1]
        anchor, label = above[order] // classes, above[order] % classes
        boxes.append(BOX_CODER.decode_single(outputs.offsets[start:stop][anchor].float(), anchors[anchor]))
        scores.append(top_scores)
        labels.append(label)
        start = stop
    candidates = Detections(torch.cat(boxes), torch.cat(scores), torch.cat(labels))
    return _best(candidates, outputs.size, nms_iou, max_detections)


def detect_by_class(
    outputs: ImageOutputs,
    *,
    score_threshold: float = 0.01,
    candidates_per_class: int = 400,
    nms_iou: float = 0.45,
    max_detections: int = 200,
) -> Detections:
    """Return the best detections of one image as SSD does: the top candidates of each class after NMS.

    Args:
        outputs: of the detector for the image.
        score_threshold: candidates must exceed it.
        candidates_per_class: the maximum number of anchors per class that enter NMS.
        nms_iou: IoU above which the lower-scored of two boxes of a class is removed.
        max_detections: the maximum number of detections kept.

    Returns:
        Detections on the CPU in descending order of score, in pixels of the detector's input.
    """
    scores, anchor = outputs.scores.topk(min(candidates_per_class, len(outputs.scores)), dim=0)  # [M, K]
    above = scores > score_threshold
    labels = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)[above]
    scores, anchor = scores[above], anchor[above]
    boxes = BOX_CODER.decode_single(outputs.offsets[anchor].float(), torch.cat(outputs.anchors)[anchor])
    return _best(Detections(boxes, scores, labels), outputs.size, nms_iou, max_detections)


def _best(candidates: Detections, size: tuple[int, int], nms_iou: float, max_detections: int) -> Detections:
    """Return the best of the candidates in an image of (height, width), clipped to it, after class-wise NMS."""
    boxes = clip_boxes_to_image(candidates.boxes, size)
    keep = batched_nms(boxes, candidates.scores, candidates.labels, nms_iou)[:max_detections]
    return Detections(boxes[keep].cpu(), candidates.scores[keep].cpu(), candidates.labels[keep].cpu())
