"""Records from folders in YOLO's layouts."""

import shutil

import pytest
from PIL import Image

from src.data.datasets import read_data
from src.data.records import DataError
from src.data.yolo import read_yolo, yolo_classes

YAML = "names: [ant, bee]\n"
LABELS = "1 0.5 0.5 0.2 0.25\n0 0.1 0.2 0.1 0.1\n"
BOXES = [[40, 30, 60, 50], [5, 12, 15, 20]]


def add(root, image, labels=LABELS, label_path=None):
    """Add an image of 100 × 80 pixels and its labels: beside it, or in `labels` where its path has `images`."""
    path = root / image
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (100, 80)).save(path)
    if labels is not None:
        label_path = root / (label_path or image.replace("images/", "labels/")).rpartition(".")[0]
        label_path = label_path.with_name(label_path.name + ".txt")
        label_path.parent.mkdir(parents=True, exist_ok=True)
        label_path.write_bytes(labels if isinstance(labels, bytes) else labels.encode())


def two_sets(root, yaml=YAML):
    """Write images/train with b and a, and images/val with c."""
    root.mkdir(exist_ok=True)
    for image in ("train/b.jpg", "train/a.jpg", "val/c.jpg"):
        add(root, f"images/{image}")
    (root / "data.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    return root


def test_boxes_labels_and_ids_are_read(tmp_path):
    two_sets(tmp_path)
    train, test, classes = read_data("yolo", str(tmp_path), train="train", test="val")
    assert classes == yolo_classes(tmp_path, "val") == ["ant", "bee"]
    assert [record.image_id for record in train + test] == ["a", "b", "c"]
    record = train[0]
    assert record.path == tmp_path / "images/train/a.jpg" and (record.width, record.height) == (100, 80)
    assert record.boxes.tolist() == BOXES and record.labels.tolist() == [1, 0] and record.area.tolist() == [400, 80]
    assert not record.difficult.any() and not record.crowd.any()


def test_labels_follow_the_given_classes(tmp_path):
    two_sets(tmp_path)
    assert read_yolo(tmp_path, "val", ["bee", "cow", "ant"])[0].labels.tolist() == [0, 2]
    with pytest.raises(DataError, match=r"labels/val/c\.txt: class 'bee' is not one of the classes ant; correct"):
        read_yolo(tmp_path, "val", ["ant"])


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("names: [ant, bee]\nnc: 2\n", ["ant", "bee"]),
        ("names: {1: bee, 0: ant}\n", ["ant", "bee"]),
        ("names:\n  0: ant\n  1: bee\n  5: cow\n", ["ant", "bee", "cow"]),
        ("names:\n- ' ant '\n- no\nnc: '2'\n", ["ant", "no"]),
        ("names: [007, 1e3]\n", ["007", "1e3"]),
        ("names: [Ameise, Käfer]\n".encode("utf-16"), ["Ameise", "Käfer"]),
        ("\ufeffnames: ['a: b', 'c # d']\r\n".encode(), ["a: b", "c # d"]),
        ("download: |\n  import os\nnames: [ant, bee]\nval: \ntest: # none\n", ["ant", "bee"]),
    ],
)
def test_names_are_those_of_the_yaml_file(tmp_path, yaml, expected):
    assert yolo_classes(two_sets(tmp_path, yaml), "train") == expected


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: [ant, bee]\nnc: 3\n", "nc is 3, but there are 2 names; correct one"),
        ("names: [ant, ant]\n", "several classes have the name ant"),
        ("names: [ant, '']\n", "the name of class 1 is ''"),
        ("names: [ant, [bee]]\n", r"the name of class 1 is \['bee'\]"),
        ("names: {ant: 0}\n", "gives no names of the classes; write them as"),
        ("names: ant bee\n", "gives no names of the classes"),
        ("nc: 2\ntrain: images/train\n", "gives no names of the classes"),
        ("names: []\n", "its names are empty"),
        ("names: {0: ant, 00: bee}\n", "an index of names comes twice"),
        ("names: {0: ant, 0: bee}\n", "the key 0 comes twice"),
        ("names: [ant\n", "cannot be read as YAML"),
        ("names:\n\t- ant\n", "cannot be read as YAML"),
        ("names: [K\u00e4fer]\n".encode("latin-1"), "is not text in UTF-8"),
        ("names: [ant, bee]\ntrain: {a: b}\n", "train is .*; it should be a folder"),
    ],
)
def test_a_defective_yaml_file_is_named(tmp_path, yaml, message):
    two_sets(tmp_path, yaml)
    with pytest.raises(DataError, match=rf"data\.yaml.*{message}"):
        read_yolo(tmp_path, "train")


def test_the_yaml_file_may_have_any_name_but_must_be_one(tmp_path):
    two_sets(tmp_path)
    (tmp_path / "data.yaml").rename(tmp_path / "bugs.yml")
    (tmp_path / "hyp.yaml").write_text("lr0: 0.01\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    assert yolo_classes(tmp_path, "train") == ["ant", "bee"]
    (tmp_path / "more.yaml").write_text(YAML)
    with pytest.raises(DataError, match=r"bugs\.yml, .*more\.yaml may all describe the data; keep one"):
        yolo_classes(tmp_path, "train")


@pytest.mark.parametrize(
    ("images", "entries"),
    [
        ("images/train", ""),
        ("train/images", ""),
        ("train", ""),
        ("train/images", "train: ../train/images"),  # Roboflow
        ("images/train", "path: ../datasets/gone\ntrain: images/train"),
        ("images/train", "path: .\ntrain: images/train"),
        ("sub/images/train", "path: sub\ntrain: images/train"),
        ("images/a", "train: images/a"),
        ("images/a", "train: [images/a]"),
        ("images/a", "train: ./images/a/"),
        ("train/images", "train: train"),
        ("train/images", "train: train\\images"),
        ("train/images", "train: /content/gone/train/images"),
        ("images/train", "training: images/train"),
        ("JPEGImages", "train: JPEGImages"),
        ("images/train/deep/er", ""),
    ],
)
def test_layouts(tmp_path, images, entries):
    add(
        tmp_path,
        f"{images}/a.jpg",
        label_path=f"{images.replace('JPEGImages', 'labels')}/a.jpg".replace("images/", "labels/"),
    )
    (tmp_path / "data.yaml").write_text(f"{YAML}{entries}\n")
    records = read_yolo(tmp_path, "train")
    assert [record.path.resolve() for record in records] == [tmp_path / images / "a.jpg"]
    assert records[0].boxes.tolist() == BOXES


def test_val_and_valid_are_one_and_trainval_is_both(tmp_path):
    for image in ("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"):
        add(tmp_path, image)
    (tmp_path / "data.yaml").write_text(f"{YAML}train: ../train/images\nval: ../valid/images\ntest: ../test/images\n")
    for split, ids in {"val": "b", "valid": "b", "trainval": "ab", "test": "c", "train+test": "ac"}.items():
        assert "".join(record.image_id for record in read_yolo(tmp_path, split)) == ids


def test_missing_sets_are_named_with_the_override(tmp_path):
    two_sets(tmp_path)
    with pytest.raises(
        DataError, match=r"no set 'test'; its sets are train, val\. Choose with dataset\.train=train data"
    ):
        read_yolo(tmp_path, "test")
    two_sets(tmp_path, YAML + "train: images/train\ntest: ../test/images\n")
    with pytest.raises(DataError, match=r"data\.yaml has test: \.\./test/images, which does not exist; correct it"):
        read_yolo(tmp_path, "test")
    two_sets(tmp_path, YAML + "train: images/train\nval: [images/val, images/gone]\n")
    with pytest.raises(DataError, match=r"data\.yaml has val: .*gone.*, which does not exist"):
        shutil.rmtree(tmp_path / "images" / "val")
        read_yolo(tmp_path, "trainval")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_yolo(tmp_path / "nowhere", "train")


def test_lists_of_images_keep_their_order(tmp_path):
    two_sets(tmp_path, YAML + "train: mine.txt\nval: images/val\n")
    lines = ["./images/train/b.jpg", "images\\train\\a.jpg", "", "/old/place/images/val/c.jpg"]
    (tmp_path / "mine.txt").write_bytes("\r\n".join(lines).encode("utf-16"))
    assert [record.image_id for record in read_yolo(tmp_path, "train")] == ["b", "a", "c"]
    (tmp_path / "mine.txt").write_text("images/train/b.jpg\nimages/train/gone.jpg\n")
    with pytest.raises(
        DataError, match=r"1 of the 2 images that .*mine\.txt lists are missing: images/train/gone\.jpg"
    ):
        read_yolo(tmp_path, "train")
    (tmp_path / "mine.txt").write_text("images/train/b.jpg\n./images/train/b.jpg\n")
    with pytest.raises(DataError, match=r"mine\.txt lists .*b\.jpg twice"):
        read_yolo(tmp_path, "train")


def test_darknets_layout(tmp_path):
    for name in "ba":
        add(tmp_path, f"obj_train_data/{name}.jpg")
    (tmp_path / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    (tmp_path / "obj.names").write_text("ant\nbee\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/b.jpg\ndata/obj_train_data/a.jpg\n")
    assert [record.image_id for record in read_yolo(tmp_path, "train")] == ["b", "a"]
    assert yolo_classes(tmp_path, "train") == ["ant", "bee"]


@pytest.mark.parametrize("folder", ["images/", "", "obj_train_data/"])
def test_images_without_sets_are_dealt(tmp_path, folder, caplog):
    for number in range(30):
        add(tmp_path, f"{folder}{number:03d}.jpg")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    train, test, classes = read_data("yolo", str(tmp_path), train="trainval", test="test")
    assert classes == ["ant", "bee"] and "dealt to train, val and test" in caplog.text
    assert len(train) > len(test) > 0 and len(train) + len(test) == len(read_yolo(tmp_path, "all")) == 30


def test_lists_of_classes_must_agree(tmp_path):
    add(tmp_path, "images/a.jpg")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    (tmp_path / "labels" / "classes.txt").write_text("bee\nant\n")
    with pytest.raises(DataError, match="list different classes; keep one"):
        read_yolo(tmp_path, "all")


def test_without_names_the_classes_must_be_given(tmp_path):
    add(tmp_path, "train/a.jpg")
    assert read_yolo(tmp_path, "train", ["ant", "bee"])[0].labels.tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no names of its classes; write data\.yaml .* or dataset\.classes=\[first"):
        read_yolo(tmp_path, "train")
    with pytest.raises(DataError, match=r"a\.txt: class 1 is not one of the classes ant; correct"):
        read_yolo(tmp_path, "train", ["ant"])


def test_equal_stems_have_paths_for_ids(tmp_path):
    for image in ("images/train/x/a.jpg", "images/train/y/a.jpg", "images/train/b.jpg"):
        add(tmp_path, image)
    (tmp_path / "data.yaml").write_text(YAML)
    assert [record.image_id for record in read_yolo(tmp_path, "train")] == ["b", "images/train/x/a", "images/train/y/a"]
    add(tmp_path, "images/train/b.png")
    with pytest.raises(DataError, match=r"b\.jpg and .*b\.png both have the labels .*b\.txt; keep one"):
        read_yolo(tmp_path, "train")


def test_an_image_in_two_sets_of_a_split_is_an_error(tmp_path):
    two_sets(tmp_path, YAML + "train: images/train\nval: images/train\n")
    with pytest.raises(DataError, match=r"2 images come twice in split trainval, .*a\.jpg among them"):
        read_yolo(tmp_path, "trainval")


def test_missing_labels_are_background_and_counted(tmp_path, caplog):
    two_sets(tmp_path)
    add(tmp_path, "images/train/c.jpg", labels=None)
    add(tmp_path, "images/train/d.jpg", labels="")
    (tmp_path / "labels" / "train" / "z.txt").write_text(LABELS)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("ant\nbee\n")
    (tmp_path / "images" / "train" / "._a.jpg").write_bytes(b"of macOS")
    assert [len(record.boxes) for record in read_yolo(tmp_path, "train")] == [2, 2, 0, 0]
    assert len(caplog.records) == 1
    assert "1 images have no label file, and so no objects: c.jpg" in caplog.text
    assert "1 label files have no image: z.txt" in caplog.text
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(
        DataError, match=r"none of the 4 images of .*images/train has a label file; a\.txt was looked for"
    ):
        read_yolo(tmp_path, "train")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    two_sets(tmp_path)
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read as an image"):
        read_yolo(tmp_path, "train")
    for path in (tmp_path / "images" / "val").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"images/val has no images"):
        read_yolo(tmp_path, "val")


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
        "1 0.4 0.5 0.5 0.375 0.6 0.625\n0 0.1 0.2 0.1 0.1\n",
        LABELS + "0 0.5 0.5 0 0.2\n",
    ],
)
def test_labels_that_mean_the_same(tmp_path, labels):
    add(tmp_path, "images/train/a.jpg", labels)
    (tmp_path / "data.yaml").write_text(YAML)
    (record,) = read_yolo(tmp_path, "train")
    assert record.boxes.tolist() == BOXES and record.labels.tolist() == [1, 0]


def test_what_is_left_out_or_replaced_is_counted_in_one_line(tmp_path, caplog):
    more = LABELS + "0 0.5 0.5 0 0.2\n0 0.1 0.1 0.2 0.1 0.1 0.2\n0 1 1 0.1 0.1\n0 0.999 0.5 0.01 0.5\n"
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
        (b"0 0.5 \xff", "is not text in UTF-8"),
        ("version https://git-lfs.github.com/spec/v1", "the class is 'version'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    labels = b"\n" + LABELS.encode() + (line if isinstance(line, bytes) else line.encode())
    add(tmp_path, "images/train/a.jpg", labels)
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(DataError, match=rf"labels/train/a\.txt(, line 4:)? .*{message}"):
        read_yolo(tmp_path, "train")


def test_corners_instead_of_centres_are_named(tmp_path):
    add(tmp_path, "images/train/a.jpg", "0 0.1 0.2 0.5 0.6\n0 0.6 0.1 0.9 0.3\n1 0.3 0.5 0.4 0.9\n")
    (tmp_path / "data.yaml").write_text(YAML)
    with pytest.raises(DataError, match=r"a\.txt: the boxes are corners x1 y1 x2 y2: .* 2 of 3 would reach outside"):
        read_yolo(tmp_path, "train")


def test_keypoints_after_the_box_are_left_out(tmp_path):
    for shape, keypoints in {"[2, 2]": "0.1 0.1 0.9 0.9", "[2, 3]": "0.1 0.1 2 0.9 0.9 1"}.items():
        add(tmp_path, "images/train/a.jpg", f"1 0.5 0.5 0.2 0.25 {keypoints}\n")
        (tmp_path / "data.yaml").write_text(f"{YAML}kpt_shape: {shape}\n")
        assert read_yolo(tmp_path, "train")[0].boxes.tolist() == BOXES[:1]
