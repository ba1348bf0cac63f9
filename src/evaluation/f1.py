"""The score from which on detections are best shown: that of the greatest F1."""

from collections.abc import Sequence

import numpy as np

from src.data.records import ImageRecord
from src.detectors.detections import Detections, check_detections
from src.evaluation.voc_ap import nearest_objects, objects_of


def best_f1(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str], *, iou: float = 0.5
) -> tuple[float, float]:
    """Return the score threshold with the greatest F1 over all classes together, and that F1 in percent.

    F1 is 2 TP / (detections + objects), with the true positives of `voc_ap`. The threshold is the score of the lowest
    detection to keep; NaN, with an F1 of 0, if none is a true positive.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: the names that labels index.
        iou: the least IoU of a match, in (0, 1].

    Raises:
        ValueError: as `check_detections`.
    """
    check_detections(records, detections, classes)
    _, ignored = objects_of(records)
    _, scores, nearest, overlap = nearest_objects(records, detections)
    order = np.argsort(-scores, kind="stable")
    scores, nearest, close = scores[order], nearest[order], overlap[order] >= iou
    counts = ~close
    counts[close] = ~ignored[nearest[close]]
    scores, nearest, close = scores[counts], nearest[counts], close[counts]
    matched = np.flatnonzero(close)
    if not len(matched):
        return float("nan"), 0.0
    hits = np.zeros(len(scores))
    hits[matched[np.unique(nearest[matched], return_index=True)[1]]] = 1
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(scores) + 1) + np.sum(~ignored))
    f1[:-1][scores[:-1] == scores[1:]] = 0  # a threshold keeps all of equal scores
    best = int(f1.argmax())
    return float(scores[best]), 100 * float(f1[best])
