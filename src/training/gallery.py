"""What a run leaves of its detections at its end: a picture, and a gallery that figures are drawn from."""

from pathlib import Path
from typing import Any

from PIL import Image

from src.data.images import ReadImage
from src.data.records import ImageRecord
from src.detectors.detections import Detections
from src.evaluation.drawing import draw_detections, evenly_spaced, write_png
from src.evaluation.f1 import best_f1
from src.runs.tracking import Tracker
from src.training.tester import Tester
from src.utils.files import write_atomically

CELL = 320, 240  # pixels of an image in the gallery, at most
COLUMNS = 4
MOST_FOR_THRESHOLD = 500  # images whose detections decide the threshold


def log_detections(tester: Tester, tracker: Tracker, directory: Path, count: int) -> None:
    """Draw and log the detections on a few test images, evenly spaced, on this process alone.

    `detections` is a picture. `gallery` is a list of the same images with the detections from a threshold on, and their
    place in `gallery_picture`, where they are without boxes. The threshold, `gallery_threshold`, is that of the
    greatest F1, `gallery_f1`, on other images of the test split, `gallery_threshold_images` many: none that is shown.

    Args:
        tester: of the detector as it is.
        tracker: of the run.
        directory: the run's folder.
        count: of images; of fewer test images all, whose detections then decide the threshold too.
    """
    test, classes, read = tester.data.test, tester.data.classes, tester.data.read_test_image
    shown = evenly_spaced(test, count)
    ids = {id(record) for record in shown}
    others = evenly_spaced([record for record in test if id(record) not in ids], MOST_FOR_THRESHOLD) or shown
    detections = tester.detections(shown)
    write_png(directory / "detections.png", lambda: draw_detections(shown, detections, classes, read=read))
    tracker.log_image("detections", directory / "detections.png")
    threshold, f1 = best_f1(others, tester.detections(others), classes)
    cells = _write_gallery(directory / "gallery.jpg", shown, read)
    gallery = [
        _entry(record, of_image, cell, classes=classes, threshold=threshold)
        for record, of_image, cell in zip(shown, detections, cells, strict=True)
    ]
    chosen = {"gallery_threshold": threshold, "gallery_f1": f1, "gallery_threshold_images": len(others)}
    tracker.log({"gallery": gallery, **chosen})
    tracker.log_image("gallery_picture", directory / "gallery.jpg")


def _write_gallery(file: Path, records: list[ImageRecord], read: ReadImage) -> list[tuple[int, int, int, int]]:
    """Write images, made smaller to fit their cells, in a grid; return the (x, y, width, height) of each."""
    rows = -(-len(records) // COLUMNS)
    sheet = Image.new("RGB", (CELL[0] * min(COLUMNS, len(records)), CELL[1] * rows))
    cells = []
    for number, record in enumerate(records):
        image = Image.fromarray(read(record).permute(1, 2, 0).numpy())
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
