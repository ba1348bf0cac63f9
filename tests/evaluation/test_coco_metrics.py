"""All metrics together and COCO's: against stored values of pycocotools and cases computed by hand."""

import contextlib
import io
import json
import math

import pytest
import torch

from src.detectors.detections import Detections
from src.evaluation.coco_metrics import COCO_METRICS, _run_coco_eval, evaluate_detections
from src.evaluation.voc_ap import voc_ap
from tests.evaluation.metric_inputs import AWAY, BOX, SIDE_BY_SIDE, detected, truth, voc_means
from tests.support.shared_data import shared_folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_metrics_are_those_of_pycocotools(dtype):
    folder = shared_folder("eval/coco100")
    gt, dets = (json.loads((folder / name).read_text()) for name in ("gt.json", "dets.json"))
    expected = json.loads((folder / "expected.json").read_text())
    label = {category["id"]: i for i, category in enumerate(gt["categories"])}
    records, detections = [], []
    for image in sorted(image["id"] for image in gt["images"]):
        objects = [a for a in gt["annotations"] if a["image_id"] == image]
        of_image = [d for d in dets if d["image_id"] == image]
        records.append(
            truth(
                [xywh(a["bbox"]) for a in objects],
                [label[a["category_id"]] for a in objects],
                image,
                crowd=[a["iscrowd"] for a in objects],
                area=[a["area"] for a in objects],
            )
        )
        detections.append(
            detected(
                [xywh(d["bbox"]) for d in of_image],
                [d["score"] for d in of_image],
                [label[d["category_id"]] for d in of_image],
                dtype,
            )
        )
    found = evaluate_detections(records, detections, [category["name"] for category in gt["categories"]])
    metrics = {key: value for key, value in found.items() if key in COCO_METRICS}
    assert list(metrics) == list(expected) == list(COCO_METRICS)
    assert {key: value / 100 for key, value in metrics.items()} == pytest.approx(expected, abs=1e-6, rel=0)


def xywh(box) -> tuple:
    x, y, width, height = box
    return x, y, x + width, y + height


def test_a_perfect_detector_has_100_everywhere():
    records = [
        truth([(0, 0, 20, 20), (30, 30, 90, 90)], [0, 1]),
        truth([], image_id="empty"),
        truth([(100, 100, 300, 300)], [1]),
    ]
    detections = [detected(r.boxes.tolist(), [0.9] * len(r.boxes), r.labels.tolist()) for r in records]
    metrics = evaluate_detections(records, detections, ["a", "b"])
    per_class = {f"{key}/{c}" for key in ("AP", "VOC07_AP50", "VOC12_AP50") for c in "ab"}
    assert set(metrics) == {*COCO_METRICS, "VOC07_AP50", "VOC12_AP50"} | per_class
    assert metrics == pytest.approx(dict.fromkeys(metrics, 100.0))


def test_metrics_are_those_computed_by_hand():
    # By score: true, false, true, false, true; the fourth object is missed.
    # Precision 1, 1/2, 2/3, 1/2, 3/5 at recall 1/4, 1/4, 1/2, 1/2, 3/4.
    first, second, third, fourth = SIDE_BY_SIDE[:4]
    records = [truth([first, second, third, fourth])]
    detections = [detected([first, AWAY, second, (0, 500, 9, 509), third], [0.9, 0.8, 0.7, 0.6, 0.5])]
    by_07 = 100 * (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11  # recalls 0–.2, .3–.5, .6–.7
    by_12 = 100 * (1 + 2 / 3 + 3 / 5) / 4
    assert voc_means(records, detections, ["a"]) == pytest.approx((by_07, by_12))
    by_coco = 100 * (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5) / 101
    metrics = evaluate_detections(records, detections, ["a"])
    assert [metrics[key] for key in ("AP", "AP50", "AP/a")] == pytest.approx([by_coco] * 3)
    assert metrics["AR100"] == pytest.approx(75)
    assert metrics["AR1"] == pytest.approx(25)


def test_duplicates_are_false_positives():
    # True, false on the same object, true: precision 1, 1/2, 2/3.
    records, detections = [truth([BOX, AWAY])], [detected([BOX, BOX, AWAY], [0.9, 0.8, 0.7])]
    assert voc_means(records, detections, ["a"])[1] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert evaluate_detections(records, detections, ["a"])["AP50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_difficult_objects_are_ignored():
    records = [truth([AWAY, BOX], difficult=[True, False])]
    matched = [detected([AWAY, BOX], [0.9, 0.8])]
    missed = [detected([BOX], [0.8])]
    for detections in (matched, missed):
        metrics = evaluate_detections(records, detections, ["a"])
        assert [metrics[key] for key in ("AP", "AR100", "VOC07_AP50", "VOC12_AP50")] == pytest.approx([100] * 4)
    twice = [detected([AWAY, AWAY, BOX], [0.9, 0.85, 0.8])]
    assert voc_means(records, twice, ["a"]) == pytest.approx((100, 100))
    unmarked = [truth([AWAY, BOX])]
    assert evaluate_detections(unmarked, missed, ["a"])["AP"] < 51


def test_difficult_objects_are_not_crowds():
    # A small box inside: as a part of a crowd it is not counted, by its ordinary IoU it is a false positive.
    inside = (100, 100, 110, 110)
    detections = [detected([inside, BOX], [0.9, 0.8])]
    difficult = evaluate_detections([truth([AWAY, BOX], difficult=[True, False])], detections, ["a"])
    crowd = evaluate_detections([truth([AWAY, BOX], crowd=[True, False])], detections, ["a"])
    assert difficult["AP"] == pytest.approx(50)
    assert crowd["AP"] == pytest.approx(100)


def test_a_crowd_takes_any_number_of_detections():
    records = [truth([AWAY, BOX], crowd=[True, False])]
    detections = [detected([AWAY, AWAY, BOX], [0.9, 0.85, 0.8])]
    metrics = evaluate_detections(records, detections, ["a"])
    assert [metrics[key] for key in ("AP", "AR100", "VOC07_AP50", "VOC12_AP50")] == pytest.approx([100] * 4)


def test_the_area_of_the_record_decides_the_size():
    metrics = evaluate_detections([truth([AWAY], area=[500.0])], [detected([AWAY], [0.9])], ["a"])
    assert [metrics["APsmall"], metrics["ARsmall"]] == pytest.approx([100, 100])
    assert all(math.isnan(metrics[key]) for key in ("APmedium", "APlarge", "ARmedium", "ARlarge"))


def test_no_detections_give_zero():
    metrics = evaluate_detections([truth([BOX]), truth([])], [detected(), detected()], ["a"])
    undefined = {key for key, value in metrics.items() if math.isnan(value)}
    assert undefined == {"APsmall", "ARsmall", "APlarge", "ARlarge"}
    assert all(value == 0 for key, value in metrics.items() if key not in undefined)


@pytest.mark.parametrize("images", [0, 2])
def test_no_ground_truth_is_undefined(images):
    metrics = evaluate_detections([truth([])] * images, [detected([BOX], [0.9])] * images, ["a", "b"])
    assert len(metrics) == 12 + 2 + 3 * 2
    assert all(math.isnan(value) for value in metrics.values())


def test_a_class_without_ground_truth_is_left_out_of_the_mean():
    records = [truth([BOX, AWAY], [0, 2], difficult=[False, True])]
    detections = [detected([BOX, AWAY, AWAY], [0.9, 0.8, 0.7], [0, 1, 2])]
    metrics = evaluate_detections(records, detections, ["a", "none", "difficult only"])
    for key in ("AP", "VOC07_AP50", "VOC12_AP50"):
        assert [metrics[key], metrics[f"{key}/a"]] == pytest.approx([100, 100])
        assert math.isnan(metrics[f"{key}/none"]) and math.isnan(metrics[f"{key}/difficult only"])


def test_classes_do_not_mix():
    records = [truth([BOX, BOX], [0, 1])]
    metrics = evaluate_detections(records, [detected([BOX, AWAY], [0.9, 0.8], [1, 0])], ["a", "b"])
    assert [metrics["AP/a"], metrics["AP/b"]] == pytest.approx([0, 100])
    assert [metrics["VOC12_AP50/a"], metrics["VOC12_AP50/b"]] == pytest.approx([0, 100])
    assert [metrics["AP"], metrics["VOC12_AP50"]] == pytest.approx([50, 50])


def test_ties_rank_in_the_order_given():
    records = [truth([BOX])]
    for boxes, expected in (([BOX, AWAY], 100), ([AWAY, BOX], 50)):
        metrics = evaluate_detections(records, [detected(boxes, [0.5, 0.5])], ["a"])
        assert metrics["VOC12_AP50"] == pytest.approx(expected)
        assert metrics["AP"] == pytest.approx(expected)
    first, second = truth([]), truth([BOX])
    metrics = evaluate_detections([first, second], [detected([AWAY], [0.5]), detected([BOX], [0.5])], ["a"])
    assert [metrics["AP"], metrics["VOC12_AP50"]] == pytest.approx([50, 50])


def test_empty_boxes_match_nothing():
    empty = (20, 20, 20, 20)
    metrics = evaluate_detections([truth([empty, BOX])], [detected([empty, BOX], [0.9, 0.8])], ["a"])
    assert metrics["VOC12_AP50"] == pytest.approx(25)
    assert metrics["AR100"] == pytest.approx(50)


def test_inputs_are_unchanged_and_nothing_is_printed(capsys):
    record, detections = truth([BOX, AWAY]), detected([BOX], [0.9])
    before = detections.boxes.clone(), record.boxes.clone()
    evaluate_detections([record], [detections], ["a"])
    assert torch.equal(detections.boxes, before[0]) and torch.equal(record.boxes, before[1])
    assert capsys.readouterr().out == ""


def test_detections_may_be_of_low_precision_and_part_of_a_graph():
    scores = torch.tensor([0.5], dtype=torch.bfloat16, requires_grad=True)
    boxes = torch.tensor([BOX], dtype=torch.float16)
    metrics = evaluate_detections([truth([BOX])], [Detections(boxes, scores, torch.tensor([0]))], ["a"])
    assert [metrics["AP"], metrics["VOC07_AP50"]] == pytest.approx([100, 100])


@pytest.mark.parametrize("metric", [voc_ap, evaluate_detections])
@pytest.mark.parametrize(
    "detections, message",
    [
        ([], r"0 sets of detections for 1 images"),
        ([detected([BOX], [math.nan])], r"image 'img7'.*scores hold NaN"),
        ([detected([(0, 0, math.inf, 5)], [0.5])], r"image 'img7'.*boxes hold NaN or infinity"),
        ([detected([(5, 0, 0, 5)], [0.5])], r"image 'img7'.*x2 < x1"),
        ([detected([BOX], [0.5], [2])], r"image 'img7': detection labels run from 2 to 2, outside of 0 … 1"),
        ([detected([BOX], [0.5], [-1])], r"image 'img7': detection labels run from -1"),
        ([detected([BOX], [0.5, 0.4], [0])], r"image 'img7'.*scores \(2,\)"),
    ],
)
def test_errors_name_the_image(metric, detections, message):
    with pytest.raises(ValueError, match=message):
        metric([truth([BOX], image_id="img7")], detections, ["a", "b"])


def many_objects(count):
    """An image with this many objects of two classes, and perfect detections of all, by falling score."""
    boxes = [(30 * (i % 20), 30 * (i // 20), 30 * (i % 20) + 20, 30 * (i // 20) + 20) for i in range(count)]
    labels = [i % 2 for i in range(count)]
    return truth(boxes, labels), detected(boxes, [1 - i / 1000 for i in range(count)], labels)


def test_coco_metrics_use_the_best_100_of_an_image_whatever_is_kept():
    record, everything = many_objects(150)
    best = detected(*(values.tolist()[:100] for values in (everything.boxes, everything.scores, everything.labels)))
    limited = evaluate_detections([record], [best], ["a", "b"])
    metrics = evaluate_detections([record], [everything], ["a", "b"], max_detections=150)
    assert {key: metrics[key] for key in COCO_METRICS} == pytest.approx(
        {key: limited[key] for key in COCO_METRICS}, abs=0, nan_ok=True
    )
    assert metrics["AR100"] == pytest.approx(100 * 2 / 3) and metrics["AP"] < 68
    assert [metrics[key] for key in ("AP@150", "AR@150", "VOC07_AP50", "VOC12_AP50")] == pytest.approx([100] * 4)
    assert limited.keys() == metrics.keys() - {"AP@150", "AR@150"}
    assert limited["VOC12_AP50"] == pytest.approx(100 * 2 / 3)


def test_more_detections_count_as_pycocotools_counts_them():
    record, everything = many_objects(120)
    half_wrong = detected(
        [*everything.boxes.tolist(), *([[900.0, 900, 909, 909]] * 60)],
        [*everything.scores.tolist(), *(0.99 - i / 50 for i in range(60))],
        [*everything.labels.tolist(), *([0] * 60)],
    )
    at_200 = evaluate_detections([record], [half_wrong], ["a", "b"], max_detections=200)
    evaluator = _run_coco_eval([record], [half_wrong], ["a", "b"], max_detections=200)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.summarize()
    # AP at IoU 0.5, which is that at all IoUs as every match is perfect, and AR, both of 200 detections.
    assert [at_200["AP@200"], at_200["AR@200"]] == pytest.approx([100 * evaluator.stats[1], 100 * evaluator.stats[8]])
    assert 40 < at_200["AP@200"] < 99
    nothing = evaluate_detections([truth([])], [detected()], ["a"], max_detections=200)
    assert math.isnan(nothing["AP@200"]) and math.isnan(nothing["AR@200"])
