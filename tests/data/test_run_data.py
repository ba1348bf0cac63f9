"""Whether a run's folder and the data set as it is belong together."""

import dataclasses
import json
import logging
import os
import shutil

import pytest
from PIL import Image

from src.data.datasets import read_data
from src.data.fingerprint import fingerprint_of_version_01
from src.data.records import DataError
from src.data.run_data import DataChanged, compare_data, describe_data, take_look
from tests.data.voc_folder import object_xml


def dataset_of(root):
    splits = {"train": "train", "test": "test"}
    return {"format": "voc", "root": str(root), **splits, "classes": None, "classes_as_one": False}


def note(root, directory):
    """Write the data.json of a run on a data set, as training does, and return its content."""
    dataset, outputs = dataset_of(root), str(directory.parent)
    look = take_look(dataset, outputs)
    data = read_data("voc", str(root), train="train", test="test")
    content = describe_data(dataset, data, look, outputs=outputs, workers=2, check_stop=lambda: None)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "data.json").write_text(json.dumps(content))
    return content


def compare(root, directory):
    return compare_data(directory, dataset_of(root), outputs=str(directory.parent), workers=2)


def rewrite(root, name, *objects):
    file = root / "Annotations" / f"{name}.xml"
    size = "<size><width>100</width><height>80</height></size>"
    file.write_text(f"<annotation>{size}{''.join(objects)}</annotation>")


def records_of(root):
    train, test, _ = read_data("voc", str(root), train="train", test="test")
    return train + test


def test_test_images_that_are_copies_of_training_images_are_named(small_set, tmp_path, caplog):
    images = small_set / "JPEGImages"
    for number, name in enumerate("abcd"):
        Image.new("RGB", (100, 80), (0, 60 * number, 0)).save(images / f"{name}.jpg")
    note(small_set, tmp_path / "outputs/run")
    assert "copies" not in caplog.text
    shutil.copy(images / "a.jpg", images / "d.jpg")
    note(small_set, tmp_path / "outputs/run")
    assert "1 of 1 test images are copies of training images, so that AP" in caplog.text
    assert caplog.text.rstrip().endswith("d.jpg = a.jpg")


def test_unchanged_data_are_looked_at_and_not_read(small_set, tmp_path, monkeypatch):
    note(small_set, tmp_path / "outputs/run")
    monkeypatch.setattr("src.data.datasets.read_data", None)
    assert compare(small_set, tmp_path / "outputs/run") is None
    small_set.rename(tmp_path / "moved")
    assert compare(tmp_path / "moved", tmp_path / "outputs/run") is None


def test_other_times_alone_refresh_the_look(small_set, tmp_path):
    directory = tmp_path / "outputs/run"
    noted = note(small_set, directory)
    os.utime(small_set / "Annotations/a.xml")
    refreshed = compare(small_set, directory)
    assert refreshed["fingerprint"] == noted["fingerprint"] and refreshed["details"]["look"] != noted["details"]["look"]
    (directory / "data.json").write_text(json.dumps(refreshed))
    assert compare(small_set, directory) is None


def test_corrected_data_are_named_with_how_to_go_on(small_set, tmp_path):
    directory = tmp_path / "outputs/run"
    noted = note(small_set, directory)
    rewrite(small_set, "a", object_xml("cat", (11, 21, 33, 40)), object_xml("dog", (1, 1, 50, 50)))
    with pytest.raises(DataChanged, match=r"boxes of 1 training image \(a\).*retry=true.*dataset\.name=NAME") as caught:
        compare(small_set, directory)
    assert caught.value.noted == {"fingerprint": noted["fingerprint"]}
    rewrite(small_set, "a", object_xml("cat"), object_xml("dog", (1, 1, 50, 50)))
    assert compare(small_set, directory)["fingerprint"] == noted["fingerprint"]


def test_data_that_were_changed_and_are_wrong_now_are_reported(small_set, tmp_path):
    note(small_set, tmp_path / "outputs/run")
    (small_set / "Annotations/a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"have been changed.*a\.xml"):
        compare(small_set, tmp_path / "outputs/run")


def test_data_that_are_gone_leave_a_run_finished(small_set, tmp_path, caplog):
    note(small_set, tmp_path / "outputs/run")
    small_set.rename(tmp_path / "moved")
    assert compare(small_set, tmp_path / "outputs/run") is None
    assert "could not be compared" in caplog.text and str(small_set) in caplog.text


def test_folders_outside_the_data_sets_are_looked_at_too(small_set, tmp_path):
    (small_set / "JPEGImages").rename(tmp_path / "elsewhere")
    (small_set / "JPEGImages").symlink_to(tmp_path / "elsewhere")
    note(small_set, tmp_path / "outputs/run")
    assert compare(small_set, tmp_path / "outputs/run") is None
    Image.new("RGB", (100, 80), "red").save(tmp_path / "elsewhere/a.jpg")
    with pytest.raises(DataChanged, match=r"the picture of 1 training image \(a\)"):
        compare(small_set, tmp_path / "outputs/run")


def test_yolos_labels_are_looked_at_where_its_images_are(small_set, tmp_path):
    yolo, directory = tmp_path / "yolo", tmp_path / "outputs/run"
    (yolo / "labels").mkdir(parents=True)
    shutil.copytree(small_set / "JPEGImages", yolo / "images/train")
    records = [dataclasses.replace(r, path=yolo / "images/train" / r.path.name) for r in records_of(small_set)]
    data = (records[:3], records[3:], ["cat", "dog"])
    dataset, outputs = dataset_of(small_set), str(tmp_path / "outputs")
    look = take_look(dataset, outputs)
    content = describe_data(dataset, data, look, outputs=outputs, workers=1, check_stop=lambda: None)
    assert content["details"]["look"].keys() == {"", str(yolo)}
    directory.mkdir(parents=True)
    (directory / "data.json").write_text(json.dumps(content))
    assert compare(small_set, directory) is None
    (yolo / "labels/a.txt").write_text("0 0.5 0.5 1 1")
    assert compare(small_set, directory) is not None


def test_what_version_01_noted_is_compared_as_it_was_and_upgraded(small_set, tmp_path):
    directory = tmp_path / "outputs/run"
    facts = {"root": str(small_set), "train": 3, "test": 1, "classes": ["cat", "dog"]}
    facts["fingerprint"] = fingerprint_of_version_01(records_of(small_set))
    directory.mkdir(parents=True)
    (directory / "data.json").write_text(json.dumps(facts))
    upgraded = compare(small_set, directory)
    assert upgraded["parts"] and upgraded == note(small_set, tmp_path / "outputs/other")
    (directory / "data.json").write_text(json.dumps({**facts, "fingerprint": "0" * 16}))
    with pytest.raises(DataChanged, match="images or annotations, of which no details were noted"):
        compare(small_set, directory)


def test_the_runs_of_a_sweep_read_changed_data_once(small_set, tmp_path, caplog):
    runs = [tmp_path / "outputs" / name for name in ("one", "two", "three")]
    for run in runs:
        note(small_set, run)
    rewrite(small_set, "a")  # left out of training, with one line each time the data are read
    caplog.set_level(logging.INFO)
    for run in runs:
        with pytest.raises(DataChanged, match=r"1 training image is gone \(a\)"):
            compare(small_set, run)
    assert caplog.text.count("hold no box to train on") == 1
