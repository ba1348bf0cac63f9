"""Records and detections for the tests of the metrics, from plain lists."""

import os
from pathlib import Path

import pytest
import torch

from src.data.records import make_record
from src.detectors.detections import Detections
from src.evaluation.voc_ap import voc_ap

SHARED_DATA = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
BOX = (10, 10, 50, 50)
AWAY = (100, 100, 150, 150)
SIDE_BY_SIDE = [(60 * i, 0, 60 * i + 50, 50) for i in range(12)]


def shared(folder: str) -> Path:
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"{folder} is not under SHARED_DATA={SHARED_DATA}")
    return SHARED_DATA / folder


def truth(boxes, labels=None, image_id="image", **marks):
    labels = [0] * len(boxes) if labels is None else labels
    return make_record(image_id, "none.jpg", 1000, 1000, boxes, labels, **marks)


def found(boxes=(), scores=(), labels=None, dtype=torch.float32) -> Detections:
    labels = [0] * len(boxes) if labels is None else labels
    return Detections(
        torch.tensor(boxes, dtype=dtype).reshape(-1, 4),
        torch.tensor(scores, dtype=dtype),
        torch.tensor(labels, dtype=torch.int64),
    )


def pixels(xmin, ymin, xmax, ymax) -> tuple:
    """The continuous box of one-based inclusive corners."""
    return xmin - 1, ymin - 1, xmax, ymax


def voc_means(records, detections, classes, iou=0.5) -> tuple[float, float]:
    return tuple(voc_ap(records, detections, classes, iou, metric)[0] for metric in ("07", "12"))
