"""COCO's layout: `annotations/instances_<set>.json` and folders of images."""

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.data.messages import first_names
from src.data.records import DataError, ImageRecord

logger = logging.getLogger(__name__)


def read_coco(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """Return the images of a split of a folder in COCO's layout, in the order of their JSON files.

    Boxes are clipped to their image; those without area or wholly outside are dropped, with one warning for the whole
    call. `image_id` is COCO's id. Labels are consecutive, without the gaps of COCO's category ids.

    Args:
        root: the data set's folder.
        split: names of sets joined by +, each read from `root/annotations/instances_<set>.json`. An image is looked
            for in `root/<set>`, `root/images/<set>`, the folder in the name of a file such as
            `COCO_val2014_000000001146.jpg` (`val2014`, in `root` or `root/images`), and `root`.
        classes: what the labels index; None for `coco_classes` of the same split.

    Raises:
        DataError: a file is missing or defective, or a class is not among `classes`; the message names the file.
    """
    parsed = parse_coco(Path(root), split)
    return parsed.records(parsed.class_names() if classes is None else classes)


def coco_classes(root: str | Path, split: str) -> list[str]:
    """Return the category names of a split's JSON files, in the order of their category ids."""
    return parse_coco(Path(root), split).class_names()


@dataclass(frozen=True)
class CocoSplit:
    """The JSON files of a split, before class names become labels."""

    root: Path
    split: str
    contents: dict[Path, dict[str, Any]]  # by path

    def class_names(self) -> list[str]:
        """Return the category names, in the order of their category ids."""
        name_of: dict[int, str] = {}
        for path, content in self.contents.items():
            for category in content["categories"]:
                first = name_of.setdefault(category["id"], category["name"])
                if first != category["name"]:
                    raise DataError(f"{path}: category {category['id']} is both {first!r} and {category['name']!r}")
        names = [name_of[key] for key in sorted(name_of)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            paths = ", ".join(str(path) for path in self.contents)
            raise DataError(f"{paths}: several category ids have the name {first_names(repeated)}")
        return names

    def records(self, classes: Sequence[str]) -> list[ImageRecord]:
        """Return a record of each image, as `read_coco` does."""
        records: list[ImageRecord] = []
        dropped: list[str] = []
        for path, content in self.contents.items():
            image_paths = _find_images(self.root, path, content["images"])
            file_records, file_dropped = _records(path, content, image_paths=image_paths, classes=classes)
            records += file_records
            dropped += file_dropped
        _refuse_repeated_ids(records, self.split)
        if dropped:
            logger.warning(
                "%s, %s: dropped %d boxes without area or wholly outside their image, annotations %s",
                self.root,
                self.split,
                len(dropped),
                first_names(dropped),
            )
        return records


def parse_coco(root: Path, split: str) -> CocoSplit:
    """Read the JSON files of a split, each once; see `read_coco` for splits."""
    folder = root / "annotations"
    contents: dict[Path, dict[str, Any]] = {}
    for item in split.split("+"):
        path = folder / f"instances_{item}.json"
        if path in contents:
            raise DataError(f"split {split} names {item} twice")
        if not path.is_file():
            existing = sorted(other.name for other in folder.glob("*.json"))
            raise DataError(
                f"{path} does not exist; the JSON files in {folder} are: {', '.join(existing) or 'none'}. "
                "Correct dataset.root or the split"
            )
        contents[path] = _read_json(path)
    return CocoSplit(root, split, contents)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes(), object_hook=_without_polygons)
    except ValueError as error:
        raise DataError(f"{path} is not complete JSON ({error}); fetch it again") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path} has no list {key!r}; it is not a file of COCO's instances")
        if not content[key]:
            raise DataError(f"{path}: its list {key!r} is empty")
    for key, needed in (("images", ("id", "file_name", "width", "height")), ("categories", ("id", "name"))):
        for entry in content[key]:
            if not all(name in entry for name in needed):
                raise DataError(f"{path}: an entry of {key!r} lacks one of {', '.join(needed)}: {str(entry)[:200]}")
    return content


def _without_polygons(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop segmentations while parsing: unused here, they would take most of the memory of every process."""
    entry.pop("segmentation", None)
    return entry


def _find_images(root: Path, json_path: Path, images: list[dict[str, Any]]) -> list[Path]:
    """Return the path of each image. Folders are listed once each: a query per file is slow on a cluster."""
    set_name = json_path.stem.removeprefix("instances_")

    @cache
    def names_in(folder: Path) -> frozenset[str]:
        if not folder.is_dir():
            return frozenset()
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)

    @cache
    def folders_for(folder_in_name: str | None, subfolder: str) -> list[Path]:
        folders = [root / set_name, root / "images" / set_name]
        if folder_in_name:
            folders += [root / folder_in_name, root / "images" / folder_in_name]
        return [folder / subfolder for folder in [*folders, root]]

    paths, missing = [], []
    for image in images:
        subfolder, name = os.path.split(image["file_name"])
        prefix = re.match(r"COCO_([A-Za-z0-9-]+)_\d+\.", name)
        candidates = folders_for(prefix[1] if prefix else None, subfolder)
        folder = next((folder for folder in candidates if name in names_in(folder)), None)
        if folder is None:
            missing.append(image["file_name"])
        else:
            paths.append(folder / name)
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(images)} images of {json_path} are missing: {first_names(missing)}; "
            f"put them in {root / set_name}"
        )
    return paths


def _records(
    path: Path, content: dict[str, Any], *, image_paths: list[Path], classes: Sequence[str]
) -> tuple[list[ImageRecord], list[str]]:
    """Return the records of one JSON file, and the ids of the annotations that are dropped."""
    images, annotations = content["images"], content["annotations"]
    rows, labels, boxes = _annotation_arrays(path, content, classes)
    sizes = np.array([(image["width"], image["height"]) for image in images], np.float64)[rows]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).clip(0, np.tile(sizes, 2))
    has_area = np.all(corners[:, 2:] > corners[:, :2], axis=1)
    dropped = [str(annotations[index].get("id")) for index in np.flatnonzero(~has_area)]
    crowd = np.array([bool(annotation.get("iscrowd", 0)) for annotation in annotations], bool)
    area = np.array([annotation.get("area", np.nan) for annotation in annotations], np.float64)
    area = np.where(np.isnan(area), (corners[:, 2:] - corners[:, :2]).prod(1), area)

    order = np.argsort(rows, kind="stable")
    order = order[has_area[order]]
    ends = np.searchsorted(rows[order], np.arange(len(images) + 1))
    records = []
    for row, (image, image_path) in enumerate(zip(images, image_paths, strict=True)):
        of_image = order[ends[row] : ends[row + 1]]
        records.append(
            ImageRecord(
                image_id=image["id"],
                path=image_path,
                width=int(image["width"]),
                height=int(image["height"]),
                boxes=torch.as_tensor(corners[of_image], dtype=torch.float32),
                labels=torch.as_tensor(labels[of_image]),
                difficult=torch.zeros(len(of_image), dtype=torch.bool),
                crowd=torch.as_tensor(crowd[of_image]),
                area=torch.as_tensor(area[of_image], dtype=torch.float32),
            )
        )
    return records, dropped


def _annotation_arrays(
    path: Path, content: dict[str, Any], classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row of each annotation's image [N], its label [N] and its box (x, y, width, height) [N, 4].

    Raises:
        DataError: an annotation is of no known image or class, or its box is not one.
    """
    row_of = {image["id"]: row for row, image in enumerate(content["images"])}
    name_of = {category["id"]: category["name"] for category in content["categories"]}
    label_of = {name: label for label, name in enumerate(classes)}
    rows, labels, boxes = [], [], []
    for annotation in content["annotations"]:
        image_id, category_id, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
        problem = None
        if image_id not in row_of:
            problem = f"is of image {image_id}, which is not in 'images'"
        elif category_id not in name_of:
            problem = f"is of category {category_id}, which is not in 'categories'"
        elif name_of[category_id] not in label_of:
            problem = (
                f"is of class {name_of[category_id]!r}, which is not one of the classes "
                f"{', '.join(classes)}; correct the list of classes"
            )
        elif not isinstance(box, list) or len(box) != 4 or not all(isinstance(x, int | float) for x in box):
            problem = f"has the bbox {box}, which should be [x, y, width, height]"
        if problem:
            raise DataError(f"{path}: annotation {annotation.get('id')} {problem}")
        rows.append(row_of[image_id])
        labels.append(label_of[name_of[category_id]])
        boxes.append(box)
    return np.array(rows, np.int64), np.array(labels, np.int64), np.array(boxes, np.float64).reshape(-1, 4)


def _refuse_repeated_ids(records: list[ImageRecord], split: str) -> None:
    """Raise a DataError if two files have an image of the same id."""
    path_of: dict[str | int, Path] = {}
    for record in records:
        if record.image_id in path_of:
            raise DataError(
                f"image id {record.image_id} comes twice in split {split}: {path_of[record.image_id]} and {record.path}"
            )
        path_of[record.image_id] = record.path
