import logging
import os
from pathlib import Path
from zlib import crc32

import pytest
import torch
from PIL import Image

from src.data.records import DataError
from src.data.voc import read_voc, voc_classes

SHARED = Path(os.environ.get("SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data in {SHARED} (SHARED_DATA)")


def obj(name="cat", box=(11, 21, 30, 40), difficult=0):
    tags = ("xmin", "ymin", "xmax", "ymax")
    corners = "".join(f"<{tag}>{x}</{tag}>" for tag, x in zip(tags, box, strict=True))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


def add_image(root, stem, *objects, suffix=".jpg", size="<size><width>100</width><height>80</height></size>"):
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    file_format = "PNG" if suffix.lower() == ".png" else "JPEG"
    Image.new("RGB", (100, 80)).save(root / "JPEGImages" / f"{stem}{suffix}", format=file_format)
    (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>")


def add_list(root, name, *lines):
    (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path):
    add_image(tmp_path, "a", obj("dog"), obj("cat", (1, 1, 100, 80), difficult=1))
    add_image(tmp_path, "b", obj("cat", ("12.0", "10.5", "50.0", "60.25"), difficult=None))
    add_list(tmp_path, "train", "b", "a")
    return tmp_path


def test_boxes_labels_and_flags(root):
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


def test_unknown_class(root):
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


def test_image_without_objects_is_kept(tmp_path):
    add_image(tmp_path, "a")
    [record] = read_voc(tmp_path, "all", ["cat"])
    assert record.boxes.shape == (0, 4) and record.labels.shape == (0,)


def test_lists_with_flags_blank_lines_and_spaces_in_names(root):
    add_image(root, "image (1)", obj())
    add_list(root, "cat_train", "a  1", "", "b -1", "image (1)")
    assert [record.image_id for record in read_voc(root, "cat_train")] == ["a", "b", "image (1)"]


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PnG"])
def test_image_suffixes(tmp_path, suffix):
    add_image(tmp_path, "x.y", obj(), suffix=suffix)
    [record] = read_voc(tmp_path, "all")
    assert record.image_id == "x.y" and record.path.name == f"x.y{suffix}"


def test_two_images_of_one_stem(root):
    add_image(root, "a", obj(), suffix=".png")
    with pytest.raises(DataError, match=r"JPEGImages has both a\.jpg and a\.png"):
        read_voc(root, "train")


def test_several_years_and_sets(tmp_path):
    for year, stem in (("2007", "a"), ("2007", "b"), ("2012", "c")):
        add_image(tmp_path / f"VOC{year}", stem, obj("dog" if stem == "c" else "cat"))
    add_list(tmp_path / "VOC2007", "train", "a")
    add_list(tmp_path / "VOC2007", "val", "b")
    add_list(tmp_path / "VOC2012", "train", "c")
    records = read_voc(tmp_path, "2012_train+2007_val+2007_train")
    assert [record.image_id for record in records] == ["c", "b", "a"]
    assert records[0].path == tmp_path / "VOC2012" / "JPEGImages" / "c.jpg"
    assert voc_classes(tmp_path, "2012_train+2007_val") == ["cat", "dog"]
    assert [record.image_id for record in read_voc(tmp_path, "2007_all")] == ["a", "b"]
    with pytest.raises(DataError, match="VOC2007, VOC2012.*2007_trainval instead of 'train'"):
        read_voc(tmp_path, "train")


def test_a_year_without_a_folder_is_a_set_of_root(root):
    add_list(root, "2007_train", "a")
    assert [record.image_id for record in read_voc(root, "2007_train")] == ["a"]


def test_the_same_name_in_two_years(tmp_path):
    for year in ("2007", "2012"):
        add_image(tmp_path / f"VOC{year}", "same", obj())
        add_list(tmp_path / f"VOC{year}", "train", "same")
    with pytest.raises(DataError, match="same is listed twice.*VOC2007.*VOC2012"):
        read_voc(tmp_path, "2007_train+2012_train")


def test_unknown_set_lists_those_there_are(root):
    add_list(root, "aeroplane_train", "a 1")
    with pytest.raises(DataError, match=r"no list test\.txt; the sets are train, aeroplane_train, and all"):
        read_voc(root, "train+test")


def test_empty_list(root):
    add_list(root, "val", "", "  ")
    with pytest.raises(DataError, match=r"val\.txt lists no image"):
        read_voc(root, "val")


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no such folder"):
        read_voc(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="has no folder JPEGImages"):
        read_voc(tmp_path, "train")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="has no folder Annotations"):
        read_voc(tmp_path, "train")


def test_without_lists_images_are_dealt_by_hash(tmp_path, caplog):
    stems = [f"{number:03d}" for number in range(60)]
    for stem in stems:
        add_image(tmp_path, stem, obj())

    def ids(split):
        return [record.image_id for record in read_voc(tmp_path, split)]

    train, val, test = ids("train"), ids("val"), ids("test")
    assert sorted(train + val + test) == stems
    assert val == [stem for stem in stems if crc32(stem.encode()) % 10 == 2]
    assert test == [stem for stem in stems if crc32(stem.encode()) % 10 < 2]
    assert ids("trainval") == sorted(train + val)
    caplog.clear()
    assert ids("train+val") == train + val
    assert len(caplog.records) == 1 and "dealt to train, val and test" in caplog.text
    caplog.clear()
    assert ids("all") == stems
    assert not caplog.records
    with pytest.raises(DataError, match="the sets are val, test, train, trainval"):
        ids("validation")


def test_a_dealt_set_without_images(tmp_path):
    add_image(tmp_path, "a", obj())
    empty = "train" if crc32(b"a") % 10 < 3 else "test"
    with pytest.raises(DataError, match=f"dealt to {empty}, lists no image"):
        read_voc(tmp_path, empty)


def test_boxes_without_area_or_outside_are_dropped_with_one_warning(root, caplog):
    outside = obj(box=(101, 5, 120, 20))
    add_image(root, "c", obj(box=(30, 5, 30, 9)), obj(box=(1, 9, 5, 4)), outside, obj("dog"))
    add_image(root, "d", obj(box=(90, 70, 130, 95)), obj(box=(-9, -9, 0, 5)), obj(box=(0, 0, 10, 10)))
    add_list(root, "val", "c", "d")
    with caplog.at_level(logging.WARNING):
        c, d = read_voc(root, "val", ["cat", "dog"])
    assert c.boxes.tolist() == [[10, 20, 30, 40]] and c.labels.tolist() == [1]
    assert d.boxes.tolist() == [[89, 69, 100, 80], [0, 0, 10, 10]]
    assert len(caplog.records) == 1
    assert "2 boxes without area and 2 wholly outside" in caplog.text and "c.xml, d.xml" in caplog.text


def test_missing_images(root):
    stems = [f"gone{number}" for number in range(7)]
    add_list(root, "val", "a", *stems)
    with pytest.raises(DataError, match=r"JPEGImages has no image for 7 of the 8.*val\.txt.*gone4, … \(7"):
        read_voc(root, "val")


def test_missing_xml(root):
    (root / "Annotations" / "b.xml").unlink()
    with pytest.raises(DataError, match=r"Annotations has no XML file for 1 of the 2.*: b;"):
        read_voc(root, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "cannot be parsed as XML"),
        ("", "cannot be parsed as XML"),
        (f"<annotation>{obj('')}</annotation>", "object 1 has no name"),
        (f"<annotation>{obj()}<object><name>cat</name></object></annotation>", "object 2 has no bndbox"),
        (f"<annotation>{obj()}</annotation>".replace("ymax", "top"), "object 1 lacks one of xmin"),
        (f"<annotation>{obj(box=(1, 'two', 3, 4))}</annotation>", "'two' stands where"),
        (f"<annotation>{obj(box=(1, 'nan', 3, 4))}</annotation>", "'nan' stands where"),
        (f"<annotation>{obj(difficult='maybe')}</annotation>", "'maybe' stands where"),
    ],
)
def test_defective_xml_is_named(root, text, message):
    (root / "Annotations" / "b.xml").write_text(text)
    with pytest.raises(DataError, match=rf"b\.xml.*{message}"):
        read_voc(root, "train")


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>", "<size/>"])
def test_missing_size_is_read_from_the_image(root, caplog, size):
    add_image(root, "c", obj(box=(90, 70, 130, 95)), size=size)
    add_list(root, "val", "c", "a")
    c, _ = read_voc(root, "val", ["cat", "dog"])
    assert (c.width, c.height) == (100, 80) and c.boxes.tolist() == [[89, 69, 100, 80]]
    assert len(caplog.records) == 1 and "1 XML files give no image size" in caplog.text
    assert "c.xml" in caplog.text


def test_missing_size_and_unreadable_image(root):
    add_image(root, "c", obj(), size="")
    (root / "JPEGImages" / "c.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"c\.jpg cannot be read as an image"):
        read_voc(root, "all")


@needs_shared
def test_bccd(caplog):
    root = SHARED / "bccd" / "BCCD"
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


@needs_shared
def test_voc2012_slice():
    root = SHARED / "voc2012_slice" / "VOCdevkit"
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
