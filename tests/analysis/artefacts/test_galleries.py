"""Figs. 5 and 12, and the pictures of Table 3: test images with detections, from what runs log."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.artefacts import figure5, figure12, table3
from analysis.reading.runs import Runs
from analysis.report.png_pdf_svg import drawing_of
from tests.analysis.logged import config_of, gallery_values, named, run_of

matplotlib.use("agg")


def run(loss, score=0.9, seed=0, **changes):
    return run_of(config_of(f"loss={loss}", f"seed={seed}"), [(20, gallery_values(score) | changes)])


def drawn(panel):
    ax = Figure().add_subplot()
    panel.draw(ax)
    return ax


def test_figure_5_pairs_the_images_of_both_losses():
    runs = Runs([run("focal", 0.4), run("ap"), run("ap", seed=1)])
    (section,) = figure5.build(runs).sections
    assert [panel.title for panel in section.panels] == [
        "Focal loss: red",
        "AP-loss: red",
        "Focal loss: blue",
        "AP-loss: blue",
    ]
    assert [panel.alt for panel in section.panels] == [
        "1 detection: cat 0.40.",
        "1 detection: cat 0.90.",
        "No detection.",
        "No detection.",
    ]
    assert len(section.run_ids) == 3 and "Focal loss (seed 1)" in section.missing[0].what
    assert [note.partition(",")[0] for note in section.notes] == ["Focal loss", "AP-loss"]
    assert "at least 0.25" in section.notes[0] and "61.2%, on 292 other images" in section.notes[0]


def test_an_image_is_drawn_in_its_own_pixels_with_its_boxes():
    (section,) = figure12.build(Runs([run("ap")])).sections
    red, blue = map(drawn, section.panels)
    assert red.images[0].get_extent() == [0, 320, 240, 0] and blue.images[0].get_extent() == [0, 64, 48, 0]
    assert (np.asarray(red.images[0].get_array())[5, 5] == [255, 0, 0]).all()
    assert (np.asarray(blue.images[0].get_array())[5, 5] == [0, 0, 255]).all()
    truth, detection = red.patches
    assert (truth.get_x(), truth.get_y(), truth.get_width(), truth.get_height()) == (10, 20, 100, 200)
    assert (detection.get_x(), detection.get_height()) == (12, 202) and [t.get_text() for t in red.texts] == [
        "cat 0.90"
    ]
    assert truth.get_linestyle() != "-" and detection.get_linestyle() in ("-", "solid")
    assert section.panels[0].data.kind.tolist() == ["image", "object", "detection"]
    other = run("ap")
    other.objects["gallery"][0]["cell"] = [320, 0, 32, 24]
    changed = figure12.build(Runs([other])).sections[0].panels[0]
    assert not changed.data.equals(section.panels[0].data)  # other pixels are drawn again


@pytest.mark.parametrize(
    "changes", [{"gallery_picture": {"_type": "image-file", "path": "/no/such.jpg"}}, {"gallery": 1}]
)
def test_a_run_without_a_gallery_is_missing(changes):
    (section,) = figure12.build(Runs([run("ap", **changes)])).sections
    assert (
        not section.panels and section.missing[0].command == "python -m src.run -m sweeps=figure12 recipe=mini seed=0"
    )


def test_a_picture_that_cannot_be_read_is_named(tmp_path, caplog):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    broken = run("ap", gallery_picture={"_type": "image-file", "path": str(tmp_path / "broken.jpg")})
    (section,) = figure12.build(Runs([broken])).sections
    assert not section.panels and "broken.jpg" in caplog.text


def test_a_run_that_finds_nothing_says_so():
    (section,) = figure12.build(Runs([run("ap", gallery_threshold=float("nan"))])).sections
    assert "no detection is shown" in section.notes[0]


def attacked(loss, attack, score=0.8, **changes):
    config = named(f"{attack}-{loss}", f"loss={loss}", **{"attack.name": attack})
    config["needs"] = {"patch": "maker"}
    return run_of(config, [(20, gallery_values(score) | changes)])


def test_table_3_shows_one_image_under_each_perturbation_with_the_detections_of_two_losses():
    maker = named("maker", **{"attack.name": "patch_making", "step": "heaviside", "seed": 1})
    patch = run_of(maker, [(20, {"patch": gallery_values()["gallery_picture"]})])
    attacks = [attacked(loss, attack) for attack in ("adversarial_patch", "deepfool") for loss in ("focal", "ap")]
    clean = [run("focal", 0.4), run("ap"), run("focal", seed=2), run("ap", seed=2), attacked("ap", "flip_patch")]
    artefact = table3.build(Runs([*clean, *attacks, patch]))
    (section,) = artefact.sections
    names = ["original", "adversarial-patch", "deepfool"]
    assert [p.name for p in section.panels] == [f"{name}-{loss}" for name in names for loss in ("focal", "ap")] + [
        "patch-0"
    ]
    assert section.panels[2].title == "Adversarial Patch, Focal loss" and "seed 0" in section.notes[0]
    assert [p.alt for p in section.panels[:3]] == [f"1 detection: cat {score}." for score in ("0.40", "0.90", "0.80")]
    drawing = drawing_of(artefact, 0)
    assert drawing.per_row == 4 and len(drawn(section.panels[-1]).images) == 1
    # A perturbation that shows other images has no panels, and without any there is no figure.
    other = [image | {"id": "green"} for image in gallery_values()["gallery"]]
    green = [attacked(loss, "deepfool", gallery=other) for loss in ("focal", "ap")]
    assert len(table3.build(Runs([*clean, *attacks[:2], *green])).sections[0].panels) == 4
    assert table3.build(Runs(clean)).sections[0].panels == []
