"""Reading the data set that a configuration names, and telling data sets apart."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from src.data.coco import coco_classes, read_coco
from src.data.records import DataError, ImageRecord
from src.data.shapes import ensure_shapes
from src.data.voc import read_voc, voc_classes
from src.utils.files import write_atomically

logger = logging.getLogger(__name__)


def read_data(
    format: str, root: str, train: str, test: str, classes: list[str] | None = None
) -> tuple[list[ImageRecord], list[ImageRecord], list[str]]:
    """Return the images to train on, those to test on, and the names of the classes.

    Args:
        format: "voc", "coco", or "shapes", the built-in set, which is generated into `root` on first use.
        root: the data set's folder.
        train, test: splits, several joined by +.
        classes: their names in the order of the labels, or None for all that the annotations of both splits name.

    Raises:
        DataError: something is wrong on disk; the message names the file.
    """
    folder = Path(root).expanduser()
    if format == "shapes":
        ensure_shapes(folder)
    elif not folder.is_dir():
        raise DataError(f"dataset.root={root}: no such folder")
    read, find = (read_coco, coco_classes) if format == "coco" else (read_voc, voc_classes)
    if classes is None:
        classes = list(dict.fromkeys(find(folder, train) + find(folder, test)))
        if format != "coco":
            classes.sort()
    everything = read(folder, train, classes)
    records = [record for record in everything if len(record.training_objects()[0])]
    if len(records) < len(everything):
        left_out = len(everything) - len(records)
        logger.info("%d of %d training images hold no box to train on and are left out", left_out, len(everything))
    if not records:
        raise DataError(f"{folder}: no image of the split {train} holds a box to train on")
    return records, read(folder, test, classes), list(classes)


def check_dataset_fingerprint(
    directory: Path, root: str, train: list[ImageRecord], test: list[ImageRecord], classes: list[str]
) -> dict[str, Any]:
    """Note in a run's folder which data the run is on, and return that note.

    Paths are no part of a run's identity, so two data sets of one name would share a folder.

    Raises:
        DataError: the run in this folder is on other data.
    """
    file = directory / "data.json"
    facts = {"root": root, "train": len(train), "test": len(test), "classes": classes}
    facts["fingerprint"] = fingerprint(train + test)
    if file.exists():
        known = json.loads(file.read_text())
        if known["fingerprint"] != facts["fingerprint"]:
            raise DataError(
                f"{directory} belongs to a run on other data ({known['train']} and {known['test']} images at "
                f"{known['root']}); give this data another name with dataset.name=NAME"
            )
    else:
        write_atomically(file, lambda temporary: temporary.write_text(json.dumps(facts, indent=2) + "\n"))
    return facts


def fingerprint(records: list[ImageRecord]) -> str:
    """Return sixteen hexadecimal digits that differ between data sets with other images, boxes or labels."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.image_id} {record.width} {record.height}".encode())
        digest.update(record.boxes.numpy().tobytes() + record.labels.numpy().tobytes())
    return digest.hexdigest()[:16]
