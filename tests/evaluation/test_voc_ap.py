"""VOC's AP: against stored values of other implementations, and the development kit's loop written out."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch

from src.detectors.detections import Detections
from src.evaluation.voc_ap import voc_ap
from tests.evaluation.metric_inputs import BOX, SIDE_BY_SIDE, detected, pixels, truth, voc_means
from tests.support.exhaustive import trials
from tests.support.shared_data import shared_folder


def test_aps_of_one_class_are_the_stored_ones():
    folder = shared_folder("eval/voc_case1")
    expected = json.loads((folder / "expected.json").read_text())
    records, detections = [], []
    for path in sorted((folder / "gts").glob("*.txt")):
        rows = [[float(v) for v in line.split()[1:]] for line in path.read_text().splitlines()]
        records.append(truth([inclusive(*row) for row in rows]))
        text = (folder / "dets" / path.name).read_text()
        rows = [[float(v) for v in line.split()[1:]] for line in text.splitlines()]
        detections.append(detected([inclusive(*row[1:]) for row in rows], [row[0] for row in rows]))
    assert sum(len(record.boxes) for record in records) == 15
    assert sum(len(each.boxes) for each in detections) == 24
    columns = (expected[key] for key in ("iou", "voc07_11point", "voc12_all_point"))
    for iou, ap07, ap12 in zip(*columns, strict=True):
        means = voc_means(records, detections, ["object"], iou=iou)
        assert means == pytest.approx((100 * ap07, 100 * ap12), abs=1e-7), iou


def inclusive(x, y, width, height) -> tuple:
    """Return the continuous box whose last column of pixels is at x + width and last row at y + height."""
    return x, y, x + width + 1, y + height + 1


def read_voc(xml: Path, classes, difficult: bool = True):
    """Return the record of a VOC annotation file; without `difficult`, its difficult flags are left out."""
    objects = ET.parse(xml).findall("object")
    corners = ("xmin", "ymin", "xmax", "ymax")
    boxes = [pixels(*(float(item.findtext(f"bndbox/{corner}")) for corner in corners)) for item in objects]
    labels = [classes.index(item.findtext("name")) for item in objects]
    flags = [difficult and item.findtext("difficult") == "1" for item in objects]
    return truth(boxes, labels, xml.stem, difficult=flags)


def read_text_detections(path: Path, label) -> Detections:
    """Return detections from lines `class score xmin ymin xmax ymax`; none if there is no such file."""
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    boxes = [pixels(*map(float, row[2:])) for row in rows]
    return detected(boxes, [float(row[1]) for row in rows], [label(row[0]) for row in rows])


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_aps_of_toy_images_are_the_stored_ones(iou):
    folder = shared_folder("eval/voc_toy")
    expected = json.loads((folder / "expected.json").read_text())
    files = sorted((folder / "gts_vocpascal_format").glob("*.xml"))
    records = [read_voc(file, ["cat"]) for file in files]
    dets = folder / "dets_classname_abs_xyx2y2"
    detections = [read_text_detections(dets / f"{file.stem}.txt", ["cat"].index) for file in files]
    aps = expected[f"iou_{iou}"]
    means = voc_means(records, detections, ["cat"], iou=iou)
    assert means == pytest.approx((100 * aps["voc07_11point"], 100 * aps["voc12_all_point"]), abs=5e-3)


@pytest.mark.parametrize(
    "difficult, expected",
    [(True, (60.7511, 61.3875)), (False, (59.8969, 61.0913))],
    ids=["ignored", "counted"],
)
def test_aps_of_a_part_of_voc2012_are_the_stored_ones(difficult, expected):
    folder = shared_folder("voc2012_slice")
    classes = (folder / "voc.names").read_text().split()
    annotations = folder / "VOCdevkit/VOC2012/Annotations"
    ids = (folder / "VOCdevkit/VOC2012/ImageSets/Main/val.txt").read_text().split()
    records = [read_voc(annotations / f"{i}.xml", classes, difficult) for i in ids]
    detections = [read_text_detections(folder / f"dets_abs_xyx2y2/{i}.txt", int) for i in ids]
    assert sum(len(each.boxes) for each in detections) == 452
    assert voc_means(records, detections, classes) == pytest.approx(expected, abs=5e-5)


def test_the_eleven_recalls_round_as_in_the_ports_of_the_development_kit():
    # 6 of 10 detected perfectly: 0.6 is less than 6 * 0.1 in floating point, so that the recall reached is 0.5.
    means = voc_means([truth(SIDE_BY_SIDE[:10])], [detected(SIDE_BY_SIDE[:6], [0.9] * 6)], ["a"])
    assert means == pytest.approx((100 * 6 / 11, 60))


def test_a_detection_is_matched_with_the_highest_overlap_only():
    # The second detection overlaps the free object by more than one half too, but the taken one by more.
    records = [truth([(0, 0, 100, 100), (20, 0, 120, 100)])]
    detections = [detected([(0, 0, 100, 100), (5, 0, 105, 100)], [0.9, 0.8])]
    assert voc_means(records, detections, ["a"])[1] == pytest.approx(50)


def test_an_iou_equal_to_the_threshold_suffices():
    records, detections = [truth([(0, 0, 10, 10)])], [detected([(0, 0, 10, 5)], [0.9])]
    assert voc_ap(records, detections, ["a"], iou=0.5)[0] == pytest.approx(100)
    assert voc_ap(records, detections, ["a"], iou=0.501)[0] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_is_met_in_any_precision(dtype):
    records, detections = [truth([(0.1, 0, 10.1, 10)])], [detected([(0.1, 0, 10.1, 5)], [0.9], dtype=dtype)]
    assert voc_means(records, detections, ["a"]) == pytest.approx((100, 100))


def test_errors_of_labels_and_options_are_named():
    record = truth([BOX], [3], image_id=42)
    with pytest.raises(ValueError, match="image 42: ground truth labels run from 3 to 3"):
        voc_ap([record], [detected()], ["a"])
    with pytest.raises(ValueError, match="metric='10'.*'07', '12'"):
        voc_ap([], [], ["a"], metric="10")
    with pytest.raises(ValueError, match=r"iou=50.*\(0, 1\]"):
        voc_ap([], [], ["a"], iou=50)
    with pytest.raises(ValueError, match="class names must differ"):
        voc_ap([], [], ["a", "a"])


def devkit_ap(objects, dets, iou, metric) -> float:
    """Return the AP of a class from (corners, difficult) of each image's objects, and (image, score, corners)."""
    count = sum(not difficult for image in objects for _, difficult in image)
    taken = [[False] * len(image) for image in objects]
    tp, fp = [], []
    for image, _, box in sorted(dets, key=lambda det: -det[1]):
        highest, nearest = -math.inf, None
        for j, (other, _) in enumerate(objects[image]):
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                area, other_area = ((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other))
                overlap = width * height / (area + other_area - width * height)
                if overlap > highest:
                    highest, nearest = overlap, j
        tp.append(0), fp.append(0)
        if highest >= iou:
            if not objects[image][nearest][1]:
                if taken[image][nearest]:
                    fp[-1] = 1
                else:
                    tp[-1] = 1
                    taken[image][nearest] = True
        else:
            fp[-1] = 1
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    recall, precision = tp / count, tp / np.maximum(tp + fp, 1)
    if metric == "07":
        return sum(max(precision[recall >= t], default=0) for t in np.arange(0, 1.1, 0.1)) / 11
    recall, precision = [0, *recall, 1], [0, *precision, 0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def random_problem(seed):
    """Return objects, detections and class names.

    Corners are inclusive and close to a few points, for duplicates, near misses and equal IoUs. Scores have few
    different values, for ties.
    """
    rng = np.random.default_rng(seed)
    images, classes = rng.integers(1, 8), rng.integers(1, 4)

    def boxes(count):
        corner = rng.integers(0, 3, (count, 2)) * 12 + rng.integers(1, 5, (count, 2))
        return np.concatenate([corner, corner + rng.integers(6, 14, (count, 2))], axis=1).tolist()

    objects, dets = [], []
    for image in range(images):
        count = rng.integers(0, 6)
        difficult = (rng.random(count) < 0.25).tolist()
        labels = rng.integers(0, classes, count).tolist()
        objects.append(list(zip(boxes(count), difficult, labels, strict=True)))
        count = rng.integers(0, 25)
        scores, labels = rng.integers(0, 12, count) / 16, rng.integers(0, classes, count)
        dets += [(image, *rest) for rest in zip(scores.tolist(), boxes(count), labels.tolist(), strict=True)]
    return objects, dets, [f"class {k}" for k in range(classes)]


@pytest.mark.parametrize("metric", ["07", "12"])
@pytest.mark.parametrize("seed", trials(60, 2000))
def test_voc_ap_is_the_development_kits(seed, metric):
    objects, dets, classes = random_problem(seed)
    records = [
        truth([pixels(*o[0]) for o in image], [o[2] for o in image], i, difficult=[o[1] for o in image])
        for i, image in enumerate(objects)
    ]
    detections = []
    for i in range(len(objects)):
        of_image = [det for det in dets if det[0] == i]
        _, scores, corners, labels = zip(*of_image, strict=True) if of_image else [()] * 4
        detections.append(detected([pixels(*box) for box in corners], scores, labels))
    for iou in (0.3, 0.5, 0.75):
        expected = {}
        for k, name in enumerate(classes):
            of_class = [[o[:2] for o in image if o[2] == k] for image in objects]
            if any(not difficult for image in of_class for _, difficult in image):
                expected[name] = 100 * devkit_ap(of_class, [d[:3] for d in dets if d[3] == k], iou=iou, metric=metric)
        mean, per_class = voc_ap(records, detections, classes, iou=iou, metric=metric)
        assert list(per_class) == classes
        defined = {name: ap for name, ap in per_class.items() if not math.isnan(ap)}
        assert defined == pytest.approx(expected, abs=1e-9)
        if expected:
            assert mean == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
        else:
            assert math.isnan(mean)
