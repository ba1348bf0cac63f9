import base64
import io
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageFilter

from analysis.artefacts.style import BLUE, GRID, INK
from analysis.report.png_pdf_svg import draw, drawing_of
from tests.analysis.report.samples import ODD_NAME, draw_curve, sample_artefact, sample_panel


def draw_artefact(artefact, folder):
    draw(drawing_of(artefact, 0), folder)


def test_pictures_are_fit_for_print(written):
    picture = Image.open(written / "table1.png")
    assert round(picture.info["dpi"][0]) == 300 and picture.width == 1050
    assert len(picture.convert("L").getcolors()) > 10
    assert (written / "table1.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_panels_for_the_page_have_its_ink_and_unique_ids(tmp_path):
    draw_artefact(sample_artefact(panels=[sample_panel(), sample_panel("other")]), tmp_path)
    svgs = [(tmp_path / f"table1-{name}.svg").read_text() for name in ("curve", "other")]
    ids = [re.findall(r'\bid="([^"]+)"', svg) for svg in svgs]
    assert ids[0] and not set(ids[0]) & set(ids[1]) and all(len(x) == len(set(x)) for x in ids)
    for svg, svg_ids in zip(svgs, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)[0]) - {""} <= set(svg_ids)
        assert "currentColor" in svg and "var(--grid" in svg and BLUE.lower() in svg
        assert INK not in svg and GRID not in svg.replace(f"var(--grid, {GRID})", "")
        assert 'role="img" aria-label="y &lt;rises&gt; to 3.0"><title>y &lt;rises&gt; to 3.0</title>' in svg
    assert Image.open(tmp_path / "table1.png").width == 2100


@pytest.mark.slow
@pytest.mark.parametrize("text", [r"$\frac$ $x_$", "$a$", ODD_NAME])
def test_text_in_figures_is_no_mathematics(text, tmp_path):
    curve = sample_panel()

    def draw_and_keep(ax):
        draw_curve(curve.data, ax, name=text)
        ax.text(0, 1, text)
        axes.append(ax)

    axes = []
    draw_artefact(sample_artefact(panels=[replace(curve, title=text, draw=draw_and_keep)]), tmp_path)
    for ax in axes:
        texts = [ax.yaxis.label, *ax.texts, *ax.get_legend().get_texts()]
        assert len(texts) == 3 and not any(x.get_parse_math() for x in texts)
    assert axes[0].get_title(loc="left") == text


@pytest.mark.slow
def test_powers_of_ten_on_an_axis_are_mathematics(tmp_path):
    curve = sample_panel(ys=(1.0, 1000.0))

    def draw_on_log_axis(drawn, ax):
        draw_curve(curve.data, ax)
        ax.set_yscale("log")
        drawn.append(ax)

    axes = []
    panel = replace(curve, draw=partial(draw_on_log_axis, axes))
    draw_artefact(sample_artefact(panels=[panel]), tmp_path)
    ticks = [tick for tick in axes[0].yaxis.get_ticklabels() if "$" in tick.get_text()]
    assert ticks and all(tick.get_parse_math() for tick in ticks)


@pytest.mark.slow
def test_photographs_in_svg_files_are_jpeg_and_drawings_png(tmp_path):
    """JPEG where it is smaller and shows the same but for its noise; never for what would be lost: transparency."""
    noise = np.asarray(Image.effect_noise((320, 240), 200).filter(ImageFilter.GaussianBlur(6)).convert("RGB"))
    edges = np.kron(np.eye(8, dtype=np.uint8)[..., None] * 255, np.ones((20, 20, 3), np.uint8))
    seen_through = np.dstack([noise, np.full(noise.shape[:2], 128, np.uint8)])
    images = {"photograph": noise, "drawing": edges, "transparent": seen_through}
    panels = [
        replace(sample_panel(name), draw=lambda ax, pixels=pixels: ax.imshow(pixels)) for name, pixels in images.items()
    ]
    draw_artefact(sample_artefact(panels=panels), tmp_path)
    embedded = {}
    for name in images:
        svg = (tmp_path / f"table1-{name}.svg").read_text()
        [(kind, data)] = re.findall(r'"data:image/(\w+);base64,\s*([^"]+)"', svg)
        embedded[name] = kind, Image.open(io.BytesIO(base64.b64decode(data)))
    assert {name: kind for name, (kind, _) in embedded.items()} == {
        "photograph": "jpeg",
        "drawing": "png",
        "transparent": "png",
    }
    # Matplotlib writes images upside down, and mirrors them by their transform.
    shown = embedded["photograph"][1].convert("L").resize((32, 24)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    wanted = Image.fromarray(noise).convert("L").resize((32, 24))
    difference = np.abs(np.asarray(shown, float) - np.asarray(wanted, float))
    assert difference.mean() < 0.2 * np.asarray(wanted, float).std()
