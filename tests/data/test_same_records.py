"""The same images in every layout are read to the same records, and train to the same weights, bit for bit."""

import pytest
import torch

from src.data.datasets import read_data
from src.data.voc import read_voc, voc_classes
from tests.support.exhaustive import EXHAUSTIVE
from tests.support.layouts import LAYOUTS, pictures_of, write_layout
from tests.support.runs import NOT_LOGGED, ONE_STEP, TINY, run_here, same_weights
from tests.support.shared_data import shared_folder

NAMES = {"train": "train", "val": "valid", "test": "test"}  # as other programs call the sets


@pytest.fixture(scope="module")
def bccd():
    """BCCD's pictures by set, and its classes."""
    source = shared_folder("bccd/BCCD")
    classes = voc_classes(source, "trainval+test")
    return {name: pictures_of(read_voc(source, split, classes), classes) for split, name in NAMES.items()}, classes


@pytest.fixture(scope="module")
def expected():
    return read_data("voc", str(shared_folder("bccd/BCCD")), train="trainval", test="test")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.slow
def test_records(tmp_path, layout, bccd, expected):
    splits, classes = bccd
    write_layout(layout, tmp_path / "data", splits, classes)
    actual = read_data("auto", str(tmp_path / "data"), train="trainval", test="test")
    assert actual[2] == expected[2] == classes
    for records, others in zip(actual[:2], expected[:2], strict=True):
        for record, other in zip(records, others, strict=True):
            assert record.path.name == other.path.name
            assert (record.width, record.height) == (other.width, other.height)
            assert torch.equal(record.boxes, other.boxes) and torch.equal(record.labels, other.labels)
            assert torch.equal(record.area, other.area)
            assert torch.equal(record.difficult, other.difficult) and torch.equal(record.crowd, other.crowd)


@pytest.mark.slow
def test_weights(tmp_path, bccd):
    splits, classes = {name: pictures[:8] for name, pictures in bccd[0].items()}, bccd[1]
    runs = {}
    for layout in LAYOUTS if EXHAUSTIVE else ("voc", "yolo"):  # equal records train alike
        root = write_layout(layout, tmp_path / layout, splits, classes)
        overrides = [*TINY, *ONE_STEP, *NOT_LOGGED, f"dataset.root={root}", f"outputs={tmp_path / 'runs' / layout}"]
        runs[layout] = run_here(*overrides)
    assert all(same_weights(run, runs["voc"]) for run in runs.values())
