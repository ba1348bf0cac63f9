"""Hashing images once, and what their files are checked for."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from src.data import image_hashes
from src.data.datasets import read_data
from src.data.image_hashes import hash_images
from src.data.records import DataError
from tests.data.voc_folder import add_image, object_xml


def records_of(root):
    train, test, _ = read_data("voc", str(root), train="train", test="test")
    return train + test


def test_an_image_is_read_again_only_when_it_has_changed(small_set, cache, monkeypatch):
    read = []
    examine = image_hashes.examine_image
    monkeypatch.setattr(image_hashes, "examine_image", lambda record: read.append(record.image_id) or examine(record))
    first = hash_images(records_of(small_set), small_set, workers=0)
    assert sorted(read) == ["a", "b", "c", "d"] and len(first) == 4 and all(len(h) == 32 for h in first.values())
    assert hash_images(records_of(small_set), small_set, workers=3) == first and len(read) == 4
    time.sleep(0.01)
    Image.new("RGB", (100, 80), "red").save(small_set / "JPEGImages/b.jpg")
    os.utime(small_set / "JPEGImages/c.jpg")
    second = hash_images(records_of(small_set), small_set, workers=3)
    assert sorted(read[4:]) == ["b", "c"]
    assert [path.stem for path in first if first[path] != second[path]] == ["b"]
    (file,) = cache.iterdir()
    file.write_text("damaged")
    assert hash_images(records_of(small_set), small_set, workers=3) == second and len(read) == 10


def test_a_cache_that_cannot_be_written_is_reported_in_one_line(small_set, cache, caplog):
    cache.parent.joinpath("ap-loss").write_text("a file")
    assert len(hash_images(records_of(small_set), small_set, workers=1)) == 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages and all("read again" in message for message in messages) and len(messages) <= 2


def test_processes_that_read_at_once_leave_a_whole_cache(small_set, cache):
    records = records_of(small_set)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda part: hash_images(part, small_set, workers=1), [[r] for r in records] * 5))
    assert len(results) == 20
    (file,) = cache.iterdir()
    assert set(json.loads(file.read_text().splitlines()[1])) <= {f"JPEGImages/{name}.jpg" for name in "abcd"}


def test_all_broken_images_are_named_and_the_others_not_read_again(small_set, caplog):
    (small_set / "JPEGImages/b.jpg").write_bytes((small_set / "JPEGImages/b.jpg").read_bytes()[:400])
    rewritten = (small_set / "Annotations/c.xml").read_text().replace("<width>100", "<width>80")
    (small_set / "Annotations/c.xml").write_text(rewritten)
    with pytest.raises(DataError, match=r"b\.jpg.*\. There are faults in 1 more of the 4 images: c"):
        hash_images(records_of(small_set), small_set, workers=2)
    add_image(small_set, "b", object_xml("cat"))
    with pytest.raises(DataError, match=r"c\.jpg has 100×80 pixels"):
        hash_images(records_of(small_set), small_set, workers=2)
    # A right size in the cache does not hide that an annotation gives another one.
    (small_set / "Annotations/c.xml").write_text(rewritten.replace("<width>80", "<width>100"))
    hash_images(records_of(small_set), small_set, workers=2)
    (small_set / "Annotations/c.xml").write_text(rewritten)
    with pytest.raises(DataError, match=r"c\.jpg has 100×80 pixels"):
        hash_images(records_of(small_set), small_set, workers=2)


def test_odd_images_are_named_each_time_in_one_line_for_each_kind(small_set, monkeypatch, caplog):
    odd = {"a": ["holds 3 pages"], "b": ["holds 4 pages", "is transparent"], "c": ["holds 5 pages"]}
    monkeypatch.setattr(image_hashes, "examine_image", lambda record: odd.get(record.image_id, []))
    for _ in range(2):
        caplog.clear()
        hash_images(records_of(small_set), small_set, workers=2)
        first, second = [record.getMessage() for record in caplog.records]
        assert first.endswith("a.jpg holds 3 pages; likewise 2 more images: b.jpg, c.jpg")
        assert second.endswith("b.jpg is transparent")


def test_a_pass_that_is_stopped_goes_on_where_it_was(small_set, cache):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_images(records_of(small_set), small_set, workers=1, check_stop=stop)
    (file,) = cache.iterdir()
    assert len(json.loads(file.read_text().splitlines()[1])) == 2


def test_caches_of_folders_that_are_gone_are_deleted_when_long_unused(small_set, cache, tmp_path):
    cache.mkdir()
    old = time.time() - 30 * 86400
    for name, folder in (("gone", tmp_path / "nowhere"), ("there", tmp_path)):
        file = cache / f"images-{name}.json"
        file.write_text(json.dumps({"version": 1, "root": str(folder)}) + "\n{}\n")
        os.utime(file, (old, old))
    hash_images(records_of(small_set), small_set, workers=1)
    assert not (cache / "images-gone.json").exists() and (cache / "images-there.json").exists()
