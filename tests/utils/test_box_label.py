"""Labels of boxes on images."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from src.utils.box_label import label_box


def draw(corner, text, format="png"):
    """Return the label that is drawn on an image."""
    figure = Figure(figsize=(2, 2), layout="tight")
    axes = figure.add_subplot()
    axes.imshow(np.zeros((40, 60)))
    label_box(axes, corner, text, colour="orange", fontsize=7)
    figure.savefig(io.BytesIO(), format=format)
    return axes.texts[0]


def extents(label):
    """Return the extents in pixels of a label and of its image."""
    return label.get_bbox_patch().get_window_extent(), label.axes.bbox


@pytest.mark.parametrize("corner", [(-0.5, -0.5), (30, 0), (58, 20), (-9, 60), (58, -3)])
def test_a_label_of_a_box_at_an_edge_is_inside_the_image(corner):
    label, image = extents(draw(corner, "cat 0.90"))
    assert label.x0 >= image.x0 - 1e-6 and label.x1 <= image.x1 + 1e-6
    assert label.y0 >= image.y0 - 1e-6 and label.y1 <= image.y1 + 1e-6


@pytest.mark.parametrize("format", ["png", "pdf", "svg"])
def test_a_label_with_room_is_above_its_corner(format):
    label = draw((10, 30), "cat 0.90", format)
    assert label.get_position() == pytest.approx((10, 30)) and label.get_verticalalignment() == "bottom"


def test_of_a_label_wider_than_the_image_the_beginning_is_shown():
    label, image = extents(draw((50, 30), "x" * 300))
    assert label.x0 == pytest.approx(image.x0) and label.x1 > image.x1
