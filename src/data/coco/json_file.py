"""The content of a JSON file in COCO's format, checked entry by entry."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.data.coco.objects import BOX_FROM_POLYGONS, ROTATION, CocoObjects, parse_objects
from src.data.fields import as_number, canonical_id
from src.data.messages import Notes, first_names, shown
from src.data.records import DataError
from src.data.text import refuse_pointer
from src.utils.text import is_text


@dataclass(frozen=True)
class CocoImage:
    """An entry of `images`."""

    image_id: int | str
    file_name: str
    size: tuple[int, int] | None  # (width, height) in pixels; None where the entry gives none


@dataclass(frozen=True)
class CocoCategory:
    """An entry of `categories`."""

    category_id: int | str
    name: str
    supercategory: str


@dataclass(frozen=True)
class CocoFile:
    """A JSON file."""

    path: Path
    images: list[CocoImage]
    categories: list[CocoCategory]
    objects: CocoObjects
    notes: Notes  # on what was repaired or left out


def read_json(path: Path, *, needs_annotations: bool = True) -> CocoFile:
    """Read a JSON file in COCO's format.

    Numbers may be text, and an annotation may give the ids of its image and category in another type ("12" for 12).

    Args:
        path: of the file.
        needs_annotations: whether the list `annotations` must be there, as it is not in `image_info_*.json`.

    Raises:
        DataError: the file is not of that format, or an entry of it cannot be used; the message names the entry.
    """
    content = _load(path, needs_annotations)
    notes: Notes = {}
    images = _parse_images(path, content["images"], notes)
    categories = _parse_categories(path, content["categories"])
    objects = parse_objects(
        path,
        content["annotations"],
        find_image=_lookup([image.image_id for image in images]),
        find_category=_lookup([category.category_id for category in categories]),
        notes=notes,
    )
    return CocoFile(path, images=images, categories=categories, objects=objects, notes=notes)


def _load(path: Path, needs_annotations: bool) -> dict[str, Any]:
    """Return the JSON object of a file, which has the three lists of COCO's format."""
    try:
        text = path.read_bytes()
        refuse_pointer(text, path)
        content = json.loads(text, object_pairs_hook=_entry)  # UTF-8, UTF-16 or UTF-32
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore it") from error
    except UnicodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error}); save it as UTF-8") from error
    except DataError:
        raise
    except _RepeatedKey as error:
        raise DataError(f"{path}: {error}; keep one") from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply to be a file of COCO's instances") from error
    except ValueError as error:
        raise DataError(f"{path} is not complete JSON ({error}); fetch it again") from error
    _refuse_other_tasks(path, content)
    if not needs_annotations and isinstance(content, dict):
        content.setdefault("annotations", [])
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path} has no list {key!r}; {_kind(content)}")
        if not content[key] and key != "annotations":
            raise DataError(f"{path}: its list {key!r} is empty; export it again")
        for number, entry in enumerate(content[key], start=1):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: entry {number} of {key!r} is {shown(entry)}, which is not an object")
    return content


def _refuse_other_tasks(path: Path, content: Any) -> None:
    """Raise a DataError if a file has no boxes because it is of another of COCO's tasks."""
    annotations = content.get("annotations") if isinstance(content, dict) else None
    for entry in annotations if isinstance(annotations, list) else []:
        if isinstance(entry, dict) and not entry.get("bbox") and ("caption" in entry or "segments_info" in entry):
            task = "captions" if "caption" in entry else "panoptic segmentations"
            raise DataError(f"{path} holds {task} rather than boxes; the file instances_*.json is needed")


class _RepeatedKey(ValueError):
    pass


def _entry(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object without its segmentation.

    Segmentations are unused here, and would take most of the memory of every process. An annotation without a box gets
    the box around its polygons. One without a segmentation keeps the angle by which CVAT says that its box is turned.
    """
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RepeatedKey(f"the key {shown(repeated)!r} comes twice in one object, {shown(entry)}")
    segmentation = entry.pop("segmentation", None)
    if segmentation and "image_id" in entry and not entry.get("bbox"):
        box = _extent(segmentation)
        if box:
            entry |= {"bbox": box, BOX_FROM_POLYGONS: True}
    elif not segmentation and isinstance(attributes := entry.get("attributes"), dict):
        entry[ROTATION] = attributes.get("rotation")
    return entry


def _extent(polygons: Any) -> list[float] | None:
    """Return the (x, y, width, height) that encloses polygons [[x, y, x, y, …], …]; None for anything else."""
    try:
        points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
    except (TypeError, ValueError, OverflowError):
        return None
    if not len(points):
        return None
    corner = points.min(axis=0)
    return [*corner.tolist(), *(points.max(axis=0) - corner).tolist()]


def _kind(content: Any) -> str:
    """Return for a message what a JSON file without COCO's lists is, and what to do."""
    if isinstance(content, list):
        if content and isinstance(content[0], dict) and "score" in content[0]:
            return "it is a list of detections (results); the file of their ground truth is needed"
        return "it is a list, not an object of COCO's instances; export the annotations in COCO's format"
    if isinstance(content, dict) and "shapes" in content:
        return "it is a file of LabelMe; convert the annotations to COCO's format"
    if isinstance(content, dict) and ("images" in content and "annotations" not in content):
        return "it lists images without their annotations; the file instances_*.json is needed"
    return "it is not a file of COCO's instances; export the annotations in COCO's format"


def _parse_images(path: Path, entries: Sequence[dict[str, Any]], notes: Notes) -> list[CocoImage]:
    image_of: dict[int | str, CocoImage] = {}
    repeated = []
    for number, entry in enumerate(entries, start=1):
        image_id, name = _id(path, "images", entry, number=number), entry.get("file_name")
        if name is None and isinstance(entry.get("coco_url"), str):
            name = entry["coco_url"]  # LVIS
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{path}: image {shown(image_id)} has the file_name {shown(name)!r}; write the name of its file"
            )
        image = CocoImage(image_id, name, _size(entry))
        other = image_of.setdefault(image_id, image)
        if other is not image:
            if other != image:
                raise DataError(
                    f"{path}: two images have the id {shown(image_id)}, {shown(other.file_name)} and {shown(name)}; "
                    "whose the annotations are is unknown. Give each image an id of its own"
                )
            repeated.append(str(image_id))
    notes["left out {count} repeated entries of images: {names}"] = repeated
    return list(image_of.values())


def _id(path: Path, key: str, entry: dict[str, Any], *, number: int) -> int | str:
    """Return the id of an entry of a list."""
    value = entry.get("id")
    if canonical_id(value) is None:
        raise DataError(
            f"{path}: entry {number} of {key!r} has the id {shown(value)}, which is no whole number or text"
        )
    return value if isinstance(value, str) else int(value)  # type: ignore[arg-type]  # canonical_id refuses others


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    """Return an image's width and height; None unless both are positive whole numbers."""
    try:
        width, height = as_number(entry.get("width")), as_number(entry.get("height"))
    except ValueError:
        return None
    if min(width, height) < 1 or not (width.is_integer() and height.is_integer()):
        return None
    return int(width), int(height)


def _parse_categories(path: Path, entries: Sequence[dict[str, Any]]) -> list[CocoCategory]:
    category_of: dict[int | str, CocoCategory] = {}
    for number, entry in enumerate(entries, start=1):
        category_id, name = _id(path, "categories", entry, number=number), entry.get("name")
        if isinstance(name, int | float) and not isinstance(name, bool):
            name = f"{name:g}" if isinstance(name, float) else str(name)
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise DataError(f"{path}: category {shown(category_id)} has the name {shown(name)!r}; write its name")
        category = CocoCategory(category_id, name.strip(), str(entry.get("supercategory") or "").strip())
        other = category_of.setdefault(category_id, category)
        if other.name != category.name:
            raise DataError(
                f"{path}: category {shown(category_id)} is both {other.name!r} and {category.name!r}; "
                "give each class an id of its own"
            )
    return list(category_of.values())


def _lookup(ids: Sequence[int | str]) -> Callable[[Any], int | None]:
    """Return a function that finds the row of an id: an equal one, else the only one equal in form; None for none."""
    row_of = {key: row for row, key in enumerate(ids)}
    rows_of_form: dict[int | str | None, list[int]] = {}
    rows_of_float: dict[float, list[int]] = {}  # from 2^53 on several ids are rounded to one float
    for row, key in enumerate(ids):
        form = canonical_id(key)
        rows_of_form.setdefault(form, []).append(row)
        if isinstance(form, int) and form.bit_length() <= 64:
            rows_of_float.setdefault(float(form), []).append(row)

    def find(key: Any) -> int | None:
        if isinstance(key, int | str) and not isinstance(key, bool) and key in row_of:
            return row_of[key]
        rows = rows_of_float.get(key, []) if isinstance(key, float) else rows_of_form.get(canonical_id(key), [])
        return rows[0] if len(rows) == 1 else None

    return find


def repeated_names(categories: Sequence[CocoCategory]) -> str:
    """Return the names that several categories have; an empty text for none."""
    names = [category.name for category in categories]
    return first_names(sorted({name for name in names if names.count(name) > 1}))
