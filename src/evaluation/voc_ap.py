"""PASCAL VOC's average precision, as its development kit computes it."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from src.data.records import ImageRecord
from src.detectors.detections import Detections, check_detections

# The recalls of VOC07's average, in floating point as in the Python ports of the development kit with which detectors
# are usually reported. There 3 * 0.1 is 0.30000000000000004, so that 3 detected objects of 10 do not reach recall 0.3,
# nor do 6 reach 0.6 or 7 reach 0.7. Exact tenths would give slightly higher APs than the ports.
RECALLS_07 = np.arange(11) * 0.1


def voc_ap(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    iou: float = 0.5,
    metric: str = "07",
) -> tuple[float, dict[str, float]]:
    """Return the mean AP and the AP of each class by name, in percent.

    A class's detections are taken in descending order of score, ties in the order given. Each is matched to the ground
    truth of its class and image with which its IoU is highest. If that IoU is at least `iou`, the detection is a true
    positive when it is the first match of that ground truth, a false positive when it is not, and counts as
    neither when the ground truth is difficult. If the IoU is less, the detection is a false positive. Recall is over
    the ground truths that are not difficult. COCO's crowd regions, which VOC does not have, are treated like difficult
    objects.

    A class without ground truth that counts has AP NaN and is left out of the mean, which is NaN if all classes are.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: the names that labels index.
        iou: the least IoU of a match, in (0, 1].
        metric: "07" for the mean over the recalls 0, 0.1, …, 1 of the highest precision at that recall or a higher one,
            or "12" for the area under the monotone envelope of the whole precision-recall curve.

    Raises:
        ValueError: as `check_detections`, and for an unknown `metric` or an `iou` out of range.
    """
    averages = {"07": _average_07, "12": _average_12}
    if metric not in averages:
        raise ValueError(f"metric={metric!r}: expected one of {sorted(averages)}")
    if not 0 < iou <= 1:
        raise ValueError(f"iou={iou}: expected a threshold in (0, 1]")
    check_detections(records, detections, classes)
    per_class = {}
    for name, (_, true_positive, count) in zip(
        classes, _matches_by_class(records, detections, len(classes), iou), strict=True
    ):
        per_class[name] = 100 * averages[metric](true_positive, count) if count else float("nan")
    defined = [value for value in per_class.values() if not np.isnan(value)]
    return (float(np.mean(defined)) if defined else float("nan")), per_class


def match_detections(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scores of the detections that count, which are true positives, and how many ground truths count.

    Detections and ground truths of all classes are matched as `voc_ap` does at IoU 0.5.
    """
    by_class = _matches_by_class(records, detections, classes, iou=0.5)
    scores, true_positives, counts = zip(*by_class, strict=True)
    return np.concatenate(scores), np.concatenate(true_positives), sum(counts)


def _matches_by_class(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: int, iou: float
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Return for each class what `match_detections` returns, in descending order of score."""
    object_labels, ignored = _objects(records)
    labels, scores, nearest, overlap = _nearest_objects(records, detections)
    matches = []
    for label in range(classes):
        of_class = np.flatnonzero(labels == label)
        order = of_class[np.argsort(-scores[of_class], kind="stable")]
        counted, true_positive = _true_positives(nearest[order], overlap[order] >= iou, ignored)
        objects = int(np.sum((object_labels == label) & ~ignored))
        matches.append((scores[order][counted], true_positive, objects))
    return matches


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


def _objects(records: Sequence[ImageRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels [N] of the ground truths of all images in turn, and which to ignore [N]."""
    labels = [np.empty(0)] + [_numpy(record.labels) for record in records]
    ignored = [np.empty(0)] + [_numpy(record.difficult | record.crowd) for record in records]
    return np.concatenate(labels), np.concatenate(ignored).astype(bool)


def _nearest_objects(
    records: Sequence[ImageRecord], detections: Sequence[Detections]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return label, score, nearest ground truth and IoU with it of all images' detections in order, [M] each.

    The nearest is the first of those of the same image and class with the highest IoU. It is given by its index among
    the ground truths of all images; −1 if there is none.
    """
    columns = [np.empty((0, 4))]
    first = 0
    for record, of_image in zip(records, detections, strict=True):
        labels, object_labels = _numpy(of_image.labels), _numpy(record.labels)
        nearest, overlap = np.full(len(labels), -1), np.full(len(labels), -1.0)
        if len(labels) and len(object_labels):
            # float(): in the precision of the records' boxes, so that equal coordinates stay equal.
            overlaps = _iou(_numpy(of_image.boxes.float()), _numpy(record.boxes))
            overlaps[labels[:, None] != object_labels] = -1
            best = overlaps.argmax(axis=1)
            overlap = overlaps[np.arange(len(labels)), best]
            nearest = np.where(overlap >= 0, first + best, -1)
        columns.append(np.stack([labels, _numpy(of_image.scores), nearest, overlap], axis=1))
        first += len(object_labels)
    labels, scores, nearest, overlap = np.concatenate(columns).T
    return labels, scores, nearest.astype(np.int64), overlap


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the IoU [M, N] of boxes [M, 4] and [N, 4], 0 for two empty boxes.

    The development kit adds one pixel to every width and height because its corners are pixels that belong to the box.
    The boxes of an `ImageRecord` end where the last such pixel ends, so that the plain formula gives the same IoU.
    """
    size = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    intersection = size.clip(min=0).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    union = area_a[:, None] + area_b - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _true_positives(nearest: np.ndarray, close: np.ndarray, ignored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections of a class count [M], and whether each of these is a true positive.

    Args:
        nearest: int64 [M], the nearest ground truth of each detection, in descending order of score.
        close: bool [M], whether the IoU with it suffices.
        ignored: bool [N], which ground truths to ignore; detections close to these are not counted.
    """
    counted = np.ones(len(nearest), dtype=bool)
    counted[close] = ~ignored[nearest[close]]
    nearest, close = nearest[counted], close[counted]
    matched = np.flatnonzero(close)
    _, first = np.unique(nearest[matched], return_index=True)
    true_positive = np.zeros(len(nearest), dtype=bool)
    true_positive[matched[first]] = True
    return counted, true_positive


def _precision_recall(true_positive: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest precision at the same or a higher recall, and the recall, after each detection."""
    hits = np.cumsum(true_positive)
    precision = hits / np.arange(1, len(hits) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1], hits / count


def _average_07(true_positive: np.ndarray, count: int) -> float:
    """Return the mean precision at the recalls 0, 0.1, …, 1."""
    precision, recall = _precision_recall(true_positive, count)
    reached_at = np.searchsorted(recall, RECALLS_07, side="left")
    return float(np.append(precision, 0.0)[reached_at].mean())


def _average_12(true_positive: np.ndarray, count: int) -> float:
    """Return the area under the precision-recall curve."""
    precision, recall = _precision_recall(true_positive, count)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
