"""Lines of YOLO's label files: read as they are meant, or refused by name."""

import pytest

from src.data.records import DataError
from src.data.yolo import read_yolo
from tests.data.yolo_folder import BOXES, LABELS, YAML, add


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.replace("\n", "\r\n"),
        LABELS.replace(" ", "\t"),
        LABELS.replace("1 0.5", "1.0  5e-1"),
        "\n" + LABELS.replace("\n", " \n\n"),
        b"\xef\xbb\xbf" + LABELS.encode(),
        LABELS.encode("utf-16"),
        LABELS + LABELS,
        LABELS.strip(),
        "1 0.4 0.375 0.6 0.375 0.6 0.625 0.4 0.625\n0 0.1 0.2 0.1 0.1\n",
        "1 0.4 0.5 0.5 0.375 0.6 0.625 0.6 0.625\n0 0.1 0.2 0.1 0.1\n",
        LABELS + "0 0.5 0.5 0 0.2\n",
    ],
)
def test_labels_that_mean_the_same(tmp_path, labels):
    add(tmp_path, "images/train/a.jpg", labels)
    (tmp_path / "data.yaml").write_text(YAML)
    (record,) = read_yolo(tmp_path, "train")
    assert record.boxes.tolist() == BOXES and record.labels.tolist() == [1, 0]


def test_what_is_left_out_or_replaced_is_counted_in_one_line(tmp_path, caplog):
    more = LABELS + "0 0.5 0.5 0 0.2\n0 0.1 0.1 0.2 0.1 0.1 0.2 0.1 0.2\n0 1 1 0.1 0.1\n0 0.999 0.5 0.01 0.5\n"
    add(tmp_path, "images/train/a.jpg", LABELS + more)
    (tmp_path / "data.yaml").write_text(YAML)
    (record,) = read_yolo(tmp_path, "train")
    expected = [*BOXES, [10, 8, 20, 16], [95, 76, 100, 80], [99.4, 20, 100, 60]]
    assert record.boxes.tolist() == [pytest.approx(box) for box in expected]
    assert len(caplog.records) == 1
    for text in (
        "left out 2 lines that are in their label file twice",
        "dropped 1 boxes without area or wholly outside their image, in a.txt",
        "took the extents of 1 polygons or rotated boxes",
        "clipped 1 boxes that reach over a pixel outside",
    ):
        assert text in caplog.text


def test_images_of_one_name_are_counted_each(tmp_path, caplog):
    for folder in ("one", "two"):
        add(tmp_path, f"images/train/{folder}/a.jpg", LABELS + LABELS)
    (tmp_path / "data.yaml").write_text(YAML)
    assert [len(record.boxes) for record in read_yolo(tmp_path, "train")] == [2, 2]
    assert "left out 4 lines that are in their label file twice" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.2 0.2", "class 2 has no name: the names are 0 ant, 1 bee. Add its name"),
        ("-1 0.5 0.5 0.2 0.2", "the class is '-1'; it should be the index of a name, from 0"),
        ("0.5 0.5 0.5 0.2 0.2", "the class is '0.5'"),
        ("bee 0.5 0.5 0.2 0.2", "the class is 'bee'"),
        ("0 0.5 0.5 0.2", "4 columns, where a box has five"),
        ("0", "1 columns"),
        ("0 0.5 0.5 0.2 0.2 0.9", "six columns.* If the sixth is a confidence or a track, remove it"),
        ("0 0.5 0.5 0.2 0.2 7", "six columns"),
        ("0 0.5 0.5 0.2 0.2 0.9 0.9 0.9", "8 columns"),
        ("0 50 40 20 20", "50 is not between 0 and 1; .*Divide pixels"),
        ("0 0.5 0.5 -0.2 0.2", "-0.2 is not between 0 and 1"),
        ("0 0.5 0.5 nan 0.2", "'nan' is not a finite number"),
        ("0 0.5 0.5 inf 0.2", "'inf' is not a finite number"),
        ("0 0.5 0.5 a 0.2", "'a' is not a finite number"),
        ("0 0.5 0.5 1_0 0.2", "'1_0' is not a finite number"),
        ("0,0.5,0.5,0.2,0.2", "hold commas; separate them by spaces"),
        ("0 0,5 0,5 0,2 0,2", "hold commas"),
        ("\x00\x01", "is not text"),
        (b"0 0.5 \xff", "not UTF-8"),
        ("version https://git-lfs.github.com/spec/v1", "the class is 'version'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    labels = b"\n" + LABELS.encode() + (line if isinstance(line, bytes) else line.encode())
    add(tmp_path, "images/train/a.jpg", labels)
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(DataError, match=rf"labels/train/a\.txt(, line 4:|: line 4)? ?.*{message}"):
        read_yolo(tmp_path, "train")


def test_further_label_files_with_faults_are_counted(tmp_path):
    for stem, index in {"a": 0, "b": 2, "c": 1, "d": 2, "e": 2}.items():
        add(tmp_path, f"images/train/{stem}.jpg", f"{index} 0.5 0.5 0.2 0.25\n")
    (tmp_path / "data.yaml").write_text(YAML)
    message = r"b\.txt, line 1: class 2 has no name.* There are faults in 2 more of the 5 label files: d\.txt, e\.txt$"
    with pytest.raises(DataError, match=message):
        read_yolo(tmp_path, "train")


def test_corners_instead_of_centres_are_named(tmp_path):
    add(tmp_path, "images/train/a.jpg", "0 0.1 0.2 0.5 0.6\n0 0.6 0.1 0.9 0.3\n1 0.3 0.5 0.4 0.9\n")
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(DataError, match=r"a\.txt: the boxes are corners x1 y1 x2 y2: .* 2 of 3 would reach outside"):
        read_yolo(tmp_path, "train")


def test_left_and_top_instead_of_centres_are_named(tmp_path):
    lefts = [step / 20 for step in range(20)]
    lines = [f"0 {left:g} {1 - left - 0.05:g} 0.05 0.04" for left in lefts]
    lines += [f"0 {left / 100:g} {left / 2:g} 0.1 0.2" for left in lefts]
    add(tmp_path, "images/train/a.jpg", "\n".join(lines))
    (tmp_path / "data.yaml").write_text(YAML)
    message = r"a\.txt: the boxes are left, top, .* 22 of 40 would reach outside .* such as \(0\.0, 0\.95"
    with pytest.raises(DataError, match=message):
        read_yolo(tmp_path, "train")


def test_many_boxes_that_reach_outside_on_all_sides_are_clipped(tmp_path, caplog):
    lines = [f"0 {side:g} {step / 40:g} 0.1 0.2" for step in range(1, 40) for side in (0.01, 0.99)]
    add(tmp_path, "images/train/a.jpg", "\n".join(lines))
    (tmp_path / "data.yaml").write_text(YAML)
    assert len(read_yolo(tmp_path, "train")[0].boxes) == 78 and "clipped 78 boxes" in caplog.text


def test_keypoints_after_the_box_are_left_out(tmp_path):
    for shape, keypoints in {"[2, 2]": "0.1 0.1 0.9 0.9", "[2, 3]": "0.1 0.1 2 0.9 0.9 1"}.items():
        add(tmp_path, "images/train/a.jpg", f"1 0.5 0.5 0.2 0.25 {keypoints}\n")
        (tmp_path / "data.yaml").write_text(f"{YAML}kpt_shape: {shape}\n")
        assert read_yolo(tmp_path, "train")[0].boxes.tolist() == BOXES[:1]
    add(tmp_path, "images/train/a.jpg", "1 0.5 0.5 0.2 0.25 0.1 0.1 2\n")  # one keypoint of two
    with pytest.raises(DataError, match=r"a\.txt, line 1: 8 columns"):
        read_yolo(tmp_path, "train")
