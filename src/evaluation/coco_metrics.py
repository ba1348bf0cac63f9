"""The figures that the paper reports, from ground truth and detections alone. All are in percent.

A figure that is not defined, such as APsmall of images without small objects, is NaN.
"""

import contextlib
import io
from collections.abc import Sequence

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


def evaluate_detections(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str]
) -> dict[str, float]:
    """Every figure there is: COCO's twelve, VOC's two mean APs at IoU 0.5, and those of each class.

    ``detections[i]`` belongs to ``records[i]``; ``classes[k]`` is the name of label k. The keys are
    ``COCO_METRICS``, ``VOC07_AP50``, ``VOC12_AP50``, and for each class ``AP/<class>``,
    ``VOC07_AP50/<class>`` and ``VOC12_AP50/<class>``. See :func:`coco_metrics` and
    :func:`~src.evaluation.voc_ap.voc_ap`, also for the errors.
    """
    evaluator = _run_coco_eval(records, detections, classes)
    metrics = _coco_figures(evaluator)
    per_class = {f"AP/{name}": ap for name, ap in zip(classes, _coco_class_ap(evaluator), strict=True)}
    for metric in ("07", "12"):
        key = f"VOC{metric}_AP50"
        metrics[key], by_name = voc_ap(records, detections, classes, iou=0.5, metric=metric)
        per_class |= {f"{key}/{name}": ap for name, ap in by_name.items()}
    return metrics | per_class


def coco_metrics(
    records: Sequence[ImageRecord], detections: Sequence[Detections], classes: Sequence[str]
) -> dict[str, float]:
    """COCO's twelve figures, under the names in ``COCO_METRICS``, by pycocotools.

    Crowd regions are COCO's ``iscrowd``. Difficult objects are ignored as COCOeval ignores those outside an
    area range: missing one costs nothing, and one detection on it, by ordinary IoU, is not counted.
    Detections of equal score rank in the order of the records, then in the order given.

    Raises ``ValueError`` as :func:`~src.detectors.detections.check_detections` does.
    """
    return _coco_figures(_run_coco_eval(records, detections, classes))


class _DifficultCOCOeval(COCOeval):
    """COCOeval sets every annotation's ``ignore`` to its ``iscrowd``; here difficult ones are ignored too."""

    def _prepare(self):
        super()._prepare()
        for annotations in self._gts.values():
            for annotation in annotations:
                annotation["ignore"] = annotation["iscrowd"] or annotation["difficult"]


def _run_coco_eval(records, detections, classes) -> COCOeval:
    check_detections(records, detections, classes)
    ground_truth, found = [], []
    for image, (record, detected) in enumerate(zip(records, detections, strict=True)):
        marks = {"area": record.area, "iscrowd": record.crowd, "difficult": record.difficult}
        ground_truth += _annotations(image, record.boxes, record.labels, marks)
        found += _annotations(image, detected.boxes, detected.labels, {"score": detected.scores})
    with contextlib.redirect_stdout(io.StringIO()):
        images, categories = range(len(records)), range(len(classes))
        evaluator = _DifficultCOCOeval(
            _coco(images, categories, ground_truth), _coco(images, categories, found), iouType="bbox"
        )
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def _annotations(image: int, boxes: Tensor, labels: Tensor, others: dict[str, Tensor]) -> list[dict]:
    """One of COCO's annotations for each box [N, 4], with its entries from ``others`` ([N] each)."""
    # By way of the precision of the records' boxes: where a detection has more, coordinates that are the same
    # would differ after rounding, and an IoU of exactly a threshold fall short of it.
    corner, end = boxes.detach().cpu().float().double().split(2, dim=1)
    size = end - corner
    columns = {"category_id": labels, "bbox": torch.cat([corner, size], dim=1), "area": size.prod(dim=1)}
    columns |= others
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [{"image_id": image} | dict(zip(columns, row, strict=True)) for row in rows]


def _coco(images: range, categories: range, annotations: list[dict]) -> COCO:
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


def _coco_figures(evaluator: COCOeval) -> dict[str, float]:
    # COCOeval says −1 for what is not defined.
    stats = [100 * float(value) if value >= 0 else float("nan") for value in evaluator.stats]
    return dict(zip(COCO_METRICS, stats, strict=True))


def _coco_class_ap(evaluator: COCOeval) -> list[float]:
    """AP over all IoU thresholds, all areas and 100 detections an image, of each class."""
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, classes]
    defined = (precision >= 0).all(axis=(0, 1))
    return np.where(defined, 100 * precision.mean(axis=(0, 1)), np.nan).tolist()
