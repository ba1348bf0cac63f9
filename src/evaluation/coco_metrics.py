"""The metrics that the paper reports, from ground truth and detections alone. All are in percent.

A metric that is not defined, such as APsmall of images without small objects, is NaN.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from src.data.records import ImageRecord
from src.detectors.detections import Detections, check_detections
from src.evaluation.voc_ap import voc_ap

# In the order of COCOeval.stats.
COCO_METRICS = (
    "AP",
    "AP50",
    "AP75",
    "APsmall",
    "APmedium",
    "APlarge",
    "AR1",
    "AR10",
    "AR100",
    "ARsmall",
    "ARmedium",
    "ARlarge",
)
COCO_MAX_DETECTIONS = 100  # the number of best detections of an image, over all classes, that COCO's metrics use


def evaluate_detections(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    max_detections: int = COCO_MAX_DETECTIONS,
) -> dict[str, float]:
    """Return all metrics: COCO's twelve, VOC's two mean APs at IoU 0.5, and the APs of each class.

    COCO's are as pycocotools computes them. Only the best 100 detections of an image over all classes count, as in
    COCO's rules; pycocotools, given more, would use the best 100 of each class. Crowd regions are COCO's `iscrowd`.
    Difficult objects are ignored as COCOeval ignores those outside an area range: missing one costs nothing, and one
    detection on it, by ordinary IoU, is not counted. Detections of equal score rank in the order of the records, then
    in the order given. VOC's are those of `voc_ap`.

    Args:
        records: the ground truth.
        detections: those of each record, in the same order.
        classes: the names that labels index.
        max_detections: per image. COCO's metrics use the best 100 of an image; with a larger number, say 300, AP and AR
            with that many detections are added as `AP@300` and `AR@300`.

    Returns:
        Percentages under `COCO_METRICS`, `VOC07_AP50`, `VOC12_AP50`, and for each class `AP/<class>`,
        `VOC07_AP50/<class>` and `VOC12_AP50/<class>`.

    Raises:
        ValueError: as `check_detections`.
    """
    evaluator = _run_coco_eval(records, detections, classes)
    metrics = _named_stats(evaluator)
    if max_detections > COCO_MAX_DETECTIONS:
        metrics |= _with_more_detections(records, detections, classes, max_detections)
    per_class = {f"AP/{name}": ap for name, ap in zip(classes, _coco_class_ap(evaluator), strict=True)}
    for metric in ("07", "12"):
        key = f"VOC{metric}_AP50"
        metrics[key], by_name = voc_ap(records, detections, classes, iou=0.5, metric=metric)
        per_class |= {f"{key}/{name}": ap for name, ap in by_name.items()}
    return metrics | per_class


class _DifficultCOCOeval(COCOeval):
    """COCOeval sets every annotation's `ignore` to its `iscrowd`; here difficult ones are ignored too."""

    def _prepare(self) -> None:
        super()._prepare()
        for annotations in self._gts.values():
            for annotation in annotations:
                annotation["ignore"] = annotation["iscrowd"] or annotation["difficult"]


def _run_coco_eval(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    max_detections: int = COCO_MAX_DETECTIONS,
) -> COCOeval:
    check_detections(records, detections, classes)
    ground_truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (record, of_image) in enumerate(zip(records, detections, strict=True)):
        flags = {"area": record.area, "iscrowd": record.crowd, "difficult": record.difficult}
        ground_truth += _annotations(image, record.boxes, record.labels, columns=flags)
        best = best_detections(of_image, max_detections)
        results += _annotations(image, best.boxes, best.labels, columns={"score": best.scores})
    with contextlib.redirect_stdout(io.StringIO()):
        images, categories = range(len(records)), range(len(classes))
        evaluator = _DifficultCOCOeval(
            _coco(images, categories, ground_truth), _coco(images, categories, results), iouType="bbox"
        )
        evaluator.params.maxDets = [1, 10, max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
        if max_detections == COCO_MAX_DETECTIONS:  # the number that pycocotools' summary is written for
            evaluator.summarize()
    return evaluator


def best_detections(detections: Detections, count: int) -> Detections:
    """Return the best `count` detections of an image in the order given; ties go to the first."""
    if len(detections.scores) <= count:
        return detections
    kept = detections.scores.argsort(descending=True, stable=True)[:count].sort().values
    return Detections(detections.boxes[kept], detections.scores[kept], detections.labels[kept])


def _with_more_detections(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str], max_detections: int
) -> dict[str, float]:
    """Return COCO's AP and AR, over all IoU thresholds, with more detections than its rules allow."""
    evaluator = _run_coco_eval(records, detections, classes, max_detections=max_detections)
    values = {"AP": evaluator.eval["precision"][..., 0, -1], "AR": evaluator.eval["recall"][..., 0, -1]}
    defined = {key: value[value > -1] for key, value in values.items()}  # −1: no such class
    return {
        f"{key}@{max_detections}": 100 * float(value.mean()) if value.size else float("nan")
        for key, value in defined.items()
    }


def _annotations(image: int, boxes: Tensor, labels: Tensor, *, columns: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Return COCO's annotation of each box [N, 4], with entries from the additional columns ([N] each)."""
    # First to float32, the precision of the records' boxes: equal coordinates of a detection in float64 would
    # otherwise differ after rounding, and an IoU equal to a threshold would fall short of it.
    corner, end = boxes.detach().cpu().float().double().split(2, dim=1)
    size = end - corner
    box_columns = {"category_id": labels, "bbox": torch.cat([corner, size], dim=1), "area": size.prod(dim=1)}
    columns = box_columns | columns
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [{"image_id": image} | dict(zip(columns, row, strict=True)) for row in rows]


def _coco(images: range, categories: range, annotations: list[dict[str, Any]]) -> COCO:
    # Not by COCO.loadRes, which fails where there are no detections.
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number  # from 1 on: to COCOeval, id 0 is "not matched"
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": category} for category in categories],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _named_stats(evaluator: COCOeval) -> dict[str, float]:
    # COCOeval gives −1 for what is not defined.
    stats = [100 * float(value) if value >= 0 else float("nan") for value in evaluator.stats]
    return dict(zip(COCO_METRICS, stats, strict=True))


def _coco_class_ap(evaluator: COCOeval) -> list[float]:
    """Return each class's AP over all IoU thresholds and areas, at 100 detections per image."""
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, classes]
    defined = (precision >= 0).all(axis=(0, 1))
    return np.where(defined, 100 * precision.mean(axis=(0, 1)), np.nan).tolist()
