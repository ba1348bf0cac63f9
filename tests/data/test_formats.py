"""Finding out a folder's format."""

import json
import logging
import shlex

import pytest
import torch

from src.data.datasets import format_of, read_data
from src.data.formats import detect_format
from src.data.records import DataError
from tests.data.voc_folder import add_image, add_two_images, object_xml
from tests.support.shared_data import shared_folder


def put(root, *names, content=""):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("voc", ["JPEGImages/a.jpg", "Annotations/a.xml", "README.md"]),
        ("voc", ["VOC2007/JPEGImages/a.jpg", "VOC2007/Annotations/a.xml"]),
        ("flat", ["a.jpg", "a.xml", "classes.txt"]),
        ("flat", ["images/a.png", "annotations/a.xml"]),
        ("flat", ["train/a.jpg", "train/a.xml", "valid/b.jpg", "valid/b.xml", "README.roboflow.txt"]),
        ("flat", ["train/JPEGImages/a.jpg", "train/Annotations/a.xml"]),
        ("coco", ["annotations/instances_train.json", "train/a.jpg"]),
        ("coco", ["train/_annotations.coco.json", "train/a.jpg", "valid/_annotations.coco.json"]),
        ("yolo", ["images/train/a.jpg", "labels/train/a.txt"]),
        ("yolo", ["a.jpg", "a.txt", "classes.txt"]),
        ("yolo", ["obj_train_data/a.jpg", "obj_train_data/a.txt", "obj.names", "train.txt"]),
        ("yolo", ["train/images/a.jpg", "train/labels/a.txt"]),
        ("yolo", ["Train/Images/a.jpg", "Train/Labels/a.txt"]),
    ],
)
def test_formats_are_found_by_the_names_of_files(tmp_path, expected, names):
    put(tmp_path, *names)
    assert detect_format(tmp_path) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_yaml_file_with_names_is_yolo(tmp_path, encoding):
    (tmp_path / "cells.yml").write_text("names:\n  0: cat\n", encoding=encoding)
    assert detect_format(tmp_path) == "yolo"
    (tmp_path / "cells.yml").write_text("train: images\nfilenames: a\n", encoding=encoding)
    with pytest.raises(DataError):
        detect_format(tmp_path)


def test_no_format_lists_what_was_looked_for_and_found(tmp_path):
    put(tmp_path, "pictures/a.jpg", "labels.csv", ".DS_Store")
    with pytest.raises(DataError) as error:
        detect_format(tmp_path)
    text = str(error.value)
    assert f"dataset.root={tmp_path} is in no format" in text and "Found pictures/, labels.csv." in text
    for part in (
        "JPEGImages/",
        "instances_*.json",
        "_annotations.coco.json",
        "data.yaml",
        "beside them",
        "dataset.format=",
    ):
        assert part in text


def test_several_formats_ask_for_a_choice(tmp_path):
    put(tmp_path, "JPEGImages/a.jpg", "Annotations/a.xml", "data.yaml", content="names: [cat]")
    with pytest.raises(
        DataError, match=r"several formats \(voc: JPEGImages/; yolo: data.yaml\).*format=voc or dataset"
    ):
        detect_format(tmp_path)
    (tmp_path / "data.yaml").unlink()
    put(tmp_path, "train/b.jpg", "train/b.xml")
    with pytest.raises(DataError, match=r"voc: JPEGImages/; flat: train/b\.xml"):
        detect_format(tmp_path)


def test_a_folder_around_the_data_is_named(tmp_path):
    put(tmp_path, "download/BCCD/JPEGImages/a.jpg", "download/BCCD/Annotations/a.xml", "download/README.md")
    with pytest.raises(DataError, match=r"itself holds no data.*BCCD \(voc\).*give dataset.root=.*download/BCCD"):
        detect_format(tmp_path / "download")


def test_a_folder_around_the_data_is_named_as_a_shell_takes_it(tmp_path):
    put(tmp_path, "data (1)/VOC/JPEGImages/a.jpg", "data (1)/VOC/Annotations/a.xml")
    with pytest.raises(DataError, match="itself holds no data") as caught:
        detect_format(tmp_path / "data (1)")
    assert shlex.split(str(caught.value))[-1] == f'dataset.root="{tmp_path}/data (1)/VOC"'


def test_auto_reads_what_the_folder_shows_and_names_it(tmp_path, caplog):
    add_two_images(tmp_path)
    with caplog.at_level(logging.INFO):
        train, _, classes = read_data("auto", str(tmp_path), train="train", test="train")
    assert [record.image_id for record in train] == ["b", "a"] and classes == ["cat", "dog"]
    assert f"{tmp_path} is read as dataset.format=voc" in caplog.text
    assert format_of("auto", str(tmp_path)) == "voc" and format_of("coco", "anywhere") == "coco"


def test_auto_reads_a_flat_folder(tmp_path):
    add_image(tmp_path / "voc", "a", object_xml())
    for split in ("train", "test"):
        (tmp_path / "flat" / split).mkdir(parents=True)
        for name in ("JPEGImages/a.jpg", "Annotations/a.xml"):
            target = tmp_path / "flat" / split / name.split("/")[1]
            target.write_bytes((tmp_path / "voc" / name).read_bytes())
    train, test, _ = read_data("auto", str(tmp_path / "flat"), train="trainval", test="test")
    assert [record.image_id for record in train + test] == ["train/a", "test/a"]
    assert train[0].boxes.tolist() == [[10, 20, 30, 40]]


def test_a_root_that_is_no_folder_is_named(tmp_path):
    put(tmp_path, "data.zip")
    with pytest.raises(DataError, match="data.zip: is a file; give the folder of the data set, unpacked"):
        read_data("auto", str(tmp_path / "data.zip"), train="train", test="test")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        format_of("auto", str(tmp_path / "nowhere"))


def test_classes_that_look_alike_are_named(tmp_path, caplog):
    add_image(tmp_path, "a", object_xml("Cat"), object_xml("cat"), object_xml("dog"))
    *_, classes = read_data("voc", str(tmp_path), train="all", test="all")
    assert classes == ["Cat", "cat", "dog"] and "the classes 'Cat' and 'cat' differ only in" in caplog.text
    add_image(tmp_path, "a", object_xml("\ufeffcat"), object_xml("cat"), object_xml("d\u200bog"), object_xml("dog"))
    read_data("voc", str(tmp_path), train="all", test="all")
    assert r"the classes 'cat' and '\ufeffcat' differ only in" in caplog.text
    assert r"the classes 'dog' and 'd\u200bog' differ only in" in caplog.text


@pytest.mark.parametrize(
    "name", ["labels.json", "annotations/train.json", "train/annotations.json", "train/annotations/x.json"]
)
def test_other_json_files_are_cocos_if_they_have_its_lists(tmp_path, name):
    put(tmp_path, name, content=json.dumps({"info": {}, "images": [], "annotations": []}))
    assert detect_format(tmp_path) == "coco"
    (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-16")
    assert detect_format(tmp_path) == "coco"
    put(tmp_path, name, content=json.dumps({"version": "4.5", "shapes": [], "imagePath": "a.jpg"}))
    with pytest.raises(DataError, match="is in no format"):
        detect_format(tmp_path)


def test_a_file_of_categories_alone_is_not_cocos(tmp_path):
    put(tmp_path, "images/a.jpg", "labels/a.txt", "classes.txt")
    categories = [{"id": 0, "name": "cat"}]
    put(tmp_path, "notes.json", content=json.dumps({"categories": categories, "info": {}}))  # Label Studio
    assert detect_format(tmp_path) == "yolo"
    (tmp_path / "labels" / "a.txt").unlink()
    (tmp_path / "classes.txt").unlink()
    put(tmp_path, "notes.json", content=json.dumps({"categories": categories * 5000, "images": []}))
    assert detect_format(tmp_path) == "coco"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_of_images_with_their_annotations_is_not_cocos(tmp_path, encoding):
    put(tmp_path, "train/a.jpg", "train/_annotations.createml.json")
    content = json.dumps([{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {}}]}])
    (tmp_path / "train" / "_annotations.createml.json").write_text(content, encoding=encoding)
    with pytest.raises(DataError, match="is in no format that is known"):
        detect_format(tmp_path)
    put(tmp_path, "data.yaml", content="names: [cat]")
    assert detect_format(tmp_path) == "yolo"


def test_files_of_coco_need_not_be_read_to_be_found(tmp_path):
    put(tmp_path, "annotations/instances_val.json", content=json.dumps({})[:1])
    assert detect_format(tmp_path) == "coco"


@pytest.mark.slow
def test_bccd_is_the_same_flat_as_in_vocs_layout(tmp_path):
    voc = shared_folder("bccd") / "BCCD"
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        (tmp_path / folder).mkdir()
        for stem in (voc / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            (tmp_path / folder / f"{stem}.jpg").symlink_to(voc / "JPEGImages" / f"{stem}.jpg")
            (tmp_path / folder / f"{stem}.xml").symlink_to(voc / "Annotations" / f"{stem}.xml")
    expected = read_data("auto", str(voc), train="trainval", test="test")
    actual = read_data("auto", str(tmp_path), train="trainval", test="test")
    assert actual[2] == expected[2] and [len(records) for records in actual[:2]] == [292, 72]
    for one, other in zip(actual[0] + actual[1], expected[0] + expected[1], strict=True):
        assert one.path.name == other.path.name and (one.width, one.height) == (other.width, other.height)
        assert torch.equal(one.boxes, other.boxes) and torch.equal(one.labels, other.labels)
