"""The annotations of a JSON file in COCO's format, as arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.data.box_checks import extent_of_turned
from src.data.fields import as_angle, as_number
from src.data.messages import Notes, shown
from src.data.records import DataError

BOX_FROM_POLYGONS = "bbox of segmentation"  # the key of an annotation whose box is the extent of its polygons
ROTATION = "rotation of bbox"  # the key of the angle, in degrees, by which a box is turned about its centre

_MOST_AREA = 1e10  # square pixels; COCO's metrics silently ignore larger objects

_FLAGS = {"none": False, "": False, "0": False, "0.0": False, "false": False}
_FLAGS |= {"1": True, "1.0": True, "true": True}


@dataclass(frozen=True)
class CocoObjects:
    """N annotations."""

    ids: list[str]  # for messages
    images: np.ndarray  # int64 [N]: rows of the images
    categories: np.ndarray  # int64 [N]: rows of the categories
    boxes: np.ndarray  # float64 [N, 4]: (x, y, width, height) in pixels
    crowd: np.ndarray  # bool [N]
    ignored: np.ndarray  # bool [N]: what converters from VOC's format write for difficult
    area: np.ndarray  # float64 [N]; NaN where the file gives none


def parse_objects(
    path: Path,
    annotations: Sequence[dict[str, Any]],
    *,
    find_image: Callable[[Any], int | None],
    find_category: Callable[[Any], int | None],
    notes: Notes,
) -> CocoObjects:
    """Return the annotations of a file.

    Args:
        path, annotations: the file, and its list of annotations.
        find_image, find_category: return the row of an image's or a category's id, or None.
        notes: what was repaired or left out is added here.

    Raises:
        DataError: an annotation is of no known image or category, or its box or a flag of it is not one.
    """
    ids: list[str] = []
    rows: list[tuple[int, int]] = []
    boxes: list[list[float]] = []
    flags: list[tuple[bool, bool]] = []
    area: list[float] = []
    first_of: dict[str, int] = {}  # by id
    faults, repeated, from_polygons, turned, other_area = [], [], [], [], []
    for number, annotation in enumerate(annotations, start=1):
        annotation_id = shown(annotation["id"]) if annotation.get("id") is not None else f"number {number} (without id)"
        try:
            row = _row(annotation, find_image, find_category)
            box, its_flags = _box(annotation.get("bbox")), (_flag(annotation, "iscrowd"), _flag(annotation, "ignore"))
        except ValueError as error:
            faults.append(f"annotation {annotation_id} {error}")
            continue
        angle = as_angle(annotation.get(ROTATION))
        if is_turned := angle != 0 and min(box[2:]) > 0:
            x1, y1, x2, y2 = extent_of_turned((box[0], box[1], box[0] + box[2], box[1] + box[3]), angle)
            box = [x1, y1, x2 - x1, y2 - y1]
        first = first_of.setdefault(annotation_id, len(rows))
        if first < len(rows) and (rows[first], boxes[first], flags[first]) == (row, box, its_flags):
            repeated.append(annotation_id)
            continue
        from_polygons += [annotation_id] if BOX_FROM_POLYGONS in annotation else []
        turned += [annotation_id] if is_turned else []
        area.append(_area(annotation.get("area")))
        if np.isnan(area[-1]) and annotation.get("area") is not None and min(box[2:]) > 0:
            other_area.append(annotation_id)
        ids.append(annotation_id)
        rows.append(row)
        boxes.append(box)
        flags.append(its_flags)
    _refuse(path, faults)
    notes["left out {count} annotations that are in the file twice, {names}"] = repeated
    notes["took the extent of the segmentation where there is no bbox, in {count} annotations, {names}"] = from_polygons
    notes["took the extents of {count} rotated boxes as their boxes, annotations {names}"] = turned
    notes["took the box's area where the file gives an impossible one, in {count} annotations, {names}"] = other_area
    images, categories = np.array(rows, np.int64).reshape(-1, 2).T
    crowd, ignored = np.array(flags, bool).reshape(-1, 2).T
    return CocoObjects(
        ids,
        images=images,
        categories=categories,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        crowd=crowd,
        ignored=ignored,
        area=np.array(area, np.float64),
    )


def _refuse(path: Path, faults: Sequence[str]) -> None:
    """Raise a DataError with the first of the faults and the number of others, if there are any."""
    if faults:
        more = f"; {len(faults) - 1} other annotations have faults too" if len(faults) > 1 else ""
        raise DataError(f"{path}: {faults[0]}{more}")


def _row(
    annotation: dict[str, Any], find_image: Callable[[Any], int | None], find_category: Callable[[Any], int | None]
) -> tuple[int, int]:
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    image, category = find_image(image_id), find_category(category_id)
    if image is None:
        raise ValueError(f"is of image {shown(image_id)}, which is not in 'images'; correct its image_id or delete it")
    if category is None:
        raise ValueError(
            f"is of category {shown(category_id)}, which is not in 'categories'; correct its category_id, or add the "
            "category"
        )
    return image, category


def _box(value: Any) -> list[float]:
    try:
        if isinstance(value, list) and len(value) == 4:
            return [as_number(number) for number in value]
    except ValueError:
        pass
    raise ValueError(
        f"has the bbox {shown(value)}, which should be [x, y, width, height] in pixels; correct or delete it"
    )


def _flag(annotation: dict[str, Any], key: str) -> bool:
    value = annotation.get(key)
    text = "0" if value == 0 else str(value).strip().lower()
    if text not in _FLAGS:
        raise ValueError(f"has the {key} {shown(value, 40)!r}, which should be 0 or 1")
    return _FLAGS[text]


def _area(value: Any) -> float:
    """Return an area; NaN if it is not positive, as many programs write 0 or −1 for none, or larger than any image."""
    try:
        area = as_number(value)
    except ValueError:
        return np.nan
    return area if 0 < area <= _MOST_AREA else np.nan
