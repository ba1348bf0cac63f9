"""The score threshold with the highest F1, so that detectors trained with different losses can be compared."""

from collections.abc import Sequence

import numpy as np

from src.data.records import ImageRecord
from src.detectors.detections import Detections, check_detections
from src.evaluation.voc_ap import match_detections


def best_f1(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str]
) -> tuple[float, float]:
    """Return the score threshold at which F1 is highest, and that F1 in percent.

    F1 is 2 TP / (D + G) over all classes together: D is the number of detections that reach the threshold, G that of
    ground truths, and TP that of true positives at IoU 0.5 as :func:`src.evaluation.voc_ap.voc_ap` defines them; what
    is ignored there does not count. The threshold is midway between the lowest score that reaches it and the next
    score, or that score itself if it is the last; ties go to the highest threshold. If no detection is a true positive,
    the threshold is NaN and F1 is 0.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: the names that labels index.

    Raises:
        ValueError: as `check_detections`.
    """
    check_detections(records, detections, classes)
    scores, true_positive, objects = match_detections(records, detections, len(classes))
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(true_positive[order])
    if not hits[-1:].any():
        return float("nan"), 0.0
    following = np.append(scores[1:], scores[-1])
    is_last = np.append(following[:-1] < scores[:-1], True)  # detections of one score reach a threshold together
    f1 = np.where(is_last, 2 * hits / (np.arange(1, len(hits) + 1) + objects), -1.0)
    best = int(f1.argmax())
    return float((scores[best] + following[best]) / 2), 100 * float(f1[best])
