"""What every data set is read into: one record an image."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.utils.errors import UserError


class DataError(UserError):
    """Something is wrong with the data on disk; the message names the file and what to do."""


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image.

    ``boxes`` are continuous ``(x1, y1, x2, y2)`` in pixels with the origin at the image's top left corner, so
    that a box's width is ``x2 - x1``; PASCAL VOC's one-based inclusive corners become
    ``(xmin - 1, ymin - 1, xmax, ymax)``, with which the continuous IoU equals the devkit's inclusive-pixel IoU.
    """

    image_id: str | int  # VOC: the file's stem; COCO: the id in the JSON file
    path: Path
    width: int
    height: int
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 0 … K−1
    difficult: Tensor  # bool [N]: VOC's difficult; neither trained on nor counted in evaluation
    crowd: Tensor  # bool [N]: COCO's iscrowd; not trained on, in evaluation detections on it are not counted
    area: Tensor  # float32 [N]: COCO's segmentation area; elsewhere the box's own

    def training_objects(self) -> tuple[Tensor, Tensor]:
        """Boxes and labels without difficult and crowd ones."""
        keep = ~(self.difficult | self.crowd)
        return self.boxes[keep], self.labels[keep]


def make_record(image_id, path, width, height, boxes, labels, difficult=None, crowd=None, area=None) -> ImageRecord:
    """An :class:`ImageRecord` from plain lists; ``difficult`` and ``crowd`` default to none, ``area`` to the boxes'."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    count = len(boxes)
    none = [False] * count
    if area is None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return ImageRecord(
        image_id,
        Path(path),
        int(width),
        int(height),
        boxes,
        torch.as_tensor(labels, dtype=torch.int64).reshape(count),
        torch.as_tensor(none if difficult is None else difficult, dtype=torch.bool).reshape(count),
        torch.as_tensor(none if crowd is None else crowd, dtype=torch.bool).reshape(count),
        torch.as_tensor(area, dtype=torch.float32).reshape(count),
    )
