"""From a detector's outputs to detections."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from src.data.loading import InferenceBatch
from src.data.records import ImageRecord
from src.detectors.anchors import make_anchors
from src.detectors.detections import Detections
from src.detectors.targets import BOX_CODER


def detect(
    scores: Tensor,
    offsets: Tensor,
    anchors: list[Tensor],
    image_size: tuple[int, int],
    *,
    score_threshold: float = 0.01,
    candidates: int = 1000,
    nms_iou: float = 0.5,
    detections: int = 100,
) -> Detections:
    """The best detections of one image: per level the top candidates, then class-wise non-maximum suppression.

    Args:
        scores: [A, K], from 0 to 1.
        offsets: [A, 4].
        anchors: the levels' anchors, A in all.
        image_size: (height, width) of the image without its padding, in pixels.
        score_threshold: candidates must score more, except on the coarsest level, whose few anchors all may stand.
        candidates: kept (anchor, class) pairs a level.
        nms_iou: IoU above which the lower scored of two boxes of a class goes.
        detections: kept in all.
    """
    boxes, best, labels = [], [], []
    start = 0
    for level, level_anchors in enumerate(anchors):
        stop = start + len(level_anchors)
        level_scores = scores[start:stop].flatten()
        threshold = score_threshold if level < len(anchors) - 1 else 0.0
        keep = (level_scores > threshold).nonzero().squeeze(1)
        top, index = level_scores[keep].topk(min(candidates, len(keep)))
        anchor, label = keep[index] // scores.shape[1], keep[index] % scores.shape[1]
        boxes.append(BOX_CODER.decode_single(offsets[start:stop][anchor].float(), level_anchors[anchor]))
        best.append(top)
        labels.append(label)
        start = stop
    boxes, best, labels = torch.cat(boxes), torch.cat(best), torch.cat(labels)
    boxes = clip_boxes_to_image(boxes, image_size)
    keep = batched_nms(boxes, best, labels, nms_iou)[:detections]
    return Detections(boxes[keep].cpu(), best[keep].cpu(), labels[keep].cpu())


@dataclass(frozen=True)
class ImageOutputs:
    """What a detector says of one image, before any box is chosen."""

    index: int  # of the image among the records
    size: tuple[int, int]  # (height, width) of the image as the detector saw it, without its padding
    scores: Tensor  # [A, K], from 0 to 1
    offsets: Tensor  # [A, 4]
    anchors: list[Tensor]  # the levels' anchors, A in all


@torch.inference_mode()
def image_outputs(
    model: nn.Module,
    batches: Iterable[InferenceBatch],
    device: torch.device,
    anchor_scale: float,
    activation: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Iterator[ImageOutputs]:
    """The outputs for every image in the batches; `activation` makes scores [B, A, K] of the model's logits."""
    model.eval()
    for batch in batches:
        logits, offsets = model(batch.images.to(device, memory_format=torch.channels_last, non_blocking=True))
        scores = activation(logits.float())
        anchors = make_anchors(*batch.images.shape[-2:], anchor_scale, device)
        for row, (index, size) in enumerate(zip(batch.indexes, batch.sizes, strict=True)):
            yield ImageOutputs(index, size, scores[row], offsets[row], anchors)


@torch.inference_mode()
def predict(
    outputs: Iterable[ImageOutputs], records: list[ImageRecord], score_threshold: float
) -> dict[int, Detections]:
    """The detections on every image, by its place among the records and in its own coordinates."""
    results = {}
    for image in outputs:
        found = detect(image.scores, image.offsets, image.anchors, image.size, score_threshold=score_threshold)
        height, width = image.size
        zoom = torch.tensor([records[image.index].width / width, records[image.index].height / height] * 2)
        results[image.index] = Detections(found.boxes * zoom, found.scores, found.labels)
    return results
