"""Detections on an image: the output of every detector and the input of every metric."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.data.records import ImageRecord


@dataclass(frozen=True)
class Detections:
    """The detections on one image, in the coordinates of its `ImageRecord`."""

    boxes: Tensor  # float [M, 4]: continuous (x1, y1, x2, y2) in pixels of the original image
    scores: Tensor  # float [M]
    labels: Tensor  # int64 [M], 0 … K−1

    def in_pixels_of(self, record: ImageRecord, size: tuple[int, int]) -> "Detections":
        """Return detections on a record's image, resized to (height, width), in the record's own pixels."""
        zoom = torch.tensor([record.width / size[1], record.height / size[0]] * 2)
        return Detections(self.boxes * zoom, self.scores, self.labels)


def check_detections(records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str]) -> None:
    """Raise a ValueError unless metrics can be computed for these detections.

    Boxes and scores must be finite, with x1 ≤ x2 and y1 ≤ y2. Labels of ground truth and detections must be integers
    in 0 … K−1.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: K different names.

    Raises:
        ValueError: naming the image at fault.
    """
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names must differ from each other; got {list(classes)}")
    if len(records) != len(detections):
        raise ValueError(
            f"{len(detections)} sets of detections for {len(records)} images: give one for each record, in "
            "the same order, empty where nothing was detected"
        )
    for record, of_image in zip(records, detections, strict=True):
        where = f"image {record.image_id!r}"
        _check_tensors(of_image, where)
        _check_labels(of_image.labels, len(classes), f"{where}: detection")
        _check_labels(record.labels, len(classes), f"{where}: ground truth")


def _check_tensors(detections: Detections, where: str) -> None:
    """Raise a ValueError unless an image's detections have the right shapes, finite values and ordered corners."""
    boxes, scores, labels = detections.boxes, detections.scores, detections.labels
    count = len(boxes)
    shapes = [tuple(values.shape) for values in (boxes, scores, labels)]
    if shapes != [(count, 4), (count,), (count,)]:
        raise ValueError(
            f"{where}: detections have boxes {shapes[0]}, scores {shapes[1]} and labels {shapes[2]}; "
            "expected [M, 4], [M] and [M]"
        )
    for name, values in (("scores", scores), ("boxes", boxes)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{where}: detection {name} hold NaN or infinity; did the training diverge?")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(f"{where}: a detected box has x2 < x1 or y2 < y1; boxes are (x1, y1, x2, y2)")


def _check_labels(labels: Tensor, classes: int, where: str) -> None:
    """Raise a ValueError unless labels are integers in 0 … K−1."""
    if labels.is_floating_point():
        raise ValueError(f"{where} labels are {labels.dtype}; expected integers")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"{where} labels run from {int(labels.min())} to {int(labels.max())}, outside of "
            f"0 … {classes - 1} for {classes} classes"
        )
