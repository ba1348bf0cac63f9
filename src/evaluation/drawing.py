"""Pictures of detections."""

import textwrap
from typing import Any, TypeVar

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from src.data.images import read_image
from src.data.records import ImageRecord
from src.detectors.detections import Detections

Item = TypeVar("Item")


def draw_detections(records: list[ImageRecord], detections: list[Detections], classes: list[str]) -> Figure:
    """Draw images in a grid, with ground truth as dashed white boxes, and detections with class and score.

    Each image shows as many of its best detections as it has objects: scores of ranking losses are not calibrated, so
    that no threshold would suit all.

    Args:
        records: the images, at least one.
        detections: those on each image, by falling score.
        classes: the names that labels index.

    Raises:
        DataError: an image cannot be read.
    """
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout="tight", dpi=110)
    shades = [matplotlib.colormaps["tab20"](number) for number in range(20)]
    colours = shades[::2] + shades[1::2]  # the distinct ones first
    for position, (record, of_image) in enumerate(zip(records, detections, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, position)
        axes.imshow(read_image(record).permute(1, 2, 0).numpy(), interpolation="lanczos")
        axes.set_axis_off()
        axes.set_title(textwrap.shorten(str(record.image_id), 40), fontsize=9, parse_math=False)
        for box in record.boxes:
            axes.add_patch(_rectangle(box, edgecolor="white", linewidth=1.2, linestyle=(0, (3, 3))))
        count = len(record.boxes)
        best = of_image.boxes[:count], of_image.scores[:count].tolist(), of_image.labels[:count].tolist()
        for box, score, label in zip(*best, strict=True):
            colour = colours[label % len(colours)]
            axes.add_patch(_rectangle(box, edgecolor=colour, linewidth=2))
            axes.text(
                float(box[0]) + 1,
                float(box[1]) - 1,
                f"{classes[label]} {score:.2f}",
                fontsize=7,
                color="black",
                clip_on=True,
                parse_math=False,  # class names with $ are no formulas
                bbox={"facecolor": colour, "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
            )
    return figure


def evenly_spaced(items: list[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, at even distances."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _rectangle(box: Tensor, **style: Any) -> Rectangle:
    x1, y1, x2, y2 = box.tolist()
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)
