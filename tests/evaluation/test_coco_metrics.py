"""All figures together and COCO's: against figures of pycocotools and cases computed by hand."""

import json
import math

import pytest
import torch

from src.detectors.detections import Detections
from src.evaluation.coco_metrics import COCO_METRICS, coco_metrics, evaluate_detections
from src.evaluation.voc_ap import voc_ap
from tests.evaluation.metric_inputs import AWAY, BOX, SIDE_BY_SIDE, found, shared, truth, voc_means


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coco_figures_of_pycocotools(dtype):
    folder = shared("eval/coco100")
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
            found(
                [xywh(d["bbox"]) for d in of_image],
                [d["score"] for d in of_image],
                [label[d["category_id"]] for d in of_image],
                dtype,
            )
        )
    got = coco_metrics(records, detections, [category["name"] for category in gt["categories"]])
    assert list(got) == list(expected) == list(COCO_METRICS)
    assert {key: value / 100 for key, value in got.items()} == pytest.approx(expected, abs=1e-6, rel=0)


def xywh(box) -> tuple:
    x, y, width, height = box
    return x, y, x + width, y + height


def test_perfect_detector_has_100_everywhere():
    records = [
        truth([(0, 0, 20, 20), (30, 30, 90, 90)], [0, 1]),
        truth([], image_id="empty"),
        truth([(100, 100, 300, 300)], [1]),
    ]
    detections = [found(r.boxes.tolist(), [0.9] * len(r.boxes), r.labels.tolist()) for r in records]
    got = evaluate_detections(records, detections, ["a", "b"])
    per_class = {f"{key}/{c}" for key in ("AP", "VOC07_AP50", "VOC12_AP50") for c in "ab"}
    assert set(got) == {*COCO_METRICS, "VOC07_AP50", "VOC12_AP50"} | per_class
    assert got == pytest.approx(dict.fromkeys(got, 100.0))


def test_ap_by_hand():
    # By score: true, false, true, false, true; the fourth object is missed.
    # Precision 1, 1/2, 2/3, 1/2, 3/5 at recall 1/4, 1/4, 1/2, 1/2, 3/4.
    first, second, third, fourth = SIDE_BY_SIDE[:4]
    records = [truth([first, second, third, fourth])]
    detections = [found([first, AWAY, second, (0, 500, 9, 509), third], [0.9, 0.8, 0.7, 0.6, 0.5])]
    by_07 = 100 * (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11  # recalls 0–.2, .3–.5, .6–.7
    by_12 = 100 * (1 + 2 / 3 + 3 / 5) / 4
    assert voc_means(records, detections, ["a"]) == pytest.approx((by_07, by_12))
    by_coco = 100 * (26 * 1 + 25 * 2 / 3 + 25 * 3 / 5) / 101
    got = evaluate_detections(records, detections, ["a"])
    assert [got[key] for key in ("AP", "AP50", "AP/a")] == pytest.approx([by_coco] * 3)
    assert got["AR100"] == pytest.approx(75)
    assert got["AR1"] == pytest.approx(25)


def test_duplicates_are_false_positives():
    # True, false on the same object, true: precision 1, 1/2, 2/3.
    records, detections = [truth([BOX, AWAY])], [found([BOX, BOX, AWAY], [0.9, 0.8, 0.7])]
    assert voc_means(records, detections, ["a"])[1] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert coco_metrics(records, detections, ["a"])["AP50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_difficult_objects_are_ignored():
    records = [truth([AWAY, BOX], difficult=[True, False])]
    on_it = [found([AWAY, BOX], [0.9, 0.8])]
    missed = [found([BOX], [0.8])]
    for detections in (on_it, missed):
        got = evaluate_detections(records, detections, ["a"])
        assert [got[key] for key in ("AP", "AR100", "VOC07_AP50", "VOC12_AP50")] == pytest.approx([100] * 4)
    twice = [found([AWAY, AWAY, BOX], [0.9, 0.85, 0.8])]
    assert voc_means(records, twice, ["a"]) == pytest.approx((100, 100))
    unmarked = [truth([AWAY, BOX])]
    assert evaluate_detections(unmarked, missed, ["a"])["AP"] < 51


def test_difficult_objects_are_not_crowds():
    # A small box inside: as a crowd's part it would not count, by its ordinary IoU it is a false positive.
    inside = (100, 100, 110, 110)
    detections = [found([inside, BOX], [0.9, 0.8])]
    difficult = coco_metrics([truth([AWAY, BOX], difficult=[True, False])], detections, ["a"])
    crowd = coco_metrics([truth([AWAY, BOX], crowd=[True, False])], detections, ["a"])
    assert difficult["AP"] == pytest.approx(50)
    assert crowd["AP"] == pytest.approx(100)


def test_crowd_takes_any_number_of_detections():
    records = [truth([AWAY, BOX], crowd=[True, False])]
    detections = [found([AWAY, AWAY, BOX], [0.9, 0.85, 0.8])]
    got = evaluate_detections(records, detections, ["a"])
    assert [got[key] for key in ("AP", "AR100", "VOC07_AP50", "VOC12_AP50")] == pytest.approx([100] * 4)


def test_area_of_the_record_decides_the_size():
    got = coco_metrics([truth([AWAY], area=[500.0])], [found([AWAY], [0.9])], ["a"])
    assert [got["APsmall"], got["ARsmall"]] == pytest.approx([100, 100])
    assert all(math.isnan(got[key]) for key in ("APmedium", "APlarge", "ARmedium", "ARlarge"))


def test_no_detections_give_zero():
    got = evaluate_detections([truth([BOX]), truth([])], [found(), found()], ["a"])
    undefined = {key for key, value in got.items() if math.isnan(value)}
    assert undefined == {"APsmall", "ARsmall", "APlarge", "ARlarge"}
    assert all(value == 0 for key, value in got.items() if key not in undefined)


@pytest.mark.parametrize("images", [0, 2])
def test_no_ground_truth_is_undefined(images):
    got = evaluate_detections([truth([])] * images, [found([BOX], [0.9])] * images, ["a", "b"])
    assert len(got) == 12 + 2 + 3 * 2
    assert all(math.isnan(value) for value in got.values())


def test_class_without_ground_truth_is_left_out_of_the_mean():
    records = [truth([BOX, AWAY], [0, 2], difficult=[False, True])]
    detections = [found([BOX, AWAY, AWAY], [0.9, 0.8, 0.7], [0, 1, 2])]
    got = evaluate_detections(records, detections, ["a", "none", "difficult only"])
    for key in ("AP", "VOC07_AP50", "VOC12_AP50"):
        assert [got[key], got[f"{key}/a"]] == pytest.approx([100, 100])
        assert math.isnan(got[f"{key}/none"]) and math.isnan(got[f"{key}/difficult only"])


def test_classes_do_not_mix():
    records = [truth([BOX, BOX], [0, 1])]
    got = evaluate_detections(records, [found([BOX, AWAY], [0.9, 0.8], [1, 0])], ["a", "b"])
    assert [got["AP/a"], got["AP/b"]] == pytest.approx([0, 100])
    assert [got["VOC12_AP50/a"], got["VOC12_AP50/b"]] == pytest.approx([0, 100])
    assert [got["AP"], got["VOC12_AP50"]] == pytest.approx([50, 50])


def test_ties_rank_in_the_order_given():
    records = [truth([BOX])]
    for boxes, expected in (([BOX, AWAY], 100), ([AWAY, BOX], 50)):
        got = evaluate_detections(records, [found(boxes, [0.5, 0.5])], ["a"])
        assert got["VOC12_AP50"] == pytest.approx(expected)
        assert got["AP"] == pytest.approx(expected)
    first, second = truth([]), truth([BOX])
    got = evaluate_detections([first, second], [found([AWAY], [0.5]), found([BOX], [0.5])], ["a"])
    assert [got["AP"], got["VOC12_AP50"]] == pytest.approx([50, 50])


def test_empty_boxes_match_nothing():
    empty = (20, 20, 20, 20)
    got = evaluate_detections([truth([empty, BOX])], [found([empty, BOX], [0.9, 0.8])], ["a"])
    assert got["VOC12_AP50"] == pytest.approx(25)
    assert got["AR100"] == pytest.approx(50)


def test_inputs_stay_as_they_are_and_nothing_is_printed(capsys):
    record, detections = truth([BOX, AWAY]), found([BOX], [0.9])
    before = detections.boxes.clone(), record.boxes.clone()
    evaluate_detections([record], [detections], ["a"])
    assert torch.equal(detections.boxes, before[0]) and torch.equal(record.boxes, before[1])
    assert capsys.readouterr().out == ""


def test_detections_straight_from_a_model():
    scores = torch.tensor([0.5], dtype=torch.bfloat16, requires_grad=True)
    boxes = torch.tensor([BOX], dtype=torch.float16)
    got = evaluate_detections([truth([BOX])], [Detections(boxes, scores, torch.tensor([0]))], ["a"])
    assert [got["AP"], got["VOC07_AP50"]] == pytest.approx([100, 100])


@pytest.mark.parametrize("metric", [coco_metrics, voc_ap, evaluate_detections])
@pytest.mark.parametrize(
    "detections, message",
    [
        ([], r"0 sets of detections for 1 images"),
        ([found([BOX], [math.nan])], r"image 'img7'.*scores hold NaN"),
        ([found([(0, 0, math.inf, 5)], [0.5])], r"image 'img7'.*boxes hold NaN or infinity"),
        ([found([(5, 0, 0, 5)], [0.5])], r"image 'img7'.*x2 < x1"),
        ([found([BOX], [0.5], [2])], r"image 'img7': detection labels run from 2 to 2, outside of 0 … 1"),
        ([found([BOX], [0.5], [-1])], r"image 'img7': detection labels run from -1"),
        ([found([BOX], [0.5, 0.4], [0])], r"image 'img7'.*scores \(2,\)"),
    ],
)
def test_errors_name_the_image(metric, detections, message):
    with pytest.raises(ValueError, match=message):
        metric([truth([BOX], image_id="img7")], detections, ["a", "b"])
