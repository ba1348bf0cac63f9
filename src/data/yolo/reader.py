"""YOLO's format: a text file of labels for each image, and a data.yaml with the names of the classes."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from src.data.box_checks import are_corners, are_written_otherwise, has_area
from src.data.images import read_sizes
from src.data.messages import Notes, summary
from src.data.records import Box, DataError, ImageRecord, make_record
from src.data.splits import advice, dealt_to, find_set, is_dealt, joins_train_and_val, resolve_split, warn_of_dealing
from src.data.text import read_each
from src.data.yolo.files import ALL, YoloFolder, read_folder
from src.data.yolo.images import YoloImage, find_images
from src.data.yolo.labels import YoloLabels, read_labels

logger = logging.getLogger(__name__)

_TOLERANCE = 0.01  # in fractions of the image's size
_DROPPED = "dropped {count} boxes without area or wholly outside their image, in {names}"
_CLIPPED = "clipped {count} boxes that reach over a pixel outside their image, in {names}"


def read_yolo(root: str | Path, split: str, classes: Sequence[str] | None = None) -> list[ImageRecord]:
    """Return the images of a split of a folder in YOLO's format: of each set, sorted by name or in its list's order.

    Where `trainval` joins two sets, the images are sorted by name.

    Boxes are clipped to their image; those without area or wholly outside are dropped. A polygon becomes its
    extent. An image without a label file has no objects. One warning for the whole call counts this. `image_id` is the
    file's stem, and its path in the data set where two images have one stem.

    Args:
        root: the data set's folder, with a data.yaml.
        split: names of sets joined by +. A set is an entry of data.yaml, or else a folder `images/<set>`,
            `<set>/images` or `<set>`, or a list `<set>.txt`. `val` is also called `valid`, and `trainval` is both
            train and val. Images without sets are assigned to `train`, `val` and `test` (7 : 1 : 2) by a hash of
            their names; `all` takes every one.
        classes: what the labels index; None for `yolo_classes`.

    Raises:
        DataError: a file is missing or defective, or a class is not among `classes`; the message names the file.
    """
    parsed = parse_yolo(Path(root), split)
    return parsed.records(parsed.class_names() if classes is None else classes)


def yolo_classes(root: str | Path, split: str) -> list[str]:
    """Return the names of the classes in the order of their indexes."""
    return parse_yolo(Path(root), split).class_names()


@dataclass(frozen=True)
class YoloSplit:
    """The labels of a split, before class names become labels."""

    folder: YoloFolder
    split: str
    images: list[YoloImage]
    labels: list[YoloLabels]  # of each image
    notes: Notes  # on files that are missing

    def class_names(self) -> list[str]:
        """Return the names of the classes in the order of their indexes."""
        if self.folder.names is None:
            raise DataError(
                f"{self.folder.root} gives no names of its classes; write data.yaml with names: [first, second], or "
                "dataset.classes=[first,second]"
            )
        return list(self.folder.names.values())

    def records(self, classes: Sequence[str]) -> list[ImageRecord]:
        """Return a record of each image, as `read_yolo` does."""
        self._refuse_further_columns()
        self._refuse_corners()
        label_of = {name: label for label, name in enumerate(classes)}
        names = dict(enumerate(classes)) if self.folder.names is None else self.folder.names
        notes: Notes = {text: list(found) for text, found in self.notes.items()}
        records = []
        sizes = read_sizes([image.path for image in self.images])
        of_images = zip(self.images, self._image_ids(), sizes, self.labels, strict=True)
        for image, image_id, (width, height), labels in of_images:
            boxes, box_labels = [], []
            for item in labels.objects:
                name = names.get(item.index)
                if name not in label_of:
                    raise DataError(
                        f"{image.labels}: class {item.index if name is None else repr(name)} is not one of the classes "
                        f"{', '.join(classes)}; correct the labels or the list of classes"
                    )
                box = _clip(item.corners, width, height, notes=notes, name=str(image.labels and image.labels.name))
                if box is not None:
                    boxes.append(box)
                    box_labels.append(label_of[name])
            records.append(make_record(image_id, image.path, (width, height), boxes=boxes, labels=box_labels))
        text = summary(notes)
        if text:
            logger.warning("%s, %s: %s", self.folder.root, self.split, text)
        return records

    def _image_ids(self) -> list[str]:
        """Return the first of these that is unique, for each image: its stem, its path without suffix, its path."""
        paths = [Path(os.path.relpath(image.path, self.folder.root)) for image in self.images]
        forms = [(path.stem, path.with_suffix("").as_posix(), path.as_posix()) for path in paths]
        counts = Counter(form for of_image in forms for form in dict.fromkeys(of_image))
        return [next((form for form in of_image if counts[form] == 1), of_image[-1]) for of_image in forms]

    def _refuse_further_columns(self) -> None:
        """Raise a DataError if every object is a triangle whose line may be a box with two more columns."""
        objects = [item for labels in self.labels for item in labels.objects]
        if objects and all(item.may_be_box for item in objects):
            path = next(image.labels for image, labels in zip(self.images, self.labels, strict=True) if labels.objects)
            raise DataError(
                f"{path}: all {len(objects)} lines of the split {self.split} have seven columns, and are boxes with "
                "two more rather than triangles. Remove these; where they are triangles, repeat their last points"
            )

    def _refuse_corners(self) -> None:
        """Raise a DataError if the boxes are corners, or one corner and sizes, rather than centres and sizes."""
        boxes = [
            (image.labels, item)
            for image, labels in zip(self.images, self.labels, strict=True)
            for item in labels.objects
            if item.numbers is not None
        ]
        numbers = np.array([item.numbers for _, item in boxes], np.float64).reshape(-1, 4)
        corners = np.array([item.corners for _, item in boxes], np.float64).reshape(-1, 4)
        outside = np.any((corners < -_TOLERANCE) | (corners > 1 + _TOLERANCE), axis=1)
        from_left_top = np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
        found = "corners x1 y1 x2 y2" if are_corners(numbers, outside=outside) else ""
        if not found and are_written_otherwise(outside, from_left_top, 1, tolerance=_TOLERANCE):
            found = "left, top, width and height"
        if found:
            path, item = boxes[int(np.flatnonzero(outside)[0])]
            raise DataError(
                f"{path}: the boxes are {found}: as centre and size, {outside.sum()} of {len(boxes)} would "
                f"reach outside their image, such as {item.numbers}. YOLO's are the centre's "
                "x and y, width and height"
            )


def parse_yolo(root: Path, split: str) -> YoloSplit:
    """Read the labels of a split, each file once; see `read_yolo` for splits."""
    folder = read_folder(root)
    items = split.split("+")
    notes: Notes = {}
    if folder.sets.keys() == {ALL} and not folder.absent and all(is_dealt(item) for item in items):
        warn_of_dealing(str(root), items)
        images = [image for image in find_images(folder, ALL, notes) if dealt_to(image.path, items)]
        if not images:
            raise DataError(f"{root}: none of its images is dealt to {split}; add images or make sets")
    else:
        images = [image for name in _sets(folder, split) for image in find_images(folder, name, notes)]
        if joins_train_and_val(split, folder.sets):
            images.sort(key=lambda image: image.path.name)
    repeated = [path for path, count in Counter(image.path for image in images).items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} images come twice in split {split}, {repeated[0]} among them; leave them out of one of "
            "its sets"
        )
    paths = [image.labels for image in images if image.labels is not None]
    read = partial(read_labels, names=folder.names, keypoint_numbers=folder.keypoint_numbers)
    labels_of = dict(zip(paths, read_each(read, paths, "label files"), strict=True))
    labels = [YoloLabels([], 0) if image.labels is None else labels_of[image.labels] for image in images]
    by_name = [(image.path.name, content) for image, content in zip(images, labels, strict=True)]
    notes["left out {count} lines that are in their label file twice, of {names}"] = [
        name for name, content in by_name for _ in range(content.repeated)
    ]
    notes["took the extents of {count} polygons or rotated boxes as their boxes, of {names}"] = [
        name for name, content in by_name for item in content.objects if item.numbers is None
    ]
    return YoloSplit(folder, split, images=images, labels=labels, notes=notes)


def _sets(folder: YoloFolder, split: str) -> list[str]:
    """Return the sets that a split means. Raises a DataError if data.yaml names one of them in a place without it."""
    for item in split.split("+"):
        parts = ["train", "val"] if item == "trainval" and item not in folder.sets else [item]
        for part in parts:
            entry = find_set(part, folder.absent)
            if entry is not None:
                raise DataError(
                    f"{folder.root}: data.yaml has {entry}: {folder.absent[entry]}, which does not exist; correct it, "
                    f"or do without it: {advice(folder.sets)}"
                )
    return resolve_split(split, folder.sets, str(folder.root))


def _clip(fractions: Box, width: int, height: int, *, notes: Notes, name: str) -> Box | None:
    """Return a box in pixels, clipped to its image; None, and a note, if nothing is left of it."""
    # To a billionth of a pixel: (x1 + x2) / 2 and x2 - x1 in fractions of the width then give x1 and x2 again.
    corners = [round(fraction * side, 9) for fraction, side in zip(fractions, (width, height) * 2, strict=True)]
    x1, y1, x2, y2 = (min(max(corner, 0), side) for corner, side in zip(corners, (width, height) * 2, strict=True))
    if not has_area((x1, y1, x2, y2)):
        notes.setdefault(_DROPPED, []).append(name)
        return None
    if max(abs(corner - inside) for corner, inside in zip(corners, (x1, y1, x2, y2), strict=True)) > 1:
        notes.setdefault(_CLIPPED, []).append(name)
    return x1, y1, x2, y2
