"""A run on classes, images and a folder whose names have any characters, from its data to its log."""

import shlex
from xml.sax.saxutils import escape

import pytest
from PIL import Image

from analysis.reading.local import read_local
from src.utils.quoting import hydra_quoted
from tests.data.voc_folder import add_image, add_list, object_xml
from tests.support.configurations import make_config
from tests.support.runs import TINY, run_here, summary_of

NAMES = [
    "ca$$h",
    "$\\frac{$",
    "a_b^c",
    "<b>&amp;",
    "100%",
    "\"quoted\" 'name'",
    "a/b",
    "x.y",
    "AP",
    "p|q `r`",
    "数字",
    "😀",
    "two\nlines",
    "[x]",
    "#&~{}",
    "l" * 300,
]


@pytest.mark.slow
def test_a_run_keeps_names_of_any_characters(tmp_path, caplog):
    root = tmp_path / "da$ta (1) & <数>'s"
    for number in range(8):
        boxes = [(1 + 12 * place, 11, 12 + 12 * place, 70) for place in range(len(NAMES) // 2)]
        names = NAMES[number % 2 :: 2]
        add_image(root, f"$i_{number}^", *(object_xml(escape(n), b) for n, b in zip(names, boxes, strict=True)))
    add_list(root, "trainval", *(f"$i_{number}^" for number in range(4)))
    add_list(root, "test", *(f"$i_{number}^" for number in range(4, 8)))
    outputs = tmp_path / "outputs"
    words = [*TINY, "schedule.epochs=1", f"dataset.root={hydra_quoted(str(root))}", f"outputs={outputs}"]
    directory = run_here(*words)

    assert make_config(*words).dataset.root == str(root)
    summary = summary_of(directory)
    logged_classes = summary["data"]["classes"]
    assert sorted(" ".join(name.split()) for name in logged_classes) == sorted(" ".join(name.split()) for name in NAMES)
    metrics = {f"{key}/{name}" for key in ("AP", "VOC07_AP50", "VOC12_AP50") for name in logged_classes}
    assert metrics < summary["metrics"].keys()
    (run,) = read_local(outputs).all
    assert run.finished and all(run.last(key) == pytest.approx(summary["metrics"][key]) for key in metrics)
    assert Image.open(directory / "detections.png").width == 880
    assert sum("font" in message for message in caplog.messages) <= 1
    assert f"dataset.root={hydra_quoted(str(root))}" in shlex.split(summary["command"]["canonical"])
