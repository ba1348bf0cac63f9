"""What a run says of its data before it trains, and what it refuses."""

import logging

import pytest

from src.config.validate import resolve
from src.data.records import DataError, make_record
from src.detectors.detector import build_detector
from src.training.data_check import look_at_data
from src.utils.errors import UserError
from tests.data.voc_folder import add_image, add_list, object_xml
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, TINY, run_here

OBJECT = [[20, 20, 60, 60]]


def record(name="a", boxes=OBJECT, **flags):
    return make_record(name, f"{name}.jpg", (96, 96), boxes, [0] * len(boxes), **flags)


def look(*words, train=8, test=None, log=True):
    test = test or [record("test")]
    config = resolve(make_config("recipe=folder", "dataset.root=DIR", *words))
    detector = build_detector(config.model, config.dataset.train_size)
    look_at_data(config, detector, [record(f"train{number}") for number in range(train)], test, ["cat"], log=log)


def test_good_data_are_said_in_three_lines(caplog):
    caplog.set_level(logging.INFO)
    look()
    assert caplog.messages == [
        "train on 8 images of trainval: 8 objects of 1 class (cat 8)",
        "test on 1 image of test: 1 object of 1 class (cat 1)",
        "training objects at 128 × 128 pixels: 0% small, 100% medium, 0% large; 8 of 8 have an anchor of IoU ≥ 0.5",
    ]
    caplog.clear()
    look(log=False)
    assert not caplog.messages


def test_what_is_odd_is_a_warning_and_does_not_stop_a_run(caplog):
    look("batch_size=16", "dataset.train_size=32", "model.max_detections=1", test=[record("test", OBJECT * 2)])
    assert all(message.startswith("warning: ") for message in caplog.messages) and len(caplog.messages) == 2
    assert "test.jpg" in caplog.text and "Give model.max_detections=2 or more" in caplog.text
    assert "batch_size=16, but only 8 training images: each step takes all there are" in caplog.text


def test_data_that_cannot_be_trained_or_tested_on_are_refused():
    with pytest.raises(DataError, match="nothing to find: in 1 image .empty.jpg. no image has an object"):
        look(test=[record("empty", [])])
    with pytest.raises(UserError, match="processes=4, but only 3 training images"):
        look("processes=4", train=3)
    with pytest.raises(UserError, match="dataset.train_size=32 with one image in a batch"):
        look("dataset.train_size=32", train=1)


def test_a_run_whose_test_images_hold_nothing_ends_before_training(tmp_path):
    root = tmp_path / "background"
    for number in range(4):
        add_image(root, f"t{number}", object_xml())
        add_image(root, f"v{number}", *([object_xml(difficult=1)] if number else []))
    add_list(root, "trainval", *(f"t{number}" for number in range(4)))
    add_list(root, "test", *(f"v{number}" for number in range(4)))
    words = [*TINY, f"dataset.root={root}", f"outputs={tmp_path / 'outputs'}", *NOT_LOGGED]
    with pytest.raises(DataError, match=r"every object \(3\) is difficult or a crowd, so that there would be no AP"):
        run_here(*words)
    assert not list((tmp_path / "outputs").glob("*/checkpoint.pt"))
