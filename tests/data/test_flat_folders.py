"""Images and XML files without VOC's layout: beside each other, or in folders of their own."""

import shutil
from pathlib import Path
from zlib import crc32

import pytest

from src.data.records import DataError
from src.data.voc import read_voc
from tests.data.voc_folder import add_image, add_two_images, object_xml


@pytest.fixture
def root(tmp_path):
    add_two_images(tmp_path)
    return tmp_path


def ids(root, split, **options):
    return [record.image_id for record in read_voc(root, split, **options)]


def flat(root, *places):
    """Move images and XML files of VOC's layout to (folder of the image, folder of its XML file)."""
    for number, (image_folder, xml_folder) in enumerate(places):
        add_image(root / "voc", f"{number}", object_xml())
        for folder, name in ((image_folder, f"JPEGImages/{number}.jpg"), (xml_folder, f"Annotations/{number}.xml")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / "voc" / name).rename(root / folder / Path(name).name)
    shutil.rmtree(root / "voc")


def test_a_flat_folder_is_dealt_by_hash(tmp_path, caplog):
    flat(tmp_path, *[(".", ".")] * 20)
    (tmp_path / "classes.txt").write_text("cat")
    names = sorted(str(number) for number in range(20))
    assert ids(tmp_path, "test", flat=True) == [name for name in names if crc32(name.encode()) % 10 < 2]
    assert ids(tmp_path, "all", flat=True) == names
    assert len(caplog.records) == 1 and "dealt to train, val and test" in caplog.text
    (tmp_path / "3.xml").unlink()
    assert "3" not in ids(tmp_path, "all", flat=True) and "1 images have no XML file" in caplog.text


@pytest.mark.parametrize(
    ("image_folder", "xml_folder"),
    [
        ("{}", "{}"),
        ("{}/images", "{}/annotations"),
        ("images/{}", "annotations/{}"),
        ("{}/JPEGImages", "{}/Annotations"),
        ("{}/data", "{}/labels"),
    ],
)
def test_a_flat_folder_may_be_split_by_folders(tmp_path, caplog, image_folder, xml_folder):
    splits = ["train", "train", "valid", "test"]
    flat(tmp_path, *[(image_folder.format(split), xml_folder.format(split)) for split in splits])
    assert ids(tmp_path, "train", flat=True) == ["train/0", "train/1"]
    assert ids(tmp_path, "val", flat=True) == ids(tmp_path, "valid", flat=True) == ["valid/2"]
    assert ids(tmp_path, "trainval", flat=True) == ["train/0", "train/1", "valid/2"]
    assert ids(tmp_path, "test", flat=True) == ["test/3"]
    assert not caplog.records
    with pytest.raises(
        DataError, match="no annotated image in a folder holdout; the sets are val, test, train, and all"
    ):
        ids(tmp_path, "holdout", flat=True)


def test_folders_that_are_joined_are_sorted_by_file_name(tmp_path):
    flat(tmp_path, ("valid", "valid"), ("train", "train"), ("valid", "valid"))
    assert ids(tmp_path, "trainval", flat=True) == ["valid/0", "train/1", "valid/2"]


def test_images_outside_the_folders_of_the_splits_are_counted(tmp_path, caplog):
    flat(tmp_path, ("train", "train"), (".", "."))
    assert ids(tmp_path, "train", flat=True) == ["train/0"]
    assert "1 images stand outside the folders of the splits and are left out: 1.jpg" in caplog.text
    with pytest.raises(DataError, match="no annotated image in a folder tset; the sets are train, and all"):
        ids(tmp_path, "tset", flat=True)


def test_a_flat_folder_may_have_lists(tmp_path):
    flat(tmp_path, ("images", "annotations"), ("images", "annotations"), ("sub/images", "sub/xml"))
    (tmp_path / "train.txt").write_text("images/1.jpg\nsub/images/2.jpg\n")
    assert ids(tmp_path, "trainval", flat=True) == ["1", "sub/2"]
    with pytest.raises(DataError, match="has no list test.txt; the sets are train, and all"):
        ids(tmp_path, "test", flat=True)


def test_another_formats_xml_in_a_flat_folder_is_named(tmp_path):
    flat(tmp_path, (".", "."))
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match=r"annotations\.xml: its root element is <annotations>.*CVAT"):
        ids(tmp_path, "all", flat=True)


def test_links_to_folders_above_end(tmp_path):
    flat(tmp_path, (".", "."))
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert ids(tmp_path, "all", flat=True) == ["0"]
