"""What every detector returns and every metric reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from src.data.records import ImageRecord


@dataclass(frozen=True)
class Detections:
    """The detections on one image, in the coordinates of :class:`~src.data.records.ImageRecord`."""

    boxes: Tensor  # float [M, 4]: continuous (x1, y1, x2, y2) in pixels of the original image
    scores: Tensor  # float [M]
    labels: Tensor  # int64 [M], 0 … K−1


def check_detections(records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str]) -> None:
    """Raise ``ValueError``, naming the image at fault, unless metrics can be computed of ``detections``.

    ``detections[i]`` belongs to ``records[i]``. Boxes and scores must be finite, ``x1 <= x2``, ``y1 <= y2``,
    and the labels of both ground truth and detections in 0 … K−1 for K different ``classes``.
    """
    if len(set(classes)) != len(classes):
        raise ValueError(f"class names must differ from each other; got {list(classes)}")
    if len(records) != len(detections):
        raise ValueError(
            f"{len(detections)} sets of detections for {len(records)} images: give one for each record, in "
            "the same order, empty where nothing was found"
        )
    for record, found in zip(records, detections, strict=True):
        where = f"image {record.image_id!r}"
        count = len(found.boxes)
        shapes = [tuple(values.shape) for values in (found.boxes, found.scores, found.labels)]
        if shapes != [(count, 4), (count,), (count,)]:
            raise ValueError(
                f"{where}: detections have boxes {shapes[0]}, scores {shapes[1]} and labels {shapes[2]}; "
                "expected [M, 4], [M] and [M]"
            )
        for name, values in (("scores", found.scores), ("boxes", found.boxes)):
            if not torch.isfinite(values).all():
                raise ValueError(f"{where}: detection {name} hold NaN or infinity; did the training diverge?")
        if (found.boxes[:, 2:] < found.boxes[:, :2]).any():
            raise ValueError(f"{where}: a detected box has x2 < x1 or y2 < y1; boxes are (x1, y1, x2, y2)")
        for name, labels in (("detection", found.labels), ("ground truth", record.labels)):
            if labels.is_floating_point():
                raise ValueError(f"{where}: {name} labels are {labels.dtype}; expected integers")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
                raise ValueError(
                    f"{where}: {name} labels run from {int(labels.min())} to {int(labels.max())}, outside of "
                    f"0 … {len(classes) - 1} for {len(classes)} classes"
                )
