"""Pictures of detections."""

import io

import pytest
import torch
from PIL import Image

from src.data.records import make_record
from src.detectors.detections import Detections
from src.evaluation.drawing import draw_detections, evenly_spaced


@pytest.fixture
def record(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    return make_record("$a$", tmp_path / "a.png", (60, 40), boxes=[[5, 5, 20, 20], [30, 10, 50, 30]], labels=[0, 1])


def detections():
    boxes = torch.tensor([[5, 5, 21, 20], [30, 11, 50, 30], [0, 0, 9, 9.0]])
    return Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0]))


def test_each_image_shows_as_many_of_its_best_detections_as_it_has_objects(record):
    figure = draw_detections([record] * 5, [detections()] * 5, ["cat", "dog"])
    assert len(figure.axes) == 5
    for axes in figure.axes:
        assert [text.get_text() for text in axes.texts] == ["cat 0.90", "dog 0.80"]
        assert len(axes.patches) == 4


def test_names_with_dollar_signs_are_no_formulas(record):
    figure = draw_detections([record], [detections()], ["$\\nonsense{$", "$100"])
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    assert axes.texts[0].get_text() == "$\\nonsense{$ 0.90"


def test_items_are_evenly_spaced():
    items = list(range(10))
    assert evenly_spaced(items, 3) == [0, 3, 6]
    assert evenly_spaced(items, 20) == items
    assert evenly_spaced([], 3) == evenly_spaced(items, 0) == []
