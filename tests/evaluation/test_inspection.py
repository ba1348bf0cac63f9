"""What a look at the annotations shows: against counts by hand, and against all anchors and the real assignment."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from src.data.records import DataError, make_record
from src.detectors.anchors import closest_anchors, make_anchors
from src.detectors.detector import build_detector
from src.detectors.retinanet import anchor_grids
from src.detectors.targets import assign_targets
from src.evaluation.inspection import DetectorView, count_sizes, summary, view_split, warnings
from src.evaluation.oddities import odd_boxes, without_anchors

OPTIONS = {
    "name": "retinanet",
    "backbone": "resnet18",
    "weights": None,
    "channels": 8,
    "head_convolutions": 4,
    "norms": None,
    "anchor_scale": 4.0,
    "score_threshold": 0.01,
    "candidates_per_level": 1000,
    "nms_iou": 0.5,
    "max_detections": 3,
}
VIEW = DetectorView(["cat", "dog"], train_size=128, detector=build_detector(OPTIONS, 128), max_detections=3)
SQUARE = (128, 128)


def record(boxes, labels=None, *, name="a", size=SQUARE, **flags):
    return make_record(name, f"{name}.jpg", size, boxes, labels or [0] * len(boxes), **flags)


def split(*records, name="split", view=VIEW):
    return view_split(name, list(records), view)


def random_boxes(count, size, generator):
    corner = torch.rand(count, 2, generator=generator) * size * 0.9
    side = torch.exp(torch.rand(count, 2, generator=generator) * 5)
    return torch.cat([corner, (corner + side).clamp(max=size)], 1)


@pytest.mark.parametrize(("size", "scale"), [(32, 4.0), (96, 1.5), (160, 8.0), (512, 4.0)])
def test_the_closest_anchor_is_that_of_all(size, scale):
    boxes = random_boxes(200, size, torch.Generator().manual_seed(size))
    everything = box_iou(boxes, torch.cat(make_anchors(anchor_grids(size, size, scale))))
    iou, anchors = closest_anchors(boxes, anchor_grids(size, size, scale))
    torch.testing.assert_close(iou, everything.amax(1), rtol=0, atol=1e-6)
    torch.testing.assert_close(box_iou(boxes, anchors).diagonal(), iou, rtol=0, atol=1e-6)


def test_objects_are_counted_at_the_training_resolution():
    # Twice as wide and four times as high as the training image: a square of 64 is 32 × 16 there.
    big = record([[0, 0, 64, 64], [0, 0, 256, 512], [10, 10, 20, 20]], [0, 1, 1], size=(256, 512), difficult=[0, 0, 1])
    of_two = split(big, record([], name="empty"))
    assert of_two.boxes[0].tolist() == [0, 0, 32, 16] and of_two.boxes[1].tolist() == [0, 0, 128, 128]
    assert of_two.objects == 2 and of_two.by_class(2) == [1, 1]
    assert (of_two.flagged("difficult"), of_two.flagged("crowd")) == (1, 0)
    assert of_two.per_image().tolist() == [2, 0]
    assert count_sizes(torch.tensor([1, 1023, 1024, 9215, 9216.0])) == {"small": 2, "medium": 2, "large": 1}


def test_a_run_says_what_its_data_are_in_three_lines():
    train = split(record([[48, 48, 80, 80], [3, 3, 6, 6]], [0, 1], difficult=[0, 1]), name="2007_trainval")
    test = split(record([[48, 48, 80, 80]], [1], crowd=[0]), record([], name="empty"))
    lines = summary(train, test, VIEW)
    assert lines == [
        "train on 1 image of 2007_trainval: 1 object of 2 classes (cat 1, dog 0); not trained on: 1 difficult object",
        "test on 2 images of split: 1 object of 2 classes (dog 1, cat 0)",
        "training objects at 128 × 128 pixels: 0% small, 100% medium, 0% large; 1 of 1 have an anchor of IoU ≥ 0.5",
    ]


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([record([])], "no image has an object"),
        ([record([[1, 1, 9, 9]], difficult=[1])], "every object .1. is difficult or a crowd"),
        ([record([[1, 1, 9, 9]], crowd=[1])], "every object .1. is difficult or a crowd"),
        ([], "no image has an object"),
    ],
)
def test_a_test_split_with_nothing_to_find_is_refused(records, why):
    train = split(record([[1, 1, 50, 50]]))
    with pytest.raises(DataError, match=f"the split test has nothing to find.*{why}.*Correct dataset.test"):
        warnings(train, split(*records, name="test"), VIEW)


def of_both(boxes, labels=None, **flags):
    """Warnings about these boxes in a training image and in another test image."""
    train, test = record(boxes, labels, **flags), record(boxes, labels, name="b", **flags)
    return warnings(split(train), split(test), VIEW)


def test_good_data_have_no_warning():
    assert of_both([[48, 48, 80, 80], [0, 0, 64, 32]], [0, 1]) == []


def test_too_small_boxes_are_named_with_what_to_do():
    (line,) = of_both([[48, 48, 52, 54], [0, 0, 4, 4]], [0, 1])
    assert line.startswith("none of 2 training objects has an anchor of IoU ≥ 0.5: their median is 4 × 4 pixels")
    assert (
        "dataset.train_size=128" in line
        and "a square of 32 with model.anchor_scale=4" in line
        and "lower model.anchor_scale" in line
    )
    (line,) = of_both([[48, 48, 80, 80], [0, 0, 4, 4], [9, 9, 12, 12]], [0, 1, 1])
    assert line.startswith("only 1 of 3 training objects have")
    assert "too long" in of_both([[0, 0, 128, 10], [0, 20, 128, 30]], [0, 1])[0]


def test_boxes_that_training_drops_are_named_by_file():
    flags = {"difficult": [0, 0, 0, 1]}
    lines = of_both([[48, 48, 80, 80], [0, 0, 64, 32], [5, 5, 5.5, 9], [9, 9, 9.5, 20]], [0, 1, 1, 1], **flags)
    assert lines == [
        "1 of 3 training objects less than 1 pixel wide or high at dataset.train_size=128, and so not trained on: "
        "raise it. They are in a.jpg"
    ]


def test_more_objects_than_detections_kept_are_named():
    boxes = [[x, y, x + 40, y + 40] for x in (0, 44) for y in (0, 44)]
    (line,) = of_both(boxes, [0, 1, 0, 1])
    assert line.startswith("1 test image with more objects than the model.max_detections=3") and "b.jpg" in line
    assert "Give model.max_detections=4 or more" in line
    assert of_both(boxes, [0, 1, 0, 1], difficult=[0, 0, 0, 1]) == []


def test_classes_that_are_not_in_both_splits_and_images_of_both_are_named():
    box = [[48, 48, 80, 80]]
    with_absent = replace(VIEW, classes=[*VIEW.classes, "dgo"])
    lines = warnings(split(record(box, [0])), split(record(box, [1])), with_absent)
    assert any("without an object in either split" in line and line.endswith(": dgo") for line in lines)
    assert any("without a training object" in line and line.endswith(": dog") for line in lines)
    assert any("without a test object" in line and line.endswith(": cat") for line in lines)
    assert any("1 test image in the training split too" in line and line.endswith(": a.jpg") for line in lines)


def test_odd_boxes_are_named_by_file():
    odd = split(
        record([[0, 0, 128, 128], [5, 5, 5.5, 60], [5, 5, 6.5, 9], [10, 10, 13, 16]], name="a"),
        record([[48, 48, 80, 80]] * 3 + [[0, 0, 100, 20]], [0, 0, 1, 1], name="b"),
        record([[1, 1, 1.5, 2]], name="difficult", difficult=[1]),
    )
    found = {oddity.what.split(" at ")[0]: (oddity.count, oddity.files) for oddity in odd_boxes(odd, VIEW)}
    assert found == {
        "boxes less than 1 pixel wide or high": (1, ["a.jpg"]),
        "boxes of 1 to 2 pixels": (1, ["a.jpg"]),
        "boxes of 2 to 8 pixels": (1, ["a.jpg"]),
        "boxes that cover the whole image": (1, ["a.jpg"]),
        "boxes longer than 4.5 : 1": (2, ["a.jpg", "b.jpg"]),
        "boxes that repeat another of their class in the same image": (1, ["b.jpg"]),
        "boxes that repeat one of another class in the same image": (1, ["b.jpg"]),
    }


def test_no_anchor_reaches_half_with_a_longer_box_than_named():
    long = torch.tensor([[10, 0, 10 + 600 / 4.6, 600], [0, 10, 600, 10 + 600 / 4.4]])
    best = torch.tensor([0.0, 0.0])
    for scale in torch.linspace(1, 40, 400).tolist():
        centred = torch.cat([-long[:, 2:] + long[:, :2], long[:, 2:] - long[:, :2]], 1) / 2
        sides = torch.tensor([[scale, 2 * scale], [2 * scale, scale]]) * 8
        best = best.maximum(box_iou(centred, torch.cat([-sides, sides], 1) / 2).amax(1))
    assert best[0] < 0.5 < best[1]


def test_objects_without_anchors_are_those_of_the_real_assignment():
    generator = torch.Generator().manual_seed(7)
    anchors = torch.cat(VIEW.detector.anchors(128, 128))
    records, expected = [], {}
    for number in range(60):
        boxes = random_boxes(8, 128, generator)
        boxes = boxes.repeat(2, 1) if number % 10 == 0 else boxes  # the second of two equal boxes gets none
        records.append(record(boxes.tolist(), name=f"{number}"))
        order = torch.arange(len(boxes))
        classes = assign_targets(anchors, [boxes], [order], classes=len(boxes)).classes[0]
        alone = int((~(classes == 1).any(0)).sum())
        expected |= {f"{number}.jpg": alone} if alone else {}
    oddity = without_anchors(split(*records), VIEW)
    assert oddity.count == sum(expected.values()) > 48 and oddity.files == list(expected)
    assert without_anchors(split(record([[48, 48, 80, 80]])), VIEW) is None


def test_empty_splits_are_viewed():
    for nothing in (split(), split(record([]))):
        assert nothing.objects == 0 and odd_boxes(nothing, VIEW) == [] and without_anchors(nothing, VIEW) is None
