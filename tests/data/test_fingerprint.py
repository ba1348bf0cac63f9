"""Telling data sets apart, and saying in what they differ."""

import dataclasses
import json
import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.data import image_hashes
from src.data.datasets import read_data
from src.data.fingerprint import describe, differences, fingerprint_of_version_01
from src.data.image_hashes import hash_images
from src.data.quick_look import look_at
from src.data.records import DataError, make_record
from src.data.run_data import DataChanged, compare_data, describe_data, take_look
from tests.data.voc_folder import add_image, add_list, object_xml


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The folder of the cache, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return Path(os.environ["XDG_CACHE_HOME"], "ap-loss")


@pytest.fixture
def root(tmp_path):
    """A data set of three training images and one test image."""
    for name in ("a", "b", "c", "d"):
        add_image(tmp_path / "set", name, object_xml("cat"), object_xml("dog", (1, 1, 50, 50)))
    add_list(tmp_path / "set", "train", "a", "b", "c")
    add_list(tmp_path / "set", "test", "d")
    return tmp_path / "set"


def dataset_of(root):
    return {"format": "voc", "root": str(root), "train": "train", "test": "test", "classes": None}


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


# -------------------------------------------------------------------------------------------------- the fingerprint

RECORD = make_record("a", "a.jpg", (90, 80), boxes=[(1, 2, 30, 40), (5, 6, 70, 80)], labels=[0, 1])
YES_NO = torch.tensor([True, False])
VARIANTS = {
    "the size": {"width": 91},
    "boxes": {"boxes": RECORD.boxes + torch.tensor([0.0, 0, 0, 0.5])},
    "class labels": {"labels": torch.tensor([1, 0])},
    "difficult or crowd flags": {"difficult": YES_NO},
    "areas": {"area": RECORD.area + 1},
}


def described(*records, classes=("cat", "dog"), hashes="00"):
    facts, images = describe(records, [RECORD], classes, {RECORD.path: hashes})
    return {**facts, "details": {"images": images}}


@pytest.mark.parametrize("what", VARIANTS)
def test_whatever_decides_numbers_changes_the_fingerprint_and_is_named(what):
    before, after = described(RECORD), described(dataclasses.replace(RECORD, **VARIANTS[what]))
    assert before["fingerprint"] != after["fingerprint"]
    assert differences(before, after) == f"{what} of 1 training image (a)"
    differing = [part for part in before["parts"] if before["parts"][part] != after["parts"][part]]
    assert len(differing) == 1


def test_crowds_and_difficult_objects_are_told_apart():
    flagged = [dataclasses.replace(RECORD, **{flag: YES_NO}) for flag in ("difficult", "crowd")]
    assert len({described(record)["fingerprint"] for record in (RECORD, *flagged)}) == 3


def test_pixels_classes_and_the_list_of_images_count():
    before = described(RECORD)
    other = dataclasses.replace(RECORD, image_id="b")
    cases = {
        "the picture of 1 training image (a); the picture of 1 test image (a)": described(RECORD, hashes="01"),
        "the class names (dog → horse)": described(RECORD, classes=("cat", "horse")),
        "the order of the classes (now dog, cat)": described(RECORD, classes=("dog", "cat")),
        "the classes (new: cow)": described(RECORD, classes=("cat", "dog", "cow")),
        "1 training image is new (b)": described(RECORD, other),
        "1 training image is new (b); 1 training image is gone (a)": described(other),
    }
    for words, after in cases.items():
        assert after["fingerprint"] != before["fingerprint"] and differences(before, after) == words
    swapped = described(RECORD, other), described(other, RECORD)
    assert differences(*swapped) == "the order of the training images"
    assert swapped[0]["fingerprint"] != swapped[1]["fingerprint"]


def test_many_images_are_counted_and_the_first_named():
    records = [dataclasses.replace(RECORD, image_id=number) for number in range(12)]
    moved = [dataclasses.replace(record, boxes=record.boxes + 1) for record in records]
    words = differences(described(*records), described(*records[:1], *moved[1:]))
    assert words == "boxes of 11 training images (1, 2, 3, …)"


def test_the_same_data_elsewhere_are_the_same():
    moved = dataclasses.replace(RECORD, path=Path("there/a.jpg"))
    there, _ = describe([moved], [moved], ["cat"], {moved.path: "00"})
    here, _ = describe([RECORD], [RECORD], ["cat"], {RECORD.path: "00"})
    assert here == there


# --------------------------------------------------------------------------------------------------- the quick look


def test_a_look_changes_with_any_file_and_with_nothing_else(tmp_path):
    def look():
        return look_at(tmp_path / "set", tmp_path / "set/outputs")

    file = tmp_path / "set/images/a.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/images/loop").symlink_to(tmp_path / "set")
    looks = [look()]
    times = file.stat()
    changes = [
        lambda: file.write_text("b"),
        lambda: (file.write_text("c"), os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))),  # as `cp -p` does
        lambda: (tmp_path / "set/images/b.jpg").write_text("b"),
        lambda: (tmp_path / "set/images/b.jpg").rename(tmp_path / "set/images/c.jpg"),
        lambda: (tmp_path / "set/images/c.jpg").unlink(),
        lambda: (tmp_path / "elsewhere").mkdir(),
        lambda: (tmp_path / "elsewhere/d.xml").write_text("d"),
    ]
    for change in changes:
        time.sleep(0.01)  # file systems' clocks tick
        change()
        looks.append(look())
    assert all(before != after for before, after in pairwise(looks))
    assert looks[2] == looks[5]  # nothing differs from before b.jpg came
    (tmp_path / "set/outputs").mkdir()
    for name in ("outputs/log", ".hidden"):
        (tmp_path / "set" / name).write_text("x")
    assert look() == looks[-1]


# ------------------------------------------------------------------------------------------------- hashes of images


def records_of(root):
    train, test, _ = read_data("voc", str(root), train="train", test="test")
    return train + test


def test_an_image_is_read_again_only_when_it_has_changed(root, cache, monkeypatch):
    read = []
    examine = image_hashes.examine_image
    monkeypatch.setattr(image_hashes, "examine_image", lambda record: read.append(record.image_id) or examine(record))
    first = hash_images(records_of(root), root, workers=0)
    assert sorted(read) == ["a", "b", "c", "d"] and len(first) == 4 and all(len(h) == 32 for h in first.values())
    assert hash_images(records_of(root), root, workers=3) == first and len(read) == 4
    time.sleep(0.01)
    Image.new("RGB", (100, 80), "red").save(root / "JPEGImages/b.jpg")
    os.utime(root / "JPEGImages/c.jpg")
    second = hash_images(records_of(root), root, workers=3)
    assert sorted(read[4:]) == ["b", "c"]
    assert [path.stem for path in first if first[path] != second[path]] == ["b"]
    (file,) = cache.iterdir()
    file.write_text("damaged")
    assert hash_images(records_of(root), root, workers=3) == second and len(read) == 10


def test_a_cache_that_cannot_be_written_is_reported_in_one_line(root, cache, caplog):
    cache.parent.joinpath("ap-loss").write_text("a file")
    assert len(hash_images(records_of(root), root, workers=1)) == 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages and all("read again" in message for message in messages) and len(messages) <= 2


def test_processes_that_read_at_once_leave_a_whole_cache(root, cache):
    records = records_of(root)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda part: hash_images(part, root, workers=1), [[r] for r in records] * 5))
    assert len(results) == 20
    (file,) = cache.iterdir()
    assert set(json.loads(file.read_text().splitlines()[1])) <= {f"JPEGImages/{name}.jpg" for name in "abcd"}


def test_all_broken_images_are_named_and_the_others_not_read_again(root, caplog):
    (root / "JPEGImages/b.jpg").write_bytes((root / "JPEGImages/b.jpg").read_bytes()[:400])
    rewritten = (root / "Annotations/c.xml").read_text().replace("<width>100", "<width>80")
    (root / "Annotations/c.xml").write_text(rewritten)
    with pytest.raises(DataError, match=r"b\.jpg.*1 more of the 4 images: c"):
        hash_images(records_of(root), root, workers=2)
    add_image(root, "b", object_xml("cat"))
    with pytest.raises(DataError, match=r"c\.jpg has 100×80 pixels"):
        hash_images(records_of(root), root, workers=2)
    # A right size in the cache does not hide that an annotation gives another one.
    (root / "Annotations/c.xml").write_text(rewritten.replace("<width>80", "<width>100"))
    hash_images(records_of(root), root, workers=2)
    (root / "Annotations/c.xml").write_text(rewritten)
    with pytest.raises(DataError, match=r"c\.jpg has 100×80 pixels"):
        hash_images(records_of(root), root, workers=2)


def test_odd_images_are_named_each_time_in_one_line_for_each_kind(root, monkeypatch, caplog):
    odd = {"a": ["holds 3 pages"], "b": ["holds 4 pages", "is transparent"], "c": ["holds 5 pages"]}
    monkeypatch.setattr(image_hashes, "examine_image", lambda record: odd.get(record.image_id, []))
    for _ in range(2):
        caplog.clear()
        hash_images(records_of(root), root, workers=2)
        first, second = [record.getMessage() for record in caplog.records]
        assert first.endswith("a.jpg holds 3 pages; likewise 2 more images: b.jpg, c.jpg")
        assert second.endswith("b.jpg is transparent")


def test_a_pass_that_is_stopped_goes_on_where_it_was(root, cache):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_images(records_of(root), root, workers=1, check_stop=stop)
    (file,) = cache.iterdir()
    assert len(json.loads(file.read_text().splitlines()[1])) == 2


def test_caches_of_folders_that_are_gone_are_deleted_when_long_unused(root, cache, tmp_path):
    cache.mkdir()
    old = time.time() - 30 * 86400
    for name, folder in (("gone", tmp_path / "nowhere"), ("there", tmp_path)):
        file = cache / f"images-{name}.json"
        file.write_text(json.dumps({"version": 1, "root": str(folder)}) + "\n{}\n")
        os.utime(file, (old, old))
    hash_images(records_of(root), root, workers=1)
    assert not (cache / "images-gone.json").exists() and (cache / "images-there.json").exists()


# ------------------------------------------------------------------------------------------- a run's folder and data


def test_unchanged_data_are_looked_at_and_not_read(root, tmp_path, monkeypatch):
    note(root, tmp_path / "outputs/run")
    monkeypatch.setattr("src.data.datasets.read_data", None)
    assert compare(root, tmp_path / "outputs/run") is None
    root.rename(tmp_path / "moved")
    assert compare(tmp_path / "moved", tmp_path / "outputs/run") is None


def test_other_times_alone_refresh_the_look(root, tmp_path):
    directory = tmp_path / "outputs/run"
    noted = note(root, directory)
    os.utime(root / "Annotations/a.xml")
    refreshed = compare(root, directory)
    assert refreshed["fingerprint"] == noted["fingerprint"] and refreshed["details"]["look"] != noted["details"]["look"]
    (directory / "data.json").write_text(json.dumps(refreshed))
    assert compare(root, directory) is None


def test_corrected_data_are_named_with_how_to_go_on(root, tmp_path):
    directory = tmp_path / "outputs/run"
    noted = note(root, directory)
    rewrite(root, "a", object_xml("cat", (11, 21, 33, 40)), object_xml("dog", (1, 1, 50, 50)))
    with pytest.raises(DataChanged, match=r"boxes of 1 training image \(a\).*retry=true.*dataset\.name=NAME") as caught:
        compare(root, directory)
    assert caught.value.noted == noted["fingerprint"]
    rewrite(root, "a", object_xml("cat"), object_xml("dog", (1, 1, 50, 50)))
    assert compare(root, directory)["fingerprint"] == noted["fingerprint"]


def test_data_that_were_changed_and_are_wrong_now_are_reported(root, tmp_path):
    note(root, tmp_path / "outputs/run")
    (root / "Annotations/a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"have been changed.*a\.xml"):
        compare(root, tmp_path / "outputs/run")


def test_data_that_are_gone_leave_a_run_finished(root, tmp_path, caplog):
    note(root, tmp_path / "outputs/run")
    root.rename(tmp_path / "moved")
    assert compare(root, tmp_path / "outputs/run") is None
    assert "could not be compared" in caplog.text and str(root) in caplog.text


def test_folders_outside_the_data_sets_are_looked_at_too(root, tmp_path):
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    (root / "JPEGImages").symlink_to(tmp_path / "elsewhere")
    note(root, tmp_path / "outputs/run")
    assert compare(root, tmp_path / "outputs/run") is None
    Image.new("RGB", (100, 80), "red").save(tmp_path / "elsewhere/a.jpg")
    with pytest.raises(DataChanged, match=r"the picture of 1 training image \(a\)"):
        compare(root, tmp_path / "outputs/run")


def test_yolos_labels_are_looked_at_where_its_images_are(root, tmp_path):
    yolo, directory = tmp_path / "yolo", tmp_path / "outputs/run"
    (yolo / "labels").mkdir(parents=True)
    shutil.copytree(root / "JPEGImages", yolo / "images/train")
    records = [dataclasses.replace(r, path=yolo / "images/train" / r.path.name) for r in records_of(root)]
    data = (records[:3], records[3:], ["cat", "dog"])
    dataset, outputs = dataset_of(root), str(tmp_path / "outputs")
    look = take_look(dataset, outputs)
    content = describe_data(dataset, data, look, outputs=outputs, workers=1, check_stop=lambda: None)
    assert content["details"]["look"].keys() == {"", str(yolo)}
    directory.mkdir(parents=True)
    (directory / "data.json").write_text(json.dumps(content))
    assert compare(root, directory) is None
    (yolo / "labels/a.txt").write_text("0 0.5 0.5 1 1")
    assert compare(root, directory) is not None


def test_what_version_01_noted_is_compared_as_it_was_and_upgraded(root, tmp_path):
    directory = tmp_path / "outputs/run"
    facts = {"root": str(root), "train": 3, "test": 1, "classes": ["cat", "dog"]}
    facts["fingerprint"] = fingerprint_of_version_01(records_of(root))
    directory.mkdir(parents=True)
    (directory / "data.json").write_text(json.dumps(facts))
    upgraded = compare(root, directory)
    assert upgraded["parts"] and upgraded == note(root, tmp_path / "outputs/other")
    (directory / "data.json").write_text(json.dumps({**facts, "fingerprint": "0" * 16}))
    with pytest.raises(DataChanged, match="images or annotations, of which no details were noted"):
        compare(root, directory)


def test_the_fingerprint_of_version_01_is_what_it_was():
    record = make_record("a", "a.jpg", (9, 9), boxes=[[1, 2, 3, 4]], labels=[0])
    assert fingerprint_of_version_01([record]) == "be4393b34f2e5b17"


def test_the_runs_of_a_sweep_read_changed_data_once(root, tmp_path, caplog):
    runs = [tmp_path / "outputs" / name for name in ("one", "two", "three")]
    for run in runs:
        note(root, run)
    rewrite(root, "a")  # left out of training, with one line each time the data are read
    caplog.set_level(logging.INFO)
    for run in runs:
        with pytest.raises(DataChanged, match=r"1 training image is gone \(a\)"):
            compare(root, run)
    assert caplog.text.count("hold no box to train on") == 1
