"""COCO's layout: ``annotations/instances_<set>.json`` and folders of images."""

import json
import logging
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from src.data.records import DataError, ImageRecord, make_record

log = logging.getLogger(__name__)


def read_coco(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """The images of ``split`` in a folder of COCO's layout, in the order of their JSON files.

    ``split`` joins by ``+`` the names of sets, each read from ``root/annotations/instances_<set>.json``. An
    image is looked for in ``root/<set>``, ``root/images/<set>``, the folder that a name such as
    ``COCO_val2014_000000001146.jpg`` tells (``val2014``, in ``root`` or ``root/images``), and ``root``.
    ``image_id`` is COCO's id. ``labels`` index ``classes``, by default :func:`coco_classes` of the same
    split, and have none of the gaps of COCO's category ids.

    Boxes are clipped to their image; those without area or wholly outside are dropped, with one warning for
    the whole call. Anything else amiss raises :class:`DataError`.
    """
    root = Path(root)
    files = _read_json_files(root, split)
    if classes is None:
        classes = _class_names(files)
    records, dropped = [], []
    for path, content in files.items():
        paths = _find_images(root, _set_name(path), path, content["images"])
        file_records, file_dropped = _read_file(path, content, paths, classes)
        records += file_records
        dropped += file_dropped
    _refuse_repeated_ids(records, split)
    if dropped:
        log.warning(
            "%s, %s: dropped %d boxes without area or wholly outside their image, annotations %s",
            root,
            split,
            len(dropped),
            _first(dropped),
        )
    return records


def coco_classes(root: str | Path, split: str) -> list[str]:
    """The category names of ``split``'s JSON files, in the order of their category ids."""
    return _class_names(_read_json_files(Path(root), split))


def _set_name(path: Path) -> str:
    return path.stem.removeprefix("instances_")


def _read_json_files(root: Path, split: str) -> dict[Path, dict]:
    folder = root / "annotations"
    files = {}
    for item in split.split("+"):
        path = folder / f"instances_{item}.json"
        if path in files:
            raise DataError(f"split {split} names {item} twice")
        if not path.is_file():
            there = sorted(other.name for other in folder.glob("*.json"))
            raise DataError(
                f"{path} does not exist; the JSON files in {folder} are: {', '.join(there) or 'none'}. "
                "Correct dataset.root or the split"
            )
        files[path] = _read_json(path)
    return files


def _read_json(path: Path) -> dict:
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


def _without_polygons(entry: dict) -> dict:
    """Drops segmentations while parsing: unused here, they would take most of the memory of every process."""
    entry.pop("segmentation", None)
    return entry


def _class_names(files: dict[Path, dict]) -> list[str]:
    name_of = {}
    for path, content in files.items():
        for category in content["categories"]:
            first = name_of.setdefault(category["id"], category["name"])
            if first != category["name"]:
                raise DataError(f"{path}: category {category['id']} is both {first!r} and {category['name']!r}")
    names = [name_of[key] for key in sorted(name_of)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        paths = ", ".join(str(path) for path in files)
        raise DataError(f"{paths}: several category ids have the name {_first(repeated)}")
    return names


def _find_images(root: Path, set_name: str, json_path: Path, images: list[dict]) -> list[Path]:
    """Where each image is. Folders are listed once each: asking file by file is slow on a cluster."""

    @cache
    def names_in(folder: Path) -> frozenset[str]:
        if not folder.is_dir():
            return frozenset()
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)

    @cache
    def folders_for(year_folder: str | None, subfolder: str) -> list[Path]:
        folders = [root / set_name, root / "images" / set_name]
        if year_folder:
            folders += [root / year_folder, root / "images" / year_folder]
        return [folder / subfolder for folder in [*folders, root]]

    found, missing = [], []
    for image in images:
        subfolder, name = os.path.split(image["file_name"])
        year = re.match(r"COCO_([A-Za-z0-9-]+)_\d+\.", name)
        folders = folders_for(year[1] if year else None, subfolder)
        folder = next((folder for folder in folders if name in names_in(folder)), None)
        if folder is None:
            missing.append(image["file_name"])
        else:
            found.append(folder / name)
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(images)} images of {json_path} are missing: {_first(missing)}; "
            f"put them in {root / set_name}"
        )
    return found


def _read_file(path: Path, content: dict, image_paths: list[Path], classes: Sequence[str]):
    """The records of one JSON file, and the ids of the annotations dropped."""
    images, annotations = content["images"], content["annotations"]
    rows, labels, boxes = _annotation_arrays(path, content, classes)
    sizes = np.array([(image["width"], image["height"]) for image in images], np.float64)[rows]
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).clip(0, np.tile(sizes, 2))
    has_area = (corners[:, 2:] > corners[:, :2]).all(1)
    dropped = [str(annotations[index].get("id")) for index in np.flatnonzero(~has_area)]
    crowd = np.array([bool(annotation.get("iscrowd", 0)) for annotation in annotations], bool)
    area = np.array([annotation.get("area", np.nan) for annotation in annotations], np.float64)
    area = np.where(np.isnan(area), (corners[:, 2:] - corners[:, :2]).prod(1), area)

    order = np.argsort(rows, kind="stable")
    order = order[has_area[order]]
    ends = np.searchsorted(rows[order], np.arange(len(images) + 1))
    records = []
    for row, (image, image_path) in enumerate(zip(images, image_paths, strict=True)):
        own = order[ends[row] : ends[row + 1]]
        records.append(
            make_record(
                image["id"],
                image_path,
                image["width"],
                image["height"],
                corners[own],
                labels[own],
                crowd=crowd[own],
                area=area[own],
            )
        )
    return records, dropped


def _annotation_arrays(path: Path, content: dict, classes: Sequence[str]):
    """Of each annotation: its image's row [N], its label [N] and its box (x, y, width, height) [N, 4]."""
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
    path_of = {}
    for record in records:
        if record.image_id in path_of:
            raise DataError(
                f"image id {record.image_id} comes twice in split {split}: {path_of[record.image_id]} and {record.path}"
            )
        path_of[record.image_id] = record.path


def _first(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (f", … ({len(names)} in all)" if len(names) > count else "")
