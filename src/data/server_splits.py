"""Splits whose detections go to an evaluation server, which may keep their annotations to itself."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from src.data import coco, voc
from src.data.datasets import READERS, format_of
from src.data.records import DataError, ImageRecord


@dataclass(frozen=True, kw_only=True)
class ServerSplit:
    """The images of a split, and what a server calls them."""

    style: str  # whose files it takes: "voc" or "coco"
    name: str  # "2012_test" is "test" of the data set "VOC2012"
    dataset: str
    records: list[ImageRecord]
    annotated: bool  # whether the records have objects; if not, no metric can be computed
    category_ids: list[int | str] = field(default_factory=list)  # COCO's, of each class


def read_server_split(dataset_format: str, root: str, *, split: str, classes: list[str]) -> ServerSplit:
    """Read a split, with or without annotations.

    Args:
        dataset_format: as in `read_data`.
        root: the data set's folder.
        split: the name of a single one.
        classes: the names that the detector's labels index.

    Raises:
        DataError: something is wrong on disk, or no server takes the data set's format; the message says what to do.
    """
    folder = Path(root).expanduser()
    dataset_format = format_of(dataset_format, root)
    if "+" in split:
        raise DataError(f"dataset.test={split}: a server takes the detections of one split; name one")
    if dataset_format == "coco":
        records, category_ids = coco.read_images(folder, split, classes)
        annotated = any(len(record.boxes) for record in records)
        return ServerSplit(
            style="coco",
            name=split,
            dataset=folder.resolve().name,
            records=records,
            annotated=annotated,
            category_ids=category_ids,
        )
    if dataset_format not in ("voc", "flat", "shapes"):
        raise DataError(f"dataset.format={dataset_format}: there are servers for VOC's and COCO's formats alone")
    if generate := READERS[dataset_format].generate:
        generate(folder)
    records, annotated = voc.read_images(folder, split, classes, flat=dataset_format == "flat")
    by_year = re.fullmatch(r"(\d{4})_(.+)", split)
    dataset, name = (f"VOC{by_year[1]}", by_year[2]) if by_year else (folder.resolve().name, split)
    return ServerSplit(style="voc", name=name, dataset=dataset, records=records, annotated=annotated)
