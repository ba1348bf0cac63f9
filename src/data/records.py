"""The form that every data set is read into: one record per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.utils.errors import UserError

Box = tuple[float, float, float, float]


class DataError(UserError):
    """Something is wrong with the data on disk; the message names the file and what to do."""


@dataclass(frozen=True)
class ImageRecord:
    """One annotated image.

    `boxes` are continuous (x1, y1, x2, y2) in pixels with the origin at the image's top left corner, so that a box's
    width is x2 − x1. PASCAL VOC's one-based inclusive corners become (xmin − 1, ymin − 1, xmax, ymax); the continuous
    IoU of such boxes equals the development kit's IoU of inclusive pixels.
    """

    image_id: str | int  # VOC and YOLO: from the file's name; COCO: the id in the JSON file
    path: Path
    width: int  # pixels
    height: int  # pixels
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N], 0 … K−1
    difficult: Tensor  # bool [N]: VOC's difficult, COCO's ignore; neither trained on nor counted in evaluation
    crowd: Tensor  # bool [N]: COCO's iscrowd; not trained on, and detections on it are not counted in evaluation
    area: Tensor  # float32 [N], square pixels: COCO's segmentation area; elsewhere that of the box

    def training_objects(self, size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Return the boxes [M, 4] and labels [M] of the objects that are neither difficult nor crowds.

        Args:
            size: (height, width) of the image once it is resized, in whose pixels the boxes then are; None: as it is.
        """
        keep = ~(self.difficult | self.crowd)
        if size is None:
            return self.boxes[keep], self.labels[keep]
        zoom = torch.tensor([size[1] / self.width, size[0] / self.height] * 2)
        return self.boxes[keep] * zoom, self.labels[keep]


def make_record(
    image_id: str | int,
    path: str | Path,
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
) -> ImageRecord:
    """Build a record from plain lists.

    Args:
        image_id: the file's stem, or the data set's number of the image.
        path: of the image.
        size: its width and height in pixels.
        boxes: N of (x1, y1, x2, y2) in pixels; `area` is computed from them.
        labels: N, 0 … K−1.
        difficult: N; None for none.
        crowd: N; None for none.
    """
    count = len(boxes)
    corners = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    none = [False] * count
    return ImageRecord(
        image_id=image_id,
        path=Path(path),
        width=size[0],
        height=size[1],
        boxes=corners,
        labels=torch.as_tensor(labels, dtype=torch.int64).reshape(count),
        difficult=torch.as_tensor(none if difficult is None else difficult, dtype=torch.bool).reshape(count),
        crowd=torch.as_tensor(none if crowd is None else crowd, dtype=torch.bool).reshape(count),
        area=(corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]),
    )
