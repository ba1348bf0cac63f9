"""From a detector's outputs to detections."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from src.data.loading import InferenceBatch
from src.data.records import ImageRecord
from src.detectors.anchors import make_anchors
from src.detectors.detections import Detections
from src.detectors.targets import BOX_CODER


@dataclass(frozen=True)
class ImageOutputs:
    """A detector's outputs for one image, before any box is chosen."""

    index: int  # of the image in the data set
    size: tuple[int, int]  # (height, width) of the image as the detector's input, without its padding
    scores: Tensor  # [A, K], from 0 to 1
    offsets: Tensor  # [A, 4], of the anchors
    anchors: list[Tensor]  # the levels' anchors, A in all


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
        score_threshold: that candidates must exceed, except on the coarsest level, whose few anchors are all kept.
        candidates_per_level: the most (anchor, class) pairs that a level contributes.
        nms_iou: IoU above which the lower scored of two boxes of a class is removed.
        max_detections: the most detections that are kept.

    Returns:
        Detections on the CPU by falling score, in pixels of the detector's input.
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
    all_boxes, all_scores, all_labels = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
    all_boxes = clip_boxes_to_image(all_boxes, outputs.size)
    keep = batched_nms(all_boxes, all_scores, all_labels, nms_iou)[:max_detections]
    return Detections(all_boxes[keep].cpu(), all_scores[keep].cpu(), all_labels[keep].cpu())


@torch.inference_mode()
def image_outputs(
    model: nn.Module,
    batches: Iterable[InferenceBatch],
    device: torch.device,
    anchor_scale: float,
    activation: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Iterator[ImageOutputs]:
    """Yield the outputs for every image in the batches.

    Args:
        model: from images [B, 3, H, W] to logits [B, A, K] and offsets [B, A, 4].
        batches: of images.
        device: of the model.
        anchor_scale: side of the smaller square anchors in strides.
        activation: turns logits [B, A, K] into scores.
    """
    model.eval()
    for batch in batches:
        logits, offsets = model(batch.images.to(device, memory_format=torch.channels_last, non_blocking=True))
        scores = activation(logits.float())
        height, width = batch.images.shape[-2:]
        anchors = make_anchors(height, width, anchor_scale, device=device)
        for row, (index, size) in enumerate(zip(batch.indexes, batch.sizes, strict=True)):
            yield ImageOutputs(index, size, scores=scores[row], offsets=offsets[row], anchors=anchors)


@torch.inference_mode()
def predict(outputs: Iterable[ImageOutputs], records: list[ImageRecord], **options: Any) -> dict[int, Detections]:
    """Return the detections on every image, by its index in the data set and in pixels of the original image.

    Args:
        outputs: of the detector for each image.
        records: the data set.
        options: keyword arguments of `detect`.
    """
    results = {}
    for image in outputs:
        detections = detect(image, **options)
        height, width = image.size
        zoom = torch.tensor([records[image.index].width / width, records[image.index].height / height] * 2)
        results[image.index] = Detections(detections.boxes * zoom, detections.scores, detections.labels)
    return results
