"""Records and detections for the tests of the metrics, from plain lists."""

import dataclasses

import torch

from src.data.records import ImageRecord, make_record
from src.detectors.detections import Detections
from src.evaluation.voc_ap import voc_ap

BOX = (10, 10, 50, 50)
AWAY = (100, 100, 150, 150)
SIDE_BY_SIDE = [(60 * i, 0, 60 * i + 50, 50) for i in range(12)]


def truth(boxes, labels=None, image_id="image", *, difficult=None, crowd=None, area=None) -> ImageRecord:
    """Return the ground truth of an image of 1000 × 1000 pixels, by default of class 0."""
    labels = [0] * len(boxes) if labels is None else labels
    record = make_record(
        image_id, "none.jpg", (1000, 1000), boxes=boxes, labels=labels, difficult=difficult, crowd=crowd
    )
    return record if area is None else dataclasses.replace(record, area=torch.tensor(area, dtype=torch.float32))


def detected(boxes=(), scores=(), labels=None, dtype=torch.float32) -> Detections:
    """Return detections, by default of class 0."""
    labels = [0] * len(boxes) if labels is None else labels
    return Detections(
        torch.tensor(boxes, dtype=dtype).reshape(-1, 4),
        torch.tensor(scores, dtype=dtype),
        torch.tensor(labels, dtype=torch.int64),
    )


def pixels(xmin, ymin, xmax, ymax) -> tuple:
    """Return the continuous box of one-based inclusive corners."""
    return xmin - 1, ymin - 1, xmax, ymax


def voc_means(records, detections, classes, iou=0.5) -> tuple[float, float]:
    """Return the mean AP of VOC07 and that of VOC12."""
    return tuple(voc_ap(records, detections, classes, iou=iou, metric=metric)[0] for metric in ("07", "12"))
