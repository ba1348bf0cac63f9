"""Detection files for evaluation servers: PASCAL VOC's and COCO's.

The same detections always give the same bytes, so that files can be compared: the archives contain no timestamps.
"""

import gzip
import io
import json
import os
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch

from src.data.records import DataError
from src.data.server_splits import ServerSplit
from src.detectors.detections import Detections, check_detections
from src.evaluation.coco_metrics import COCO_MAX_DETECTIONS, best_detections
from src.utils.errors import UserError
from src.utils.files import write_atomically

# Decimals of a coordinate, and of a score: as many as float32 has near 1, since with fewer, scores would tie.
BOX_DIGITS, SCORE_DIGITS = 2, 8
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)


def write_server_file(
    folder: Path, split: ServerSplit, detections: Sequence[Detections], *, classes: Sequence[str], name: str
) -> Path:
    """Write the detections on a split's images in its server's format, and return the path of the archive.

    VOC's is `comp4_<dataset>_<split>_<name>.tar.gz` with `results/<dataset>/Main/comp4_det_<split>_<class>.txt`, a line
    of image, score, xmin, ymin, xmax and ymax for each detection, in pixels counted from 1. COCO's is
    `detections_<split>_<name>_results.zip` with one JSON file, and without a folder; the server counts the best 100 of
    an image, so these are written.

    Args:
        folder: to write into.
        split: whose images the detections are on.
        detections: those of each image, in the same order.
        classes: the names that labels index.
        name: of the detector, in the names of files.

    Raises:
        DataError: the name of an image or a class is not possible in VOC's files.
        UserError: the file cannot be written.
        ValueError: as `check_detections`.
    """
    path = server_file(folder, split, classes=classes, name=name)
    check_detections(split.records, detections, classes)
    if split.style == "coco":
        content = _zip(f"{path.stem}.json", _coco_json(split, detections))
    else:
        content = _tar_gz(_voc_texts(split, detections, classes))
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return path


def server_file(folder: Path, split: ServerSplit, *, classes: Sequence[str], name: str) -> Path:
    """Return the path that `write_server_file` writes to; arguments and errors are the same.

    To be called before the images are tested, which may take hours.
    """
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        problem = "cannot be written to" if folder.is_dir() else "is no folder"
        raise UserError(f"{folder} {problem}; give another one with --folder")
    if split.style == "coco":
        return folder / f"detections_{split.name}_{name}_results.zip"
    for one in classes:
        if re.search(r"[/\\\0]", one):
            raise DataError(f"class {one!r} cannot be part of a file's name, as VOC's server wants it; rename it")
    for record in split.records:
        if re.search(r"\s", str(record.image_id)):
            raise DataError(f"image {record.image_id!r}: VOC's files separate columns by spaces; rename it")
    return folder / f"comp4_{split.dataset}_{split.name}_{name}.tar.gz"


def read_server_file(path: Path, split: ServerSplit, classes: Sequence[str]) -> list[Detections]:
    """Return the detections on each of a split's images, read from a file of `write_server_file`."""
    rows_of: dict[str | int, list[tuple[list[float], float, int]]] = defaultdict(list)
    if split.style == "coco":
        with zipfile.ZipFile(path) as archive:
            entries = json.loads(archive.read(archive.namelist()[0]))
        label_of = {category: label for label, category in enumerate(split.category_ids)}
        for entry in entries:
            x, y, width, height = entry["bbox"]
            row = [x, y, x + width, y + height], entry["score"], label_of[entry["category_id"]]
            rows_of[entry["image_id"]].append(row)
    else:
        with tarfile.open(path) as archive:
            for label, class_name in enumerate(classes):
                file = archive.extractfile(_voc_member(split, class_name))
                for line in file.read().decode().splitlines() if file else []:
                    stem, score, xmin, ymin, xmax, ymax = line.split(" ")
                    box = [float(xmin) - 1, float(ymin) - 1, float(xmax), float(ymax)]
                    rows_of[stem].append((box, float(score), label))
    return [_detections(rows_of[record.image_id]) for record in split.records]


def _detections(rows: list[tuple[list[float], float, int]]) -> Detections:
    boxes, scores, labels = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return Detections(
        torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels, dtype=torch.int64),
    )


def _voc_member(split: ServerSplit, class_name: str) -> str:
    return f"results/{split.dataset}/Main/comp4_det_{split.name}_{class_name}.txt"


def _voc_texts(split: ServerSplit, detections: Sequence[Detections], classes: Sequence[str]) -> dict[str, str]:
    """Return the text of each class's file, empty for a class without detections, by its path in the archive."""
    lines: list[list[str]] = [[] for _ in classes]
    for record, of_image in zip(split.records, detections, strict=True):
        # Corners are pixels that belong to the box, counted from 1: see ImageRecord.
        corners = of_image.boxes.double() + torch.tensor([1, 1, 0, 0])
        rows = zip(corners.tolist(), of_image.scores.tolist(), of_image.labels.tolist(), strict=True)
        for box, score, label in rows:
            numbers = [f"{score:.{SCORE_DIGITS}f}", *(f"{x:.{BOX_DIGITS}f}" for x in box)]
            lines[label].append(" ".join([str(record.image_id), *numbers]) + "\n")
    return {_voc_member(split, name): "".join(of_class) for name, of_class in zip(classes, lines, strict=True)}


def _coco_json(split: ServerSplit, detections: Sequence[Detections]) -> str:
    entries = []
    for record, of_image in zip(split.records, detections, strict=True):
        best = best_detections(of_image, COCO_MAX_DETECTIONS)
        # Rounded as corners, so that widths and heights add no further error.
        corner, end = best.boxes.double().round(decimals=BOX_DIGITS).split(2, dim=1)
        boxes = torch.cat([corner, end - corner], dim=1)
        for box, score, label in zip(boxes.tolist(), best.scores.tolist(), best.labels.tolist(), strict=True):
            entries.append(
                {
                    "image_id": record.image_id,
                    "category_id": split.category_ids[label],
                    "bbox": [round(x, BOX_DIGITS) for x in box],
                    "score": round(score, SCORE_DIGITS),
                }
            )
    return json.dumps(entries, separators=(",", ":"))


def _zip(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(name, EPOCH_OF_ZIP)
        member.external_attr = 0o644 << 16
        archive.writestr(member, text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _tar_gz(texts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in texts.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
