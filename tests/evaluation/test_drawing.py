"""Pictures of detections and of training samples."""

import io
import warnings

import matplotlib
import pytest
import torch
from PIL import Image

from src.data.records import make_record
from src.detectors.detections import Detections
from src.evaluation.drawing import Sample, draw_detections, draw_samples, evenly_spaced, write_png

# Names of classes as people's files have them.
NAMES = [
    "ca$$h",
    "$\\nonsense{$",
    "a_b^c",
    "<b>&amp;",
    "100%",
    "\"quoted\" 'name'",
    "back\\slash",
    "{brace",
    "数字",
    "😀 emoji",
    "two\nlines\t",
    "\x1b[31mred\x00",
    "half \ud83d pair",
    "عربي",
    "x" * 300,
]


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


def test_a_sample_shows_its_boxes_and_its_positive_anchors():
    image, boxes = torch.full((3, 64, 64), 200, dtype=torch.uint8), torch.tensor([[5, 5, 20, 20], [30, 10, 50, 30.0]])
    anchors = torch.tensor([[-9, -9, 22, 22], [0, 0, 30, 30], [28, 8, 90, 40.0]])
    sample = Sample("a", image, boxes, torch.tensor([1, 0]), anchors)
    nothing = Sample("b", image, boxes[:0], torch.zeros(0, dtype=torch.int64), anchors[:0])
    first, second = draw_samples([sample, nothing], ["cat", "dog"]).axes
    assert [text.get_text() for text in first.texts] == ["dog", "cat"] and not second.texts
    assert len(first.patches) == 2 and {len(drawn.get_paths()) for drawn in first.collections} == {3}
    assert first.get_xlim() == (-0.5, 63.5) and first.get_ylim() == (63.5, -0.5)  # the anchors do not widen it


def test_names_of_any_characters_are_drawn_without_a_flood_of_warnings(record, tmp_path, caplog):
    record = make_record("x" * 200, record.path, (60, 40), [[5, 5, 20, 20]] * len(NAMES), list(range(len(NAMES))))
    count = len(NAMES)
    found = Detections(record.boxes, torch.linspace(1, 0.5, count), torch.arange(count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_png(tmp_path / "all.png", lambda: draw_detections([record], [found], NAMES))
    assert Image.open(tmp_path / "all.png").width == 440
    assert len(caplog.messages) <= 1


def test_names_are_shown_in_one_line_and_are_no_formulas(record):
    found = Detections(torch.zeros(2, 4), torch.ones(2), torch.tensor([0, 1]))
    figure = draw_detections([record], [found], ["$\\nonsense{$", "two\nlines\x1b[31m"])
    figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["$\\nonsense{$ 1.00", "two lines�[31m 1.00"]
    assert axes.get_title() == "$a$"


def test_characters_that_no_font_has_are_named_in_one_line(record, tmp_path, caplog):
    found = Detections(record.boxes, torch.ones(2), torch.tensor([0, 1]))
    names = ["\U000e0fff\U0001fae8", "\U0001fae8 \U000e0ffe"]  # a character that is not assigned cannot be seen
    write_png(tmp_path / "a.png", lambda: draw_detections([record] * 3, [found] * 3, names))
    assert len(caplog.messages) == 1 and "\U0001fae8, which are drawn as boxes" in caplog.text


def test_a_matplotlibrc_does_not_matter(record, tmp_path):
    def draw():
        return draw_detections([record], [detections()], ["cat", "dog"])

    write_png(tmp_path / "plain.png", draw)
    with matplotlib.rc_context({"figure.facecolor": "black", "savefig.dpi": 50, "text.usetex": True}):
        write_png(tmp_path / "other.png", draw)
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "other.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_items_are_evenly_spaced():
    items = list(range(10))
    assert evenly_spaced(items, 3) == [0, 3, 6]
    assert evenly_spaced(items, 20) == items
    assert evenly_spaced([], 3) == evenly_spaced(items, 0) == []
