"""Which images and XML files the splits of PASCAL VOC's layout name."""

import os
from zlib import crc32

import pytest
from PIL import Image

from src.data.images import read_image
from src.data.records import DataError
from src.data.voc import read_voc, voc_classes
from tests.data.voc_folder import add_image, add_list, add_two_images, object_xml


@pytest.fixture
def root(tmp_path):
    add_two_images(tmp_path)
    return tmp_path


def ids(root, split, **options):
    return [record.image_id for record in read_voc(root, split, **options)]


def test_lists_may_have_flags_blank_lines_and_names_with_spaces(root, caplog):
    caplog.set_level("INFO")
    add_image(root, "image (1)", object_xml())
    add_list(root, "cat_train", "a  1", "", "b -1", "image (1)", "gone -1")
    assert ids(root, "cat_train") == ["a", "image (1)"]
    assert "cat_train.txt: 2 of 4 images are flagged -1" in caplog.text
    add_list(root, "dog_train", "b\t0", "image (1) 1")
    assert ids(root, "dog_train") == ["b", "image (1)"]


def test_a_set_without_its_list_is_every_image_on_the_lists_of_its_classes(tmp_path, caplog):
    caplog.set_level("INFO")
    for stem, *names in (("a", "dog"), ("b", "cat", "dog"), ("c",), ("d", "cat")):
        add_image(tmp_path, stem, *map(object_xml, names))
    for name, flags in {"cat": (-1, 1, -1, 1), "dog": (1, 1, -1, -1)}.items():
        lines = [f"{stem}.jpg {flag}" for stem, flag in zip("abcd", flags, strict=True)]
        add_list(tmp_path, f"{name}_train", *lines[:3])
        add_list(tmp_path, f"{name}_val", lines[3])
    assert ids(tmp_path, "train") == ["a", "b", "c"] and ids(tmp_path, "trainval") == ["a", "b", "c", "d"]
    assert "train is every image that these lists name: " in caplog.text
    with pytest.raises(DataError, match=r"no list test\.txt; the sets are val, train, cat_val"):
        ids(tmp_path, "test")
    add_list(tmp_path, "val", "a")
    with pytest.raises(DataError, match=r"no list train\.txt"):
        ids(tmp_path, "train")


def test_lists_of_folds_are_not_taken_for_those_of_classes(tmp_path):
    for stem in "ab":
        add_image(tmp_path, stem, object_xml())
    for fold, (train, val) in {"fold1": "ab", "fold2": "ba"}.items():
        add_list(tmp_path, f"{fold}_train", train)
        add_list(tmp_path, f"{fold}_val", val)
    with pytest.raises(DataError, match=r"no list train\.txt; the sets are fold1_val"):
        ids(tmp_path, "train")


def test_a_line_that_may_be_a_name_or_a_name_with_its_flag_is_named(root):
    add_image(root, "a 1", object_xml())
    add_list(root, "cat_train", "a 1", "b -1")
    with pytest.raises(DataError, match="'a 1' may mean the image 'a 1', or 'a' with the flag 1; write.*suffix"):
        ids(root, "cat_train")
    add_list(root, "cat_train", "a 1.jpg 1", "b 0")
    assert ids(root, "cat_train") == ["a 1", "b"]
    add_list(root, "train", "a 1", "b")
    assert ids(root, "train") == ["a 1", "b"]


@pytest.mark.parametrize(
    "line",
    ["a.jpg", "a.JPG", "a.png", "a.xml", "./a", "JPEGImages/a.jpg", "C:\\data\\JPEGImages\\a.jpg", "/x/y/a", " a "],
)
def test_lists_may_have_suffixes_and_folders(root, line):
    add_list(root, "val", line)
    assert ids(root, "val") == ["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_may_be_in_any_unicode_encoding(root, encoding, end):
    add_image(root, "über", object_xml())
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(f"b{end}über{end}".encode(encoding))
    assert ids(root, "val") == ["b", "über"]


def test_a_list_in_another_encoding_is_named(root):
    add_image(root, "über", object_xml())
    (root / "ImageSets" / "Main" / "val.txt").write_bytes("b\nüber".encode("latin-1"))
    with pytest.raises(DataError, match=r"val\.txt: line 2 is not UTF-8.*save the file as UTF-8"):
        read_voc(root, "val")


@pytest.mark.parametrize("lines", [["a", "a"], ["a", "a.jpg"], ["a 1", "a 1"]])
def test_a_name_that_a_list_repeats_is_named(root, lines):
    add_list(root, "val", *lines)
    with pytest.raises(DataError, match=r"image a is listed twice in split val, by .*val\.txt"):
        read_voc(root, "val")


@pytest.mark.parametrize(("line", "there"), [("A", "a.jpg"), ("A.jpg", "a.jpg"), ("U\u0308ber", "über.jpg")])
def test_names_that_differ_in_case_or_accents_are_named_with_the_near_match(root, line, there):
    add_image(root, "über", object_xml())
    add_list(root, "val", line)
    with pytest.raises(DataError, match=f"no image for 1 of the 1.*{there} differs only in upper case"):
        read_voc(root, "val")


def test_trainval_is_train_and_val_where_it_has_no_list(root, caplog):
    add_image(root, "c", object_xml())
    assert ids(root, "trainval") == ["a", "b"]
    assert "Main has no set val: trainval is train alone" in caplog.text
    add_list(root, "val", "c")
    assert ids(root, "trainval") == ["a", "b", "c"]
    add_list(root, "trainval", "c", "a")
    assert ids(root, "trainval") == ["c", "a"]


def test_lists_may_stand_in_imagesets_itself(root):
    (root / "ImageSets" / "Main").joinpath("train.txt").rename(root / "ImageSets" / "train.txt")
    assert ids(root, "train") == ["b", "a"]


FORMATS = [(".bmp", "BMP"), (".webp", "WEBP"), (".tif", "TIFF"), (".TIFF", "TIFF"), (".gif", "GIF"), (".jfif", "JPEG")]
FORMATS += [(".jpg", "JPEG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".PnG", "PNG"), (".ppm", "PPM"), (".jpg", "PNG")]


@pytest.mark.parametrize(("suffix", "file_format"), FORMATS)
def test_images_may_be_of_any_common_format(tmp_path, suffix, file_format):
    add_image(tmp_path, "x", object_xml())
    (tmp_path / "JPEGImages" / "x.jpg").unlink()
    Image.new("RGB", (100, 80), "red").save(tmp_path / "JPEGImages" / f"x{suffix}", format=file_format)
    [record] = read_voc(tmp_path, "all")
    red, green, _ = read_image(record)[:, 0, 0].tolist()
    assert red > 250 and green < 5


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".PnG"])
def test_names_of_images_may_have_dots(tmp_path, suffix):
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

    train, val, test = (ids(tmp_path, split) for split in ("train", "val", "test"))
    assert sorted(train + val + test) == stems
    assert val == [stem for stem in stems if crc32(stem.encode()) % 10 == 2]
    assert test == [stem for stem in stems if crc32(stem.encode()) % 10 < 2]
    assert ids(tmp_path, "trainval") == sorted(train + val)
    caplog.clear()
    assert ids(tmp_path, "train+val") == train + val
    assert len(caplog.records) == 1 and "dealt to train, val and test" in caplog.text
    caplog.clear()
    assert ids(tmp_path, "all") == stems
    assert not caplog.records
    with pytest.raises(DataError, match="the sets are val, test, train, trainval"):
        ids(tmp_path, "validation")


def test_images_that_cvat_lists_as_default_are_dealt(tmp_path, caplog):
    stems = [f"{number:03d}" for number in range(30)]
    for stem in stems:
        add_image(tmp_path, stem, object_xml())
    dealt = {split: ids(tmp_path, split) for split in ("trainval", "test")}
    add_list(tmp_path, "default", *stems)
    add_list(tmp_path, "cat_default", *(f"{stem} 1" for stem in stems))
    caplog.clear()
    assert {split: ids(tmp_path, split) for split in dealt} == dealt and "dealt to train, val and test" in caplog.text
    assert ids(tmp_path, "default") == stems
    add_list(tmp_path, "train", *stems)
    with pytest.raises(DataError, match=r"has no list test\.txt"):
        ids(tmp_path, "test")


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


def test_without_lists_an_annotation_without_its_image_is_an_error(tmp_path):
    for stem in ("a", "b", "c"):
        add_image(tmp_path, stem, object_xml())
    (tmp_path / "JPEGImages" / "b.jpg").rename(tmp_path / "JPEGImages" / "b.heic")
    for split in ("all", "trainval"):
        with pytest.raises(
            DataError, match=r"1 of 3 XML files have no image: b \(b\.heic is not in a format that is read"
        ):
            read_voc(tmp_path, split)
    (tmp_path / "JPEGImages" / "b.heic").rename(tmp_path / "JPEGImages" / "B.jpg")
    with pytest.raises(DataError, match=r"no image: b \(B\.jpg differs only in upper case"):
        read_voc(tmp_path, "all")


def test_without_lists_images_without_annotation_and_other_files_are_counted(tmp_path, caplog):
    for stem in ("a", "b", "c"):
        add_image(tmp_path, stem, object_xml())
    (tmp_path / "Annotations" / "b.xml").unlink()
    (tmp_path / "JPEGImages" / "photo.heic").touch()
    for hidden in ("._a.jpg", ".DS_Store", "Thumbs.db"):
        (tmp_path / "JPEGImages" / hidden).touch()
        (tmp_path / "Annotations" / hidden).touch()
    assert ids(tmp_path, "all") == ["a", "c"]
    counted, unread = (record.message for record in caplog.records)
    assert "1 images have no XML file, count as not annotated and are left out: JPEGImages/b.jpg" in counted
    assert "1 files are no images of a format that is read and are left out: JPEGImages/photo.heic" in unread


def test_images_in_subfolders_are_found_with_their_xml_files(tmp_path):
    add_image(tmp_path, "a", object_xml())
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        (tmp_path / folder / "day 1").mkdir()
        (tmp_path / folder / f"a{suffix}").rename(tmp_path / folder / "day 1" / f"a{suffix}")
    assert ids(tmp_path, "all") == ["day 1/a"]
    add_list(tmp_path, "val", "day 1/a.jpg")
    assert ids(tmp_path, "val") == ["day 1/a"]


def test_file_names_that_are_not_utf8_are_named(tmp_path):
    add_image(tmp_path, "a", object_xml())
    (tmp_path / "JPEGImages" / os.fsdecode(b"caf\xe9.jpg")).touch()
    with pytest.raises(DataError, match=r"names are not UTF-8: caf\\xe9\.jpg; rename them"):
        read_voc(tmp_path, "all")
