"""Records from XML files; test_voc_sets.py tests which files a split names."""

import logging

import pytest
import torch

from src.data.records import DataError
from src.data.voc import read_voc, voc_classes
from tests.data.voc_folder import add_image, add_list, add_two_images, object_xml
from tests.support.shared_data import shared_folder


@pytest.fixture
def root(tmp_path):
    add_two_images(tmp_path)
    return tmp_path


def test_boxes_labels_and_flags_are_read(root):
    b, a = read_voc(root, "train")
    assert (b.image_id, a.image_id) == ("b", "a")
    assert a.path == root / "JPEGImages" / "a.jpg" and (a.width, a.height) == (100, 80)
    assert a.boxes.tolist() == [[10, 20, 30, 40], [0, 0, 100, 80]]
    assert b.boxes.tolist() == [[11, 9.5, 50, 60.25]]
    assert a.labels.tolist() == [1, 0] and b.labels.tolist() == [0]
    assert a.difficult.tolist() == [False, True] and b.difficult.tolist() == [False]
    assert not a.crowd.any() and a.area.tolist() == [400, 8000]


def test_labels_follow_the_given_classes(root):
    assert voc_classes(root, "train") == ["cat", "dog"]
    _, a = read_voc(root, "train", ["person", "dog", "cat"])
    assert a.labels.tolist() == [1, 2]


def test_a_class_that_is_not_listed_is_an_error(root):
    with pytest.raises(DataError, match=r"a\.xml.*'dog'.*person, cat"):
        read_voc(root, "train", ["person", "cat"])


def test_part_boxes_of_people_are_not_objects(tmp_path):
    person = (
        "<object><part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><name>person</name>"
        "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object>"
    )
    add_image(tmp_path, "a", person)
    [record] = read_voc(tmp_path, "all")
    assert record.boxes.tolist() == [[0, 1, 3, 4]] and voc_classes(tmp_path, "all") == ["person"]


def test_an_image_without_objects_is_kept(tmp_path):
    add_image(tmp_path, "a")
    [record] = read_voc(tmp_path, "all", ["cat"])
    assert record.boxes.shape == (0, 4) and record.labels.shape == (0,)


def test_boxes_without_area_or_outside_are_dropped_with_one_warning(root, caplog):
    outside = object_xml(box=(101, 5, 120, 20))
    add_image(root, "c", object_xml(box=(30, 5, 30, 9)), object_xml(box=(1, 9, 5, 4)), outside, object_xml("dog"))
    add_image(
        root, "d", object_xml(box=(90, 70, 130, 95)), object_xml(box=(-9, -9, 0, 5)), object_xml(box=(0, 0, 10, 10))
    )
    add_list(root, "val", "c", "d")
    with caplog.at_level(logging.WARNING):
        c, d = read_voc(root, "val", ["cat", "dog"])
    assert c.boxes.tolist() == [[10, 20, 30, 40]] and c.labels.tolist() == [1]
    assert d.boxes.tolist() == [[89, 69, 100, 80], [0, 0, 10, 10]]
    assert len(caplog.records) == 1
    assert "2 boxes without area and 2 wholly outside" in caplog.text and "c.xml, d.xml" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "cannot be parsed as XML"),
        ("", "cannot be parsed as XML"),
        (f"<annotation>{object_xml('')}</annotation>", "object 1 has no name"),
        (f"<annotation>{object_xml()}<object><name>cat</name></object></annotation>", "object 2 has no bndbox"),
        (f"<annotation>{object_xml()}</annotation>".replace("ymax", "top"), "object 1 lacks one of xmin"),
        (f"<annotation>{object_xml(box=(1, 'two', 3, 4))}</annotation>", "'two' stands where"),
        (f"<annotation>{object_xml(box=(1, 'nan', 3, 4))}</annotation>", "'nan' stands where"),
        (f"<annotation>{object_xml(difficult='maybe')}</annotation>", "'maybe' stands where"),
    ],
)
def test_defective_xml_is_named(root, text, message):
    (root / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=rf"b\.xml.*{message}"):
        read_voc(root, "train")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size/>"])
def test_a_missing_size_is_read_from_the_image(root, caplog, size):
    add_image(root, "c", object_xml(box=(90, 70, 130, 95)), size=size)
    add_list(root, "val", "c", "a")
    c, _ = read_voc(root, "val", ["cat", "dog"])
    assert (c.width, c.height) == (100, 80) and c.boxes.tolist() == [[89, 69, 100, 80]]
    assert len(caplog.records) == 1 and "1 XML files give no image size" in caplog.text
    assert "c.xml" in caplog.text


def test_a_missing_size_of_an_unreadable_image_is_an_error(root):
    add_image(root, "c", object_xml(), size="")
    (root / "JPEGImages" / "c.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"c\.jpg cannot be read as an image"):
        read_voc(root, "all")


def test_bccd_is_read_whole(caplog):
    root = shared_folder("bccd") / "BCCD"
    sizes = {split: len(read_voc(root, split)) for split in ("train", "val", "trainval", "test")}
    assert sizes == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    caplog.clear()
    records = read_voc(root, "trainval+test")
    assert voc_classes(root, "trainval+test") == ["Platelets", "RBC", "WBC"]
    # Of its 4155 RBC two have no area.
    assert torch.bincount(torch.cat([record.labels for record in records])).tolist() == [361, 4155 - 2, 372]
    assert len(caplog.records) == 1 and "dropped 2 boxes without area and 0 wholly outside" in caplog.text
    assert "BloodImage_00338.xml, BloodImage_00343.xml" in caplog.text
    assert all((record.width, record.height) == (640, 480) for record in records)


def test_a_part_of_voc2012_is_read_whole():
    root = shared_folder("voc2012_slice") / "VOCdevkit"
    names = (root.parent / "voc.names").read_text().split()
    records = read_voc(root, "2012_val", names)
    assert len(records) == 100 and sum(len(record.boxes) for record in records) == 273
    assert sum(int(record.difficult.sum()) for record in records) == 38
    assert voc_classes(root, "2012_val") == sorted(names) and len(names) == 20
    first = records[0]
    assert first.image_id == "2007_000027" and (first.width, first.height) == (486, 500)
    assert first.boxes.tolist() == [[173, 100, 349, 351]] and names[first.labels[0]] == "person"
    alone = read_voc(root / "VOC2012", "val")
    assert [record.image_id for record in alone] == [record.image_id for record in records]
