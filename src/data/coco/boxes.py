"""The boxes of a JSON file in COCO's format, as corners inside their images."""

from pathlib import Path

import numpy as np

from src.data.box_checks import are_corners, are_written_otherwise, has_area
from src.data.coco.objects import CocoObjects
from src.data.messages import Notes, first_names
from src.data.records import DataError


def clip_boxes(path: Path, objects: CocoObjects, sizes: np.ndarray, notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners (x1, y1, x2, y2) of boxes clipped to their images, [N, 4], and which of them have area, [N].

    Args:
        path: of the file, for messages.
        objects: N annotations.
        sizes: (width, height) of the image of each, [N, 2].
        notes: the annotations whose boxes are dropped or clipped are added here.

    Raises:
        DataError: the boxes are fractions of the image, or corners, or their centres are given, or none lies in its
            image.
    """
    boxes = objects.boxes
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    clipped = corners.clip(0, np.tile(sizes, 2))
    with_area = has_area(clipped) & np.all(boxes[:, 2:] > 0, axis=1)
    outside = with_area & np.any(np.abs(clipped - corners) > 1, axis=1)
    _refuse_fractions(path, objects, sizes, notes)
    corners_given = are_corners(boxes, outside=outside | ~with_area, area=objects.area)
    if corners_given and np.all(boxes <= np.tile(sizes, 2) + 1, axis=1).mean() >= 0.98:
        raise DataError(
            f"{path}: its bbox are corners [x1, y1, x2, y2], as {_where(objects, outside)}; COCO's are "
            "[x, y, width, height]. Subtract x1 and y1 from the last two"
        )
    half = boxes[:, 2:] / 2
    around_centres = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    if are_written_otherwise(outside, around_centres, sizes, tolerance=1):
        raise DataError(
            f"{path}: its bbox give the centre, as {_where(objects, outside)}; COCO's are [x, y, width, height] with x "
            "and y of the left top corner. Subtract half of the last two from the first two"
        )
    if len(boxes) and not with_area.any():
        raise DataError(
            f"{path}: none of its {len(boxes)} boxes has an area inside its image; bbox should be "
            "[x, y, width, height] in pixels of an image of the width and height in 'images'"
        )
    ids = np.array(objects.ids, dtype=object)
    notes["dropped {count} boxes without area or wholly outside their image, annotations {names}"] = list(
        ids[~with_area]
    )
    notes["clipped {count} boxes that reach over a pixel outside their image, annotations {names}"] = list(ids[outside])
    return clipped, with_area


def _refuse_fractions(path: Path, objects: CocoObjects, sizes: np.ndarray, notes: Notes) -> None:
    """Raise a DataError if boxes are fractions of the image's size instead of pixels.

    In a large set a few may be specks in a corner: they are noted.
    """
    boxes = objects.boxes
    small = np.all((boxes >= 0) & (boxes <= 1.001), axis=1) & np.all(boxes[:, 2:] > 0, axis=1) & (sizes.max(axis=1) > 2)
    if not small.all():
        small &= np.any(boxes != np.rint(boxes), axis=1)
    ids = [objects.ids[index] for index in np.flatnonzero(small)]
    if ids and len(ids) * 1000 >= len(boxes):
        raise DataError(
            f"{path}: the bbox of {len(ids)} of {len(boxes)} annotations lies between 0 and 1, {first_names(ids)}: "
            "COCO's are in pixels. Multiply by width and height, or delete what is a speck in a corner"
        )
    notes["kept {count} boxes under a pixel in the corner of their image, annotations {names}"] = ids


def _where(objects: CocoObjects, outside: np.ndarray) -> str:
    """Return what shows that boxes are corners, for a message."""
    if not outside.any():
        return "their areas show"
    first = int(np.flatnonzero(outside)[0])
    box = ", ".join(f"{number:g}" for number in objects.boxes[first])
    return f"{outside.sum()} of {len(outside)} would reach outside their image, such as [{box}] of {objects.ids[first]}"
