"""The built-in data set."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from src.config.validate import resolve
from src.data import shapes
from src.data.records import DataError
from src.data.shapes import ensure_shapes
from src.data.shapes_drawing import MAX_OBJECTS, OUTLINES, SIDES, draw_image
from src.data.voc import read_voc, voc_classes
from src.utils import paths
from tests.support.configurations import make_config

FEW = {"train": 5, "val": 2, "test": 3}
SOME = {"train": 30, "val": 2, "test": 30}


def files(root):
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def start_drawing(root, counts, processes=None):
    """Start a process that draws the set into a folder."""
    call = f"ensure_shapes({str(root)!r}, counts={counts}, processes={processes})"
    command = [sys.executable, "-c", f"from src.data.shapes import ensure_shapes; {call}"]
    return subprocess.Popen(command, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def shapes_folder(tmp_path_factory):
    return ensure_shapes(tmp_path_factory.mktemp("shapes") / "some", counts=SOME, processes=1)


def test_the_set_has_images_annotations_lists_and_a_version(tmp_path):
    root = ensure_shapes(tmp_path / "deep" / "shapes", counts=FEW)
    contents = files(root)
    assert root == tmp_path / "deep" / "shapes"
    assert len(contents) == 10 + 10 + 4 + 1
    assert contents["version.txt"].decode() == f"shapes version {shapes.VERSION}: 5 train, 2 val, 3 test\n"
    lists = {name: contents[f"ImageSets/Main/{name}.txt"] for name in ("train", "val", "trainval")}
    assert lists["trainval"] == lists["train"] + lists["val"]
    assert [path.name for path in root.parent.iterdir()] == ["shapes"]


@pytest.mark.slow
def test_the_same_bytes_by_one_process_and_by_two(tmp_path):
    one = files(ensure_shapes(tmp_path / "one", counts=FEW, processes=1))
    two = files(ensure_shapes(tmp_path / "two", counts=FEW, processes=2))
    assert one == two
    images = [content for name, content in one.items() if name.startswith("JPEGImages")]
    assert len(set(images)) == 10


def test_a_complete_set_is_left_alone(tmp_path):
    root = ensure_shapes(tmp_path / "shapes", counts=FEW)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    ensure_shapes(root, counts=FEW)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.slow
def test_objects_vary_in_number_size_and_visibility(shapes_folder, caplog):
    with caplog.at_level(logging.WARNING):
        records = read_voc(shapes_folder, "train+test")
    assert not caplog.records
    counts = [len(record.boxes) for record in records]
    assert min(counts) == 1 and max(counts) <= MAX_OBJECTS and max(counts) >= 8
    sides = torch.cat([record.boxes for record in records])
    sides = (sides[:, 2:] - sides[:, :2]).max(dim=1).values
    assert SIDES[1] >= 10 * SIDES[0]
    assert sides.max() >= 7 * sides.min() and sides.max() <= SIDES[1] + 2  # few images hardly reach the tails
    assert 0.2 < (sides < 32).float().mean() < 0.6
    difficult = torch.cat([record.difficult for record in records]).float().mean()
    truncated = [xml.read_text().count("<truncated>1") for xml in (shapes_folder / "Annotations").iterdir()]
    assert 0 < difficult < 0.1 and 0.03 < sum(truncated) / sum(counts) < 0.3


@pytest.mark.slow
def test_images_have_the_annotated_size_and_are_small(shapes_folder):
    for record in read_voc(shapes_folder, "val+test"):
        with Image.open(record.path) as image:
            assert image.size == (record.width, record.height) and image.mode == "RGB"
        assert min(record.width, record.height) >= 150 and max(record.width, record.height) <= 224


def test_train_and_test_have_all_classes(shapes_folder):
    assert len(OUTLINES) == 10
    assert voc_classes(shapes_folder, "train") == voc_classes(shapes_folder, "test") == sorted(OUTLINES)


@pytest.mark.slow
def test_boxes_are_tight_and_difficult_means_hidden():
    unhidden = 0
    for seed in range(40):
        image, objects = draw_image(np.random.default_rng(seed))
        assert 1 <= len(objects) <= MAX_OBJECTS and image.dtype == np.uint8
        for shape in objects:
            xmin, ymin, xmax, ymax = shape.corners
            assert 1 <= xmin < xmax <= image.shape[1] and 1 <= ymin < ymax <= image.shape[0]
            outside = shape.visible.copy()
            outside[ymin - 1 : ymax, xmin - 1 : xmax] = 0
            assert outside.max() <= 0.3
            assert shape.visible_fraction() >= 0.05
            assert shape.difficult == (shape.visible_fraction() < 0.25)
        # The last object, where no distractor lies over it either, meets every edge of its box.
        if objects[-1].visible_fraction() * objects[-1].whole > 0.999 * objects[-1].inside:
            unhidden += 1
            shown = objects[-1].visible > 0.3
            rows, columns = np.flatnonzero(shown.any(1)) + 1, np.flatnonzero(shown.any(0)) + 1
            assert objects[-1].corners == (columns[0], rows[0], columns[-1], rows[-1])
    assert unhidden >= 10


@pytest.mark.slow
def test_an_interrupted_call_leaves_nothing_and_can_be_repeated(tmp_path):
    root = tmp_path / "shapes"
    many = {"train": 100_000, "val": 1, "test": 1}
    process = start_drawing(root, many, processes=1)
    while not list(tmp_path.glob(".shapes.unfinished-*/JPEGImages/*.jpg")):
        assert process.poll() is None
        time.sleep(0.01)
    errors = ""
    for _ in range(4):  # Python drops an interrupt that comes while it runs a destructor
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _, errors = process.communicate(timeout=30)
            break
    assert process.returncode and "KeyboardInterrupt" in errors
    assert list(tmp_path.iterdir()) == []
    assert len(read_voc(ensure_shapes(root, counts=FEW), "all")) == 10


def test_remains_of_a_killed_process_do_not_matter(tmp_path):
    (tmp_path / ".shapes.unfinished-0" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "shapes").mkdir()
    assert len(read_voc(ensure_shapes(tmp_path / "shapes", counts=FEW), "all")) == 10


def test_remains_of_a_killed_process_are_removed_after_a_day(tmp_path):
    old, new = (tmp_path / f".some [shapes].unfinished-{name}" for name in ("old", "new"))
    others = [tmp_path / ".shapes.unfinished-old", tmp_path / ".other [shapes].unfinished-old"]
    for _ in range(2):  # before the set is drawn, and once it is there
        for folder in (old, new, *others):
            (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
            os.utime(folder, (0, time.time() - (60 if folder == new else 90_000)))
        root = ensure_shapes(tmp_path / "some [shapes]", counts=FEW)
        assert sorted(tmp_path.iterdir()) == sorted([root, new, *others])


def test_another_version_is_refused(tmp_path):
    root = ensure_shapes(tmp_path / "shapes", counts=FEW)
    before = files(root)
    with pytest.raises(DataError, match="6 train.*5 train.*delete it.*or choose another dataset.root"):
        ensure_shapes(root, counts={**FEW, "train": 6})
    assert files(root) == before
    marker = root / "version.txt"
    marker.write_text(marker.read_text().replace(f"version {shapes.VERSION}", f"version {shapes.VERSION + 1}"))
    with pytest.raises(DataError, match="delete it"):
        ensure_shapes(root, counts=FEW)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="no version.txt"):
        ensure_shapes(tmp_path, counts=FEW)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_the_loser_of_a_race_takes_the_winners_set(tmp_path, monkeypatch):
    root, draw_all = tmp_path / "shapes", shapes._draw_all

    def overtaken(unfinished, counts, processes):
        draw_all(unfinished, counts, processes)
        monkeypatch.undo()
        ensure_shapes(root, counts=counts)
        (root / "winner").touch()

    monkeypatch.setattr(shapes, "_draw_all", overtaken)
    assert ensure_shapes(root, counts=FEW) == root
    assert (root / "winner").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


@pytest.mark.slow
def test_of_two_processes_at_once_one_provides_the_set(tmp_path):
    root = tmp_path / "shapes"
    for process in [start_drawing(root, FEW) for _ in range(2)]:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
    assert len(read_voc(root, "all")) == 10


def test_each_version_has_a_separate_folder():
    assert resolve(make_config("dataset=shapes")).dataset.root.endswith(f"shapes-{shapes.VERSION}")
