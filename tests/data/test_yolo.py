"""Records from folders in YOLO's layouts."""

import os
import shutil

import pytest

from src.data.datasets import read_data
from src.data.records import DataError
from src.data.yolo import read_yolo, yolo_classes
from tests.data.yolo_folder import BOXES, LABELS, YAML, add, two_sets


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
        ("names: [ant, bee]\nnc: null\npath: ~\n", ["ant", "bee"]),
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
        ("names: [ant, [bee]]\n", r"the name of class 1 is .*bee"),
        ("names: {ant: 0}\n", "gives no names of the classes; write them as"),
        ("names: ant bee\n", "gives no names of the classes"),
        ("nc: 2\ntrain: images/train\n", "gives no names of the classes"),
        ("names: []\n", "its names are empty"),
        ("names: {0: ant, 00: bee}\n", "an index of names comes twice"),
        ("names: {0: ant, 0: bee}\n", "the key 0 comes twice"),
        ("names: [ant\n", "cannot be read as YAML"),
        ("names:\n\t- ant\n", "cannot be read as YAML"),
        ("names: [K\u00e4fer]\n".encode("latin-1"), "is not UTF-8"),
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
        ("images/night/images/train", "train: images/night/images/train"),
    ],
)
def test_layouts(tmp_path, images, entries):
    above, last, below = f"{images}/a.jpg".replace("JPEGImages", "images").rpartition("images/")
    add(tmp_path, f"{images}/a.jpg", label_path=above + last.replace("images", "labels") + below)
    (tmp_path / "data.yaml").write_text(f"{YAML}{entries}\n")
    records = read_yolo(tmp_path, "train")
    assert [record.path.resolve() for record in records] == [tmp_path / images / "a.jpg"]
    assert records[0].boxes.tolist() == BOXES


@pytest.mark.parametrize(
    ("images", "labels", "entries"),
    [
        ("Images/train", "Labels/train", ""),
        ("Images/Train", "labels/Train", "train: images/train"),
        ("Train/Images", "Train/LABELS", ""),
        ("Train/images", "Train/Labels", "path: .\ntrain: train/Images"),
    ],
)
def test_the_case_of_folders_does_not_matter(tmp_path, images, labels, entries):
    add(tmp_path, f"{images}/a.jpg", label_path=f"{labels}/a.jpg")
    (tmp_path / "data.yaml").write_text(f"{YAML}{entries}\n")
    [record] = read_yolo(tmp_path, "train")
    assert record.path == tmp_path / images / "a.jpg" and record.boxes.tolist() == BOXES


def test_a_folder_of_many_folders_of_images_is_listed_once_for_their_labels(tmp_path, monkeypatch):
    for video in "abc":
        add(tmp_path, f"images/train/{video}/a.jpg")
    (tmp_path / "data.yaml").write_text(YAML)
    listed, list_folder = [], os.listdir
    monkeypatch.setattr("src.data.listings.os.listdir", lambda path: listed.append(path) or list_folder(path))
    assert len(read_yolo(tmp_path, "train")) == 3
    assert listed.count(tmp_path / "images" / "train") == 1


def test_a_link_below_the_root_is_preferred_to_what_data_yaml_names_elsewhere(tmp_path, caplog):
    two_sets(tmp_path / "old")
    new = two_sets(tmp_path / "new", f"path: ../old\ntrain: images/train\n{YAML}")
    shutil.rmtree(new / "images")
    (new / "images").symlink_to(tmp_path / "old" / "images")
    (new / "labels/train/a.txt").write_text("0 0.5 0.5 0.2 0.25\n")
    assert [record.labels.tolist() for record in read_yolo(new, "train")] == [[0], [1, 0]]
    assert "outside of dataset.root" not in caplog.text


def test_val_and_valid_are_one_and_trainval_is_both(tmp_path):
    for image in ("train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg"):
        add(tmp_path, image)
    (tmp_path / "data.yaml").write_text(f"{YAML}train: ../train/images\nval: ../valid/images\ntest: ../test/images\n")
    for split, ids in {"val": "b", "valid": "b", "trainval": "ab", "test": "c", "train+test": "ac"}.items():
        assert "".join(record.image_id for record in read_yolo(tmp_path, split)) == ids


@pytest.mark.parametrize("value", ["images/test", "./images/test/", "[../images/test]"])
def test_a_folder_that_the_yaml_file_gives_another_set_is_no_set_of_its_own(tmp_path, value):
    two_sets(tmp_path, f"{YAML}train: images/train\nval: {value}\n")
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").rename(tmp_path / kind / "test")
    assert [record.image_id for record in read_yolo(tmp_path, "val")] == ["c"]
    with pytest.raises(DataError, match=r"no set 'test'; its sets are train, val\. Choose with .* dataset\.test=val"):
        read_yolo(tmp_path, "test")


@pytest.mark.parametrize("value", ["", "null", "~"])
def test_a_set_of_null_is_none(tmp_path, value, caplog):
    two_sets(tmp_path)
    (tmp_path / "images" / "val").rename(tmp_path / "images" / "c")
    (tmp_path / "labels" / "val").rename(tmp_path / "labels" / "c")
    (tmp_path / "data.yaml").write_text(f"{YAML}train: images/train\nval: {value}\ntest: images/c\n")
    train, test, _ = read_data("yolo", str(tmp_path), train="trainval", test="test")
    assert [record.image_id for record in train + test] == ["a", "b", "c"]
    assert "has no set val: trainval is train alone" in caplog.text


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


def test_a_name_on_a_list_may_hold_a_line_separator(tmp_path):
    two_sets(tmp_path, YAML + "train: mine.txt\n")
    add(tmp_path, "images/train/d\u2028e.jpg")
    (tmp_path / "mine.txt").write_text("images/train/b.jpg\nimages/train/d\u2028e.jpg\n")
    assert [record.image_id for record in read_yolo(tmp_path, "train")] == ["b", "d\u2028e"]


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
    (tmp_path / "obj.names").write_text("ant\nbee\n")
    for hidden in ("._obj.names", "._data.yaml", "__MACOSX/images/._000.jpg"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hidden).write_bytes(b"\0\x05\x16\x07 of macOS \x80")
    train, test, classes = read_data("yolo", str(tmp_path), train="trainval", test="test")
    assert classes == ["ant", "bee"] and "dealt to train, val and test" in caplog.text
    assert len(train) > len(test) > 0 and len(train) + len(test) == len(read_yolo(tmp_path, "all")) == 30


def test_lists_of_classes_must_agree(tmp_path):
    add(tmp_path, "images/a.jpg")
    (tmp_path / "classes.txt").write_text("ant\nbee\n")
    (tmp_path / "labels" / "classes.txt").write_text("bee\nant\n")
    with pytest.raises(DataError, match="list different classes; keep one"):
        read_yolo(tmp_path, "all")


def test_names_in_another_order_than_the_yaml_files_are_named(tmp_path, caplog):
    add(tmp_path, "images/train/a.jpg")
    (tmp_path / "data.yaml").write_text(YAML)
    for text in ("ant\nbee\n", "bee\nant\ncow\n", b"ant\nbee\xff\n"):
        (tmp_path / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert yolo_classes(tmp_path, "train") == ["ant", "bee"] and not caplog.records
    (tmp_path / "classes.txt").write_text("bee\nant\n")
    assert yolo_classes(tmp_path, "train") == ["ant", "bee"]
    assert "classes.txt lists the names of" in caplog.text and "in another order, bee, ant;" in caplog.text


def test_an_empty_line_in_a_list_of_classes_is_named_as_it_may_shift_their_indexes(tmp_path):
    add(tmp_path, "images/a.jpg")
    for text, line in (("ant\n\nbee\n", 2), ("\nant\nbee\n", 1), ("ant\n \t\r\nbee\n", 2)):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=rf"classes\.txt: line {line} is empty"):
            read_yolo(tmp_path, "all")
    (tmp_path / "classes.txt").write_text("ant\nbee\n\n \n")
    assert yolo_classes(tmp_path, "all") == ["ant", "bee"]


def test_only_ends_of_lines_separate_the_names_of_a_list_of_classes(tmp_path):
    add(tmp_path, "images/a.jpg")
    (tmp_path / "classes.txt").write_bytes("ant\u2028worker\r\nbee\x85\rcow\n".encode())
    (tmp_path / "labels").mkdir(exist_ok=True)
    (tmp_path / "labels" / "classes.txt").write_text("\n")  # an empty list counts for none
    assert yolo_classes(tmp_path, "all") == ["ant\u2028worker", "bee", "cow"]


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
    for suffix in (".jpg", ".png"):  # two images without labels
        add(tmp_path, f"images/train/x/c{suffix}", None)
    assert [record.image_id for record in read_yolo(tmp_path, "train")][2:4] == [
        f"images/train/x/c{s}" for s in (".jpg", ".png")
    ]
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
    for hidden in ("images/train/._a.jpg", "labels/train/._a.txt"):
        (tmp_path / hidden).write_bytes(b"of macOS")
    (tmp_path / "images" / "train" / "circle").symlink_to(tmp_path / "images" / "train")
    assert [len(record.boxes) for record in read_yolo(tmp_path, "train")] == [2, 2, 0, 0]
    assert len(caplog.records) == 1
    assert "1 images have no label file, and so no objects: c.jpg" in caplog.text
    assert "1 label files have no image: z.txt" in caplog.text
    shutil.rmtree(tmp_path / "labels")
    with pytest.raises(
        DataError, match=r"none of the 4 images of .*images/train has a label file; a\.txt was looked for"
    ):
        read_yolo(tmp_path, "train")


def test_a_file_name_that_is_not_utf_8_is_named(tmp_path):
    two_sets(tmp_path)
    source = bytes(tmp_path / "images" / "val" / "c.jpg")
    shutil.copyfile(source, source.replace(b"c.jpg", b"K\xe4fer.jpg"))
    with pytest.raises(DataError, match=r"images/val has files whose names are not UTF-8: .*K.*xe4fer\.jpg; rename"):
        read_yolo(tmp_path, "val")


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    two_sets(tmp_path)
    (tmp_path / "images" / "train" / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read as an image.* off the split's list$"):
        read_yolo(tmp_path, "train")
    (tmp_path / "images" / "train" / "b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg cannot be .*\. There are faults in 1 more of the 2 images: b\.jpg$"):
        read_yolo(tmp_path, "train")
    for path in (tmp_path / "images" / "val").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"images/val has no images"):
        read_yolo(tmp_path, "val")
