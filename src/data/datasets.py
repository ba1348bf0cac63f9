"""Reading the data set that a configuration names."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from src.data.coco import parse_coco
from src.data.formats import FORMATS, detect_format
from src.data.messages import first_names, similar_names
from src.data.records import DataError, ImageRecord
from src.data.shapes import ensure_shapes
from src.data.voc import parse_flat, parse_voc
from src.data.yolo import parse_yolo

logger = logging.getLogger(__name__)


class ParsedSplit(Protocol):
    """The annotations of a split, before class names become labels."""

    def class_names(self) -> list[str]:
        """Return the names of the classes that the annotations name, each once."""
        ...

    def records(self, classes: Sequence[str]) -> list[ImageRecord]:
        """Return a record of each image, with labels that index `classes`."""
        ...


@dataclass(frozen=True)
class Reader:
    """How a format is read."""

    parse: Callable[[Path, str], ParsedSplit]  # of a data set's folder and a split
    sorts_classes: bool  # classes in alphabetical order; otherwise in that of the annotations, training split first
    generate: Callable[[Path], Any] | None = None  # creates the data set in a folder that does not exist


# By dataset.format. A further format is an entry here and a file with its `parse` function.
READERS = {
    "voc": Reader(parse_voc, sorts_classes=True),
    "flat": Reader(parse_flat, sorts_classes=True),
    "coco": Reader(parse_coco, sorts_classes=False),
    "yolo": Reader(parse_yolo, sorts_classes=False),
    "shapes": Reader(parse_voc, sorts_classes=True, generate=ensure_shapes),
}


def read_data(
    dataset_format: str,
    root: str,
    *,
    train: str,
    test: str,
    classes: Sequence[str] | None = None,
    classes_as_one: bool = False,
) -> tuple[list[ImageRecord], list[ImageRecord], list[str]]:
    """Return the images to train on, those to test on, and the names of the classes.

    Training images without any box to train on are left out.

    Args:
        dataset_format: a key of `READERS`, or "auto" for the one that the folder shows. "shapes", the built-in set, is
            generated into `root` on first use.
        root: the data set's folder.
        train: the split to train on; several are joined by +.
        test: the split to test on; several are joined by +.
        classes: their names in the order of the labels, or None for all that the annotations of both splits name.
        classes_as_one: whether the objects of all these are then of one class, "object".

    Raises:
        DataError: something is wrong on disk; the message names the file.
    """
    folder = Path(root).expanduser()
    if dataset_format == "auto":
        dataset_format = format_of(dataset_format, root)
        logger.info(
            "%s is read as dataset.format=%s (%s); another format can be forced",
            root,
            dataset_format,
            FORMATS[dataset_format],
        )
    reader = READERS[dataset_format]
    if reader.generate:
        reader.generate(folder)
    else:
        _check_folder(folder, root)
    train_split, test_split = reader.parse(folder, train), reader.parse(folder, test)
    if classes is None:
        classes = list(dict.fromkeys(train_split.class_names() + test_split.class_names()))
        if reader.sorts_classes:
            classes.sort()
        _warn_of_similar(classes, root)
    train_records = train_split.records(classes)
    with_boxes = [record for record in train_records if len(record.training_objects()[0])]
    if len(with_boxes) < len(train_records):
        logger.info(
            "%d of %d training images hold no box to train on and are left out: %s",
            len(train_records) - len(with_boxes),
            len(train_records),
            first_names([record.path.name for record in train_records if not len(record.training_objects()[0])]),
        )
    if not with_boxes:
        raise DataError(f"{folder}: no image of the split {train} holds a box to train on")
    test_records = test_split.records(classes)
    if classes_as_one:
        return _as_one_class(with_boxes), _as_one_class(test_records), ["object"]
    return with_boxes, test_records, list(classes)


def _warn_of_similar(classes: list[str], root: str) -> None:
    for names in similar_names(classes):
        logger.warning(
            "%s: the classes %s differ only in upper case, spaces or invisible characters; they are learned as "
            "different classes",
            root,
            " and ".join(map(repr, names)),
        )


def _as_one_class(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    return [replace(record, labels=record.labels * 0) for record in records]


def format_of(dataset_format: str, root: str) -> str:
    """Return the format in which a data set is read: for "auto" the one that its folder shows.

    Raises:
        DataError: there is no such folder, or it shows no format or several.
    """
    if dataset_format != "auto":
        return dataset_format
    folder = Path(root).expanduser()
    _check_folder(folder, root)
    return detect_format(folder)


def _check_folder(folder: Path, root: str) -> None:
    if not folder.is_dir():
        problem = (
            "is a file; give the folder of the data set, unpacked if it is an archive"
            if folder.exists()
            else "no such folder"
        )
        raise DataError(f"dataset.root={root}: {problem}")
