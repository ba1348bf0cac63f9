"""Reading a data set by its format."""

import json

import pytest
import torch

from src.data.datasets import READERS, read_data
from src.data.records import DataError
from tests.data.voc_folder import add_image, add_list, add_two_images, object_xml

CATEGORIES = [{"id": 1, "name": "zebra"}, {"id": 2, "name": "ant"}]


@pytest.fixture
def voc(tmp_path):
    add_two_images(tmp_path)
    add_image(tmp_path, "c", object_xml("ant"))
    add_list(tmp_path, "test", "c")
    return tmp_path


def write_coco(root, set_name, image_id):
    (root / "annotations").mkdir(exist_ok=True)
    (root / f"{image_id}.jpg").touch()
    content = {
        "images": [{"id": image_id, "file_name": f"{image_id}.jpg", "width": 100, "height": 80}],
        "annotations": [{"id": 1, "image_id": image_id, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": CATEGORIES,
    }
    (root / "annotations" / f"instances_{set_name}.json").write_text(json.dumps(content))


def test_the_classes_of_voc_are_those_of_both_splits_sorted(voc):
    train, test, classes = read_data("voc", str(voc), train="train", test="test")
    assert classes == ["ant", "cat", "dog"]
    assert [record.labels.tolist() for record in train + test] == [[1], [2, 1], [0]]


def test_the_classes_of_coco_are_in_the_order_of_their_ids(tmp_path):
    write_coco(tmp_path, "train", 1)
    write_coco(tmp_path, "val", 2)
    train, test, classes = read_data("coco", str(tmp_path), train="train", test="val")
    assert classes == ["zebra", "ant"]
    assert [record.image_id for record in train + test] == [1, 2]


def test_labels_follow_the_given_classes(voc):
    train, _, classes = read_data("voc", str(voc), train="train", test="test", classes=["dog", "cat", "ant"])
    assert classes == ["dog", "cat", "ant"]
    assert [record.labels.tolist() for record in train] == [[1], [0, 1]]


def test_all_objects_can_be_of_one_class_and_nothing_else_is_changed(voc):
    several, one = (read_data("voc", str(voc), train="train", test="test", classes_as_one=x) for x in (False, True))
    assert one[2] == ["object"]
    for before, after in zip(several[0] + several[1], one[0] + one[1], strict=True):
        assert after.labels.tolist() == [0] * len(before.labels) and after.labels.dtype == before.labels.dtype
        assert torch.equal(before.boxes, after.boxes) and before.path == after.path


def test_each_annotation_is_read_once(tmp_path, caplog):
    # Each reading of a folder without lists gives one warning.
    for number in range(30):
        add_image(tmp_path, f"{number:03d}", object_xml())
    train, test, _ = read_data("voc", str(tmp_path), train="train", test="test")
    assert train and test
    assert len(caplog.records) == 2


def test_images_without_a_box_to_train_on_are_left_out_of_training_alone(voc):
    add_image(voc, "empty")
    add_image(voc, "hard", object_xml(difficult=1))
    add_list(voc, "train", "a", "empty", "hard")
    add_list(voc, "test", "empty", "hard")
    train, test, _ = read_data("voc", str(voc), train="train", test="test")
    assert [record.image_id for record in train] == ["a"]
    assert [record.image_id for record in test] == ["empty", "hard"]
    with pytest.raises(DataError, match="no image of the split test holds a box to train on"):
        read_data("voc", str(voc), train="test", test="train")


def test_a_missing_folder_is_named_by_its_key(tmp_path):
    for dataset_format in READERS.keys() - {"shapes"}:
        with pytest.raises(DataError, match="dataset.root=.*nowhere: no such folder"):
            read_data(dataset_format, str(tmp_path / "nowhere"), train="train", test="test")
