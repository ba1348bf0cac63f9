"""Layouts in which people have COCO's JSON files and their images."""

import json

import pytest
from PIL import Image

from src.data.coco import coco_classes, read_coco
from src.data.datasets import read_data
from src.data.records import DataError
from tests.data.coco_folder import two_images, write


def save_image(path, size=(2, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path)


def put(root, json_name, data, images=""):
    """Write a JSON file by its name, and its images into the folder `images`."""
    (root / json_name).parent.mkdir(parents=True, exist_ok=True)
    (root / json_name).write_text(json.dumps(data))
    for entry in data["images"]:
        save_image(root / images / entry["file_name"])


def roboflow(root, set_name, *, shift=0):
    """Write a set as Roboflow does: numbered from 0, the JSON beside the images, with a category of no objects."""
    data = {
        "images": [{"id": 0, "file_name": f"{set_name}.jpg", "width": 100 + shift, "height": 80}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}],
        "categories": [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "platelet", "supercategory": "cells"},
            {"id": 2, "name": "red", "supercategory": "cells"},
        ],
    }
    put(root, f"{set_name}/_annotations.coco.json", data, set_name)


def test_roboflows_layout(tmp_path, caplog):
    for shift, set_name in enumerate(("train", "valid", "test")):
        roboflow(tmp_path, set_name, shift=shift)
    train, test, classes = read_data("coco", str(tmp_path), train="trainval", test="test")
    assert classes == ["platelet", "red"]
    assert "not taken for classes" in caplog.text and "cells" in caplog.text
    assert [record.image_id for record in train] == ["train/0", "valid/0"] and [r.image_id for r in test] == [0]
    assert [record.path for record in train] == [tmp_path / "train/train.jpg", tmp_path / "valid/valid.jpg"]
    assert [record.width for record in train + test] == [100, 101, 102]
    assert [record.labels.tolist() for record in train + test] == [[1], [1], [1]]
    assert read_coco(tmp_path, "val")[0].path == tmp_path / "valid" / "valid.jpg"
    with pytest.raises(DataError, match="names valid twice"):
        read_coco(tmp_path, "val+valid")


def test_valid_finds_val(tmp_path):
    write(tmp_path, "val", two_images())
    assert len(read_coco(tmp_path, "valid")) == 2


def test_trainval_is_train_where_there_is_no_val(tmp_path, caplog):
    roboflow(tmp_path, "train")
    roboflow(tmp_path, "test")
    assert [record.image_id for record in read_coco(tmp_path, "trainval")] == [0]
    assert "has no set val: trainval is train alone" in caplog.text


def test_a_set_called_trainval_is_that_set(tmp_path):
    for set_name in ("train", "val", "trainval"):
        roboflow(tmp_path, set_name)
    assert [record.path.stem for record in read_coco(tmp_path, "trainval")] == ["trainval"]


def test_a_missing_set_is_named_with_the_override(tmp_path):
    roboflow(tmp_path, "train")
    roboflow(tmp_path, "valid")
    message = r"has no set 'test'; its sets are train, valid\. Choose with dataset\.train=train dataset\.test=valid"
    with pytest.raises(DataError, match=message):
        read_coco(tmp_path, "test")
    (tmp_path / "valid").rename(tmp_path / "my (1)")
    with pytest.raises(DataError, match=r"""dataset\.train=train 'dataset\.test="my \(1\)"', for example"""):
        read_coco(tmp_path, "test")


def test_json_files_in_other_places_are_an_error_that_names_the_usual_ones(tmp_path):
    put(tmp_path, "Annotations/train.json", two_images(), "train")
    with pytest.raises(DataError, match="no JSON files where COCO's are looked for: annotations/train.json"):
        read_data("auto", str(tmp_path), train="train", test="train")


def test_a_supercategory_with_annotations_is_a_class(tmp_path):
    roboflow(tmp_path, "train")
    path = tmp_path / "train" / "_annotations.coco.json"
    data = json.loads(path.read_text())
    data["annotations"].append({"id": 1, "image_id": 0, "category_id": 0, "bbox": [1, 2, 3, 4]})
    path.write_text(json.dumps(data))
    assert coco_classes(tmp_path, "train") == ["cells", "platelet", "red"]
    assert read_coco(tmp_path, "train")[0].labels.tolist() == [2, 0]


def test_a_class_may_have_the_name_of_its_unused_supercategory(tmp_path):
    roboflow(tmp_path, "train")
    path = tmp_path / "train" / "_annotations.coco.json"
    data = json.loads(path.read_text())
    data["categories"][2].update(name="cells")
    path.write_text(json.dumps(data))
    assert coco_classes(tmp_path, "train") == ["platelet", "cells"]
    assert read_coco(tmp_path, "train")[0].labels.tolist() == [1]


def test_a_category_that_is_its_own_supercategory_stays_a_class(tmp_path):
    data = two_images()
    data["categories"].append({"id": 1, "name": "person", "supercategory": "person"})
    write(tmp_path, "val", data)
    assert coco_classes(tmp_path, "val") == ["person", "boat", "toothbrush"]


@pytest.mark.parametrize(
    ("json_name", "images"),
    [
        ("annotations/val.json", "val"),
        ("annotations/val.json", "images/val"),
        ("annotations/val_annotations.json", "images"),
        ("val.json", "val"),
        ("val.json", ""),
        ("val.json", "images"),
        ("annotations_val.json", "images"),
        ("instances_val.json", "images"),
        ("val_coco.json", "val"),
        ("val/annotations.json", "val"),
        ("val/annotations.json", "val/images"),
        ("val/annotations/instances_default.json", "val"),
        ("val/annotations/instances_default.json", "val/images"),
        ("val/val.json", "val"),
        ("val/labels.json", "val"),
        ("val/labels.json", "val/data"),
    ],
)
def test_json_files_are_found_by_other_names(tmp_path, json_name, images):
    put(tmp_path, json_name, two_images(), images)
    seven, three = read_coco(tmp_path, "val")
    assert (seven.path, three.path) == (tmp_path / images / "seven.jpg", tmp_path / images / "three.jpg")
    assert three.boxes.tolist() == [[1.5, 2, 11.5, 22.25], [0, 0, 50, 60]]


def test_the_usual_name_comes_before_others(tmp_path):
    other = two_images()
    other["annotations"].pop()
    put(tmp_path, "annotations/val.json", other)
    put(tmp_path, "val/_annotations.coco.json", other)
    write(tmp_path, "val", two_images())
    assert sum(len(record.boxes) for record in read_coco(tmp_path, "val")) == 3


def test_two_files_for_one_set_are_an_error(tmp_path):
    put(tmp_path, "annotations/val.json", two_images())
    put(tmp_path, "val.json", two_images())
    with pytest.raises(DataError, match=r"annotations/val\.json, .*val\.json are all of the set 'val'; keep one"):
        read_coco(tmp_path, "val")
    write(tmp_path, "train", two_images())
    assert len(read_coco(tmp_path, "train")) == 2


@pytest.mark.parametrize(
    ("json_name", "images"),
    [("annotations/instances_default.json", "images"), ("result.json", "images"), ("labels.json", "data")]
    + [("_annotations.coco.json", ""), ("annotations.json", "images")],
)
def test_a_single_file_is_dealt_to_sets(tmp_path, json_name, images, caplog):
    data = two_images()
    data["images"] = [{"id": n, "file_name": f"{n:03d}.jpg", "width": 50, "height": 40} for n in range(40)]
    data["annotations"] = [{"id": n, "image_id": n, "category_id": 4, "bbox": [n, 0, 9, 9]} for n in range(40)]
    put(tmp_path, json_name, data, images)
    hidden = (tmp_path / json_name).with_name(f"._{json_name.rpartition('/')[2]}")
    hidden.write_bytes(b"\0\x05\x16\x07 of macOS")
    train, test, _ = read_data("coco", str(tmp_path), train="trainval", test="test")
    assert "dealt to train, val and test" in caplog.text
    assert len(train) > len(test) > 0 and len(train) + len(test) == 40
    assert all(record.boxes[0, 0] == record.image_id for record in train + test)
    assert len(read_coco(tmp_path, "all")) == 40


@pytest.mark.parametrize(
    "file_name",
    [
        "val\\seven.jpg",
        "C:\\Users\\me\\val\\seven.jpg",
        "/home/me/data/val/seven.jpg",
        "../val/seven.jpg",
        "https://server.org/images/seven.jpg?size=640",
        "other/folder/seven.jpg",
        "SEVEN.JPG",
        "seven",
        "./seven.jpg",
        "file:///home/me/seven.jpg",
    ],
)
def test_images_are_found_by_other_writings_of_their_names(tmp_path, file_name):
    data = two_images()
    write(tmp_path, "val", data)
    data["images"][0]["file_name"] = file_name
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(data))
    seven, _ = read_coco(tmp_path, "val")
    assert seven.path.resolve() == tmp_path / "val" / "seven.jpg"


def test_an_absolute_path_that_exists_is_used(tmp_path):
    data = two_images()
    write(tmp_path / "set", "val", data)
    save_image(tmp_path / "elsewhere" / "seven.jpg")
    data["images"][0]["file_name"] = str(tmp_path / "elsewhere" / "seven.jpg")
    (tmp_path / "set" / "annotations" / "instances_val.json").write_text(json.dumps(data))
    assert read_coco(tmp_path / "set", "val")[0].path == tmp_path / "elsewhere" / "seven.jpg"


def test_images_found_elsewhere_are_counted_and_never_guessed(tmp_path, caplog):
    data = two_images()
    write(tmp_path, "val", data)
    data["images"][0]["file_name"] = "Seven.jpg"
    path = tmp_path / "annotations" / "instances_val.json"
    path.write_text(json.dumps(data))
    read_coco(tmp_path, "val")
    assert "found 1 images in another folder, case or extension" in caplog.text and "Seven.jpg" in caplog.text
    save_image(tmp_path / "val" / "SEVEN.jpg")
    with pytest.raises(DataError, match=r"1 of the 2 images of .* are missing: Seven\.jpg"):
        read_coco(tmp_path, "val")
    data["images"][0]["file_name"] = "other/three.jpg"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"two entries of 'images' are of .*three\.jpg"):
        read_coco(tmp_path, "val")


def test_images_of_one_id_in_two_sets_are_told_apart_by_content(tmp_path):
    write(tmp_path, "train", two_images())
    write(tmp_path, "val", two_images())
    save_image(tmp_path / "val" / "seven.jpg", (3, 2))
    save_image(tmp_path / "val" / "three.jpg", (3, 2))
    ids = [record.image_id for record in read_coco(tmp_path, "train+val")]
    assert ids == ["train/7", "train/3", "val/7", "val/3"]


def test_an_image_under_different_ids_in_two_sets_is_an_error(tmp_path):
    write(tmp_path, "train", two_images(), "images")
    other = two_images()
    other["images"] = [{**other["images"][0], "id": 3}, {"id": 7, "file_name": "b.jpg"}]
    write(tmp_path, "val", other, "images")
    with pytest.raises(DataError, match=r"images/seven\.jpg comes twice in split trainval, under the ids 7 and 3"):
        read_coco(tmp_path, "trainval")


def test_a_set_without_objects_may_be_joined_to_another(tmp_path):
    write(tmp_path, "train", two_images())
    background = two_images()
    background.update(images=[{"id": 1, "file_name": "b.jpg", "width": 2, "height": 2}], annotations=[])
    write(tmp_path, "background", background)
    assert [len(record.boxes) for record in read_coco(tmp_path, "train+background")] == [1, 2, 0]


def test_sets_may_number_their_categories_differently(tmp_path):
    write(tmp_path, "train", two_images())
    other = two_images()
    other["categories"] = [{"id": 4, "name": "toothbrush"}, {"id": 90, "name": "boat"}]
    for entry in other["images"]:
        entry["file_name"] = f"other-{entry['file_name']}"
    write(tmp_path, "val", other)
    assert coco_classes(tmp_path, "train+val") == ["boat", "toothbrush"]
    labels = [record.labels.tolist() for record in read_coco(tmp_path, "train+val")]
    assert labels == [[0], [1, 0], [1], [0, 1]]
