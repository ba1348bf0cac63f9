"""What a run keeps of its detections when it ends: a picture, and a gallery that figures are drawn from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from src.data.records import ImageRecord
from src.detectors.detections import Detections
from src.evaluation.drawing import draw_detections, evenly_spaced, write_png
from src.evaluation.f1 import best_f1
from src.runs.tracking import Tracker
from src.training.data import Data
from src.utils.files import write_atomically

CELL = 320, 240  # pixels of an image in the gallery, at most
COLUMNS = 4
MOST_FOR_THRESHOLD = 500  # images on which the threshold is chosen


@dataclass(frozen=True)
class Choice:
    """Which test images are shown, and on which others the threshold is chosen, by their indexes."""

    shown: list[int]
    others: list[int]


def choose(images: int, count: int) -> Choice:
    """Choose `count` evenly spaced test images to show, of `images`, and others for choosing the threshold.

    If there are no others, the threshold is chosen on the shown ones too.
    """
    shown = evenly_spaced(list(range(images)), count)
    others = sorted({*range(images)} - {*shown})
    return Choice(shown, evenly_spaced(others, MOST_FOR_THRESHOLD) or shown)


def log_detections(
    data: Data, detections: Mapping[int, Detections], tracker: Tracker, *, directory: Path, count: int
) -> None:
    """Draw and log the detections on a few test images.

    `detections` is a picture; :func:`log_gallery` has the rest. The threshold is that of the greatest F1 on other
    images of the test split.

    Args:
        data: with the test images.
        detections: on the images of :func:`choose`, by index.
        tracker: of the run.
        directory: the run's folder.
        count: of images.
    """
    choice, classes, read = choose(len(data.test), count), data.classes, data.read_test_image
    shown, others = ([data.test[index] for index in indexes] for indexes in (choice.shown, choice.others))
    of_shown, of_others = ([detections[index] for index in indexes] for indexes in (choice.shown, choice.others))
    write_png(directory / "detections.png", lambda: draw_detections(shown, of_shown, classes, read=read))
    tracker.log_image("detections", directory / "detections.png")
    threshold, f1 = best_f1(others, of_others, classes)
    gallery = Gallery(shown, map(read, shown), of_shown, threshold, f1, len(others))
    log_gallery(gallery, classes, tracker, directory)


@dataclass(frozen=True)
class Gallery:
    """Images with the detections on them."""

    records: list[ImageRecord]
    images: Iterable[Tensor]  # uint8 [3, H, W], of any size
    detections: list[Detections]  # in pixels of the records
    threshold: float  # of the scores of the detections that are shown
    f1: float  # with that threshold
    chosen_on: int  # images, from which the threshold was chosen


def log_gallery(gallery: Gallery, classes: list[str], tracker: Tracker, directory: Path) -> None:
    """Log a list of images with the detections above a threshold and their places in `gallery_picture`.

    That picture shows them without boxes. `gallery_threshold` is the threshold, `gallery_f1` its F1, and
    `gallery_threshold_images` the number of images on which it was chosen.
    """
    cells = _write_gallery(directory / "gallery.jpg", len(gallery.records), gallery.images)
    entries = [
        _entry(record, of_image, cell, classes=classes, threshold=gallery.threshold)
        for record, of_image, cell in zip(gallery.records, gallery.detections, cells, strict=True)
    ]
    chosen = {"gallery_threshold": gallery.threshold, "gallery_f1": gallery.f1}
    tracker.log({"gallery": entries, **chosen, "gallery_threshold_images": gallery.chosen_on})
    tracker.log_image("gallery_picture", directory / "gallery.jpg")


def _write_gallery(file: Path, count: int, images: Iterable[Tensor]) -> list[tuple[int, int, int, int]]:
    """Write images, made smaller to fit their cells, in a grid; return the (x, y, width, height) of each.

    Args:
        count: of images.
        images: uint8 [3, H, W].
    """
    sheet = Image.new("RGB", (CELL[0] * min(COLUMNS, count), CELL[1] * -(-count // COLUMNS)))
    cells = []
    for number, pixels in enumerate(images):
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        image.thumbnail(CELL)
        corner = (number % COLUMNS * CELL[0], number // COLUMNS * CELL[1])
        sheet.paste(image, corner)
        cells.append((*corner, *image.size))
    write_atomically(file, lambda temporary: sheet.save(temporary, format="JPEG", quality=90))
    return cells


def _entry(
    record: ImageRecord,
    detections: Detections,
    cell: tuple[int, int, int, int],
    *,
    classes: list[str],
    threshold: float,
) -> dict[str, Any]:
    """Return an image of the gallery as it is logged; boxes are (x1, y1, x2, y2) in its own pixels."""
    kept = detections.scores >= threshold
    objects = zip(record.labels.tolist(), record.boxes.tolist(), strict=True)
    columns = (values[kept].tolist() for values in (detections.labels, detections.scores, detections.boxes))
    return {
        "id": str(record.image_id),
        "size": [record.width, record.height],
        "cell": list(cell),
        "objects": [[classes[label], *_rounded(box)] for label, box in objects],
        "detections": [
            [classes[label], round(score, 4), *_rounded(box)] for label, score, box in zip(*columns, strict=True)
        ],
    }


def _rounded(box: list[float]) -> list[float]:
    return [round(x, 1) for x in box]
