"""Which images and XML files the splits of PASCAL VOC's layout name."""

from zlib import crc32

import pytest

from src.data.records import DataError
from src.data.voc import read_voc, voc_classes
from tests.data.voc_folder import add_image, add_list, add_two_images, object_xml


@pytest.fixture
def root(tmp_path):
    add_two_images(tmp_path)
    return tmp_path


def test_lists_may_have_flags_blank_lines_and_names_with_spaces(root):
    add_image(root, "image (1)", object_xml())
    add_list(root, "cat_train", "a  1", "", "b -1", "image (1)")
    assert [record.image_id for record in read_voc(root, "cat_train")] == ["a", "b", "image (1)"]


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PnG"])
def test_images_may_be_jpeg_or_png_files(tmp_path, suffix):
    add_image(tmp_path, "x.y", object_xml(), suffix=suffix)
    [record] = read_voc(tmp_path, "all")
    assert record.image_id == "x.y" and record.path.name == f"x.y{suffix}"


def test_two_images_of_one_stem_are_an_error(root):
    add_image(root, "a", object_xml(), suffix=".png")
    with pytest.raises(DataError, match=r"JPEGImages has both a\.jpg and a\.png"):
        read_voc(root, "train")


def test_a_split_joins_sets_of_several_years(tmp_path):
    for year, stem in (("2007", "a"), ("2007", "b"), ("2012", "c")):
        add_image(tmp_path / f"VOC{year}", stem, object_xml("dog" if stem == "c" else "cat"))
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


def test_the_same_name_in_two_years_is_an_error(tmp_path):
    for year in ("2007", "2012"):
        add_image(tmp_path / f"VOC{year}", "same", object_xml())
        add_list(tmp_path / f"VOC{year}", "train", "same")
    with pytest.raises(DataError, match="same is listed twice.*VOC2007.*VOC2012"):
        read_voc(tmp_path, "2007_train+2012_train")


def test_the_message_for_an_unknown_set_lists_the_sets(root):
    add_list(root, "aeroplane_train", "a 1")
    with pytest.raises(DataError, match=r"no list test\.txt; the sets are train, aeroplane_train, and all"):
        read_voc(root, "train+test")


def test_an_empty_list_is_an_error(root):
    add_list(root, "val", "", "  ")
    with pytest.raises(DataError, match=r"val\.txt lists no image"):
        read_voc(root, "val")


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        read_voc(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="has no folder JPEGImages"):
        read_voc(tmp_path, "train")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="has no folder Annotations"):
        read_voc(tmp_path, "train")


def test_without_lists_images_are_dealt_by_hash(tmp_path, caplog):
    stems = [f"{number:03d}" for number in range(60)]
    for stem in stems:
        add_image(tmp_path, stem, object_xml())

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


def test_a_dealt_set_without_images_is_an_error(tmp_path):
    add_image(tmp_path, "a", object_xml())
    empty = "train" if crc32(b"a") % 10 < 3 else "test"
    with pytest.raises(DataError, match=f"dealt to {empty}, lists no image"):
        read_voc(tmp_path, empty)


def test_missing_images_are_named(root):
    stems = [f"gone{number}" for number in range(7)]
    add_list(root, "val", "a", *stems)
    with pytest.raises(DataError, match=r"JPEGImages has no image for 7 of the 8.*val\.txt.*gone4, … \(7"):
        read_voc(root, "val")


def test_missing_xml_files_are_named(root):
    (root / "Annotations" / "b.xml").unlink()
    with pytest.raises(DataError, match=r"Annotations has no XML file for 1 of the 2.*: b;"):
        read_voc(root, "train")
