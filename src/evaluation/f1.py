"""The score threshold at which a detector is at its best, so that detectors of different losses can be compared."""

from collections.abc import Sequence

import numpy as np

from src.data.records import ImageRecord
from src.detectors.detections import Detections, check_detections
from src.evaluation.voc_ap import match_detections


def best_f1(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str], *, iou: float = 0.5
) -> tuple[float, float]:
    """Return the score threshold at which F1 is highest, and that F1 in percent.

    F1 is 2 TP / (D + G) of all classes together, where D detections reach the threshold, G is the number of ground
    truths, and TP the number of true positives as :func:`src.evaluation.voc_ap.voc_ap` defines them; what is ignored
    there counts nowhere. The threshold is midway between the lowest score that reaches it and the next one, or that
    score itself if it is the last; of several with the same F1 it is the highest. It is NaN, and F1 is 0, if no
    detection is a true positive.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: the names that labels index.
        iou: the least IoU of a match.

    Raises:
        ValueError: as `check_detections`.
    """
    check_detections(records, detections, classes)
    scores, true_positive, objects = match_detections(records, detections, len(classes), iou=iou)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(true_positive[order])
    if not hits[-1:].any():
        return float("nan"), 0.0
    following = np.append(scores[1:], scores[-1])
    is_last = np.append(following[:-1] < scores[:-1], True)  # detections of one score reach a threshold together
    f1 = np.where(is_last, 2 * hits / (np.arange(1, len(hits) + 1) + objects), -1.0)
    best = int(f1.argmax())
    return float((scores[best] + following[best]) / 2), 100 * float(f1[best])
