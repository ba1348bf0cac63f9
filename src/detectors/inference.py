"""Detections on the images of a data set."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from src.data.loading import InferenceBatch
from src.data.records import ImageRecord
from src.detectors.detections import Detections
from src.detectors.detector import Detector, check_outputs
from src.detectors.postprocess import ImageOutputs


@torch.inference_mode()
def image_outputs(
    network: nn.Module,
    detector: Detector,
    batches: Iterable[InferenceBatch],
    device: torch.device,
    activation: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Iterator[ImageOutputs]:
    """Yield the outputs for every image in the batches.

    Args:
        network: of the detector, on the device.
        batches: of images.
        device: where to compute.
        activation: turns logits [B, A, K] into scores.
    """
    network.eval()
    for batch in batches:
        logits, offsets = network(batch.images.to(device, memory_format=torch.channels_last, non_blocking=True))
        scores = activation(logits.float())
        height, width = batch.images.shape[-2:]
        anchors = detector.anchors(height, width, device)
        check_outputs(logits, offsets, images=len(batch.images), anchors=sum(map(len, anchors)))
        for row, (index, size) in enumerate(zip(batch.indexes, batch.sizes, strict=True)):
            yield ImageOutputs(index, size, scores=scores[row], offsets=offsets[row], anchors=anchors)


@torch.inference_mode()
def predict(
    outputs: Iterable[ImageOutputs], records: list[ImageRecord], detect: Callable[[ImageOutputs], Detections]
) -> dict[int, Detections]:
    """Return the detections on every image, by its index in the data set and in pixels of the original image.

    Args:
        outputs: of the detector for each image.
        records: the data set.
        detect: returns an image's detections in pixels of the detector's input.
    """
    return {image.index: detect(image).in_pixels_of(records[image.index], image.size) for image in outputs}


def mirror(detections: Detections, width: int) -> Detections:
    """Return detections mirrored left to right in an image of this width."""
    x1, y1, x2, y2 = detections.boxes.unbind(1)
    return Detections(torch.stack([width - x2, y1, width - x1, y2], dim=1), detections.scores, detections.labels)


def merge_views(
    by_view: Sequence[Mapping[int, Detections]], *, nms_iou: float, max_detections: int
) -> dict[int, Detections]:
    """Return the detections of all views of each image together, after class-wise NMS.

    Args:
        by_view: for each view the detections on every image, in pixels of the original image.
        nms_iou: IoU above which the lower-scored of two boxes of a class is removed.
        max_detections: the maximum number of detections kept per image.
    """
    merged = {}
    for index in by_view[0]:
        of_image = [detections[index] for detections in by_view]
        boxes, scores, labels = (
            torch.cat([getattr(one, name) for one in of_image]) for name in ("boxes", "scores", "labels")
        )
        keep = batched_nms(boxes, scores, labels, nms_iou)[:max_detections]
        merged[index] = Detections(boxes[keep], scores[keep], labels[keep])
    return merged
