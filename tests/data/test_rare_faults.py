"""Faults of files that are rare and were once read wrongly, or ended in a traceback."""

import json
import os
import struct

import numpy as np
import pytest

from src.data.coco.reader import read_coco
from src.data.images import examine_image, read_image
from src.data.records import DataError, make_record
from src.data.voc.reader import read_voc
from src.data.yolo.reader import read_yolo
from tests.data import coco_folder
from tests.data.damage.folders import encoded
from tests.data.damage.images import png, tiff
from tests.data.voc_folder import add_image, object_xml
from tests.support.layouts import Picture, Thing, write_file, write_layout

WIDE = np.array([[0, 85, 170, 255]], "<u2") * 257
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
KEY = struct.pack(">H", 85 * 257)


@pytest.mark.parametrize(
    ("name", "content", "greys"),
    [
        ("white is 0.tif", tiff((65535 - WIDE).tobytes(), 4, 16, photometric=0), [0, 85, 170, 255]),
        ("key of 2 bits.png", png(b"\x1b", 4, 2, 0, struct.pack(">H", 1)), [0, 255, 170, 255]),
        (
            "key of 16 bits.png",
            png(WIDE.byteswap().tobytes(), 4, 16, 0, KEY),
            [0, 255, 170, 255],
        ),
    ],
)
def test_greys(tmp_path, name, content, greys):
    write_file(tmp_path / name, content)
    assert read_image(make_record(name, tmp_path / name, (4, 1), [], []))[0].tolist() == [greys]


def test_a_jpeg_2000_file_without_its_last_tiles(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(pixels, "JPEG2000", tile_size=(32, 32))
    path = tmp_path / "a.jp2"
    record = make_record("a", path, (64, 64), [], [])
    write_file(path, content)
    examine_image(record)
    write_file(path, content[: content.rfind(b"\xff\x90") + 2])  # within the last tile's head
    with pytest.raises(DataError, match=r"a\.jp2 is cut off"):
        examine_image(record)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (object_xml(box=(1, 1, "9" * 400, 40)), "stands where"),
        (object_xml().replace("</name>", "<b/>fish</name>"), "its <name> holds <b> where only text belongs"),
        (f"<size><width>{'9' * 400}</width><height>80</height></size>", "stands where"),
    ],
)
def test_xml(tmp_path, xml, message):
    add_image(tmp_path, "a", xml, size="")
    with pytest.raises(DataError, match=rf"a\.xml.*{message}"):
        read_voc(tmp_path, "all")


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_xml_in_utf_32_without_a_mark(tmp_path, encoding):
    add_image(tmp_path, "a")
    write_file(tmp_path / "Annotations" / "a.xml", f"<annotation>{object_xml('猫')}</annotation>".encode(encoding))
    assert len(read_voc(tmp_path, "all", ["猫"])[0].labels) == 1


def test_objects_that_are_there_twice_are_kept_and_counted(tmp_path, caplog):
    add_image(tmp_path, "a", object_xml(), object_xml())
    assert len(read_voc(tmp_path, "all")[0].boxes) == 2
    assert "1 objects are in their XML file twice, and are kept, in a.xml" in caplog.text


@pytest.mark.parametrize("file", ["JPEGImages/a.jpg", "Annotations/a.xml", "ImageSets/Main/train.txt"])
def test_a_pointer_of_git_lfs_in_place_of_a_file_of_voc(tmp_path, file):
    add_image(tmp_path, "a", object_xml(), size="")
    write_file(tmp_path / "ImageSets/Main/train.txt", "a\n")
    write_file(tmp_path / file, POINTER)
    with pytest.raises(DataError, match=f"{file} is a pointer of Git LFS .* fetch it with git lfs pull"):
        read_voc(tmp_path, "train")


def test_a_box_thinner_than_records_hold_is_dropped(tmp_path, caplog):
    data = coco_folder.two_images()
    data["annotations"][0]["bbox"] = [40, 40, 1e-7, 1e-7]
    coco_folder.write(tmp_path, "train", data)
    records = read_coco(tmp_path, "train")
    assert [len(record.boxes) for record in records] == [1, 1]
    assert "dropped 1 boxes without area" in caplog.text


def test_a_size_outside_which_all_boxes_lie(tmp_path):
    data = coco_folder.two_images()
    data["images"][0] |= {"width": 60, "height": 60}
    coco_folder.write(tmp_path, "train", data)
    with pytest.raises(DataError, match=r"instances_train\.json gives .*seven\.jpg the size 60×60, outside which all"):
        read_coco(tmp_path, "train")


def test_an_address_that_is_none(tmp_path):
    data = coco_folder.two_images()
    path = coco_folder.write(tmp_path, "train", data)
    data["images"][0]["file_name"] = "http://[::1/a.jpg"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"1 of the 2 images of .*instances_train\.json are missing"):
        read_coco(tmp_path, "train")


@pytest.fixture
def yolo(tmp_path):
    """A folder of one training image, a.png, of 10 × 10 pixels."""
    picture = Picture("a.png", (10, 10), encoded(np.zeros((10, 10, 3), np.uint8)), [Thing("cat", (2, 2, 6, 8))])
    return write_layout("yolo", tmp_path / "data", {"train": [picture]}, ["cat"])


@pytest.mark.parametrize(
    "names",
    [
        r'["\U00110000"]',
        r'["\UFFFFFFFF"]',
        r'["\uD83D"]',
        "[" * 1200,
        "\n  " + "9" * 5000 + ": cat",
        "[cat]\n? [a, b]\n: c",
    ],
)
def test_names_that_are_none(yolo, names):
    write_file(yolo / "data.yaml", f"names: {names}\n")
    with pytest.raises(DataError, match=r"data\.yaml"):
        read_yolo(yolo, "train")


def test_a_pointer_of_git_lfs_in_place_of_labels(yolo):
    write_file(yolo / "labels/train/a.txt", POINTER)
    with pytest.raises(DataError, match=r"a\.txt is a pointer of Git LFS"):
        read_yolo(yolo, "train")


def test_columns_after_each_box(yolo):
    write_file(yolo / "labels" / "train" / "a.txt", "0 0.5 0.5 0.2 0.2 1 0.9\n0 0.4 0.4 0.2 0.2 0 0.8\n")
    with pytest.raises(DataError, match=r"a\.txt: all 2 lines of the split train have seven columns"):
        read_yolo(yolo, "train")


def test_triangles_are_polygons_where_they_are_no_boxes(yolo):
    write_file(yolo / "labels" / "train" / "a.txt", "0 0.1 0.5 0.9 0.2 0.4 0.9\n")
    assert read_yolo(yolo, "train")[0].boxes.tolist() == [[1, 2, 9, 9]]


def test_a_link_to_a_folder_above_is_followed_once(yolo):
    (yolo / "images" / "train" / "again").symlink_to(yolo / "images" / "train")
    assert [record.path.name for record in read_yolo(yolo, "train")] == ["a.png"]


def test_a_name_that_is_not_utf_8(yolo):
    folder = os.fsencode(yolo / "images" / "train")
    os.rename(folder + b"/a.png", folder + b"/\xe9.png")
    (yolo / "images" / "train" / "no-break\u00a0space.png").touch()
    with pytest.raises(DataError, match=r"train has files whose names are not UTF-8: \\xe9\.png; rename"):
        read_yolo(yolo, "train")
