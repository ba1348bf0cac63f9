"""Pictures of detections."""

import textwrap

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from src.data.loading import read_image
from src.data.records import ImageRecord
from src.detectors.detections import Detections


def draw_detections(
    records: list[ImageRecord], detections: list[Detections], classes: list[str], score: float | None = None
) -> Figure:
    """Images in a grid of four columns, ground truth as dashed white boxes, detections with class and score.

    Args:
        score: the least score to draw. None draws in each image as many of the best as there are objects, since
            scores of ranking losses are not calibrated.
    """
    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout="tight", dpi=110)
    pairs = matplotlib.colormaps["tab20"].colors
    colours = pairs[::2] + pairs[1::2]  # the distinct ones first
    for position, (record, found) in enumerate(zip(records, detections, strict=True)):
        axes = figure.add_subplot(rows, columns, position + 1)
        axes.imshow(read_image(record).permute(1, 2, 0).numpy(), interpolation="lanczos")
        axes.set_axis_off()
        axes.set_title(textwrap.shorten(str(record.image_id), 40), fontsize=9)
        for box in record.boxes:
            axes.add_patch(_rectangle(box, edgecolor="white", linewidth=1.2, linestyle=(0, (3, 3))))
        count = len(record.boxes) if score is None else int((found.scores >= score).sum())
        for box, value, label in list(zip(found.boxes, found.scores, found.labels.tolist(), strict=True))[:count]:
            colour = colours[label % len(colours)]
            axes.add_patch(_rectangle(box, edgecolor=colour, linewidth=2))
            axes.text(
                float(box[0]) + 1,
                float(box[1]) - 1,
                f"{classes[label]} {value:.2f}",
                fontsize=7,
                color="black",
                clip_on=True,
                bbox={"facecolor": colour, "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
            )
    return figure


def spread(items: list, count: int) -> list:
    """At most `count` of the items, evenly spread over them."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _rectangle(box: torch.Tensor, **style) -> Rectangle:
    x1, y1, x2, y2 = box.tolist()
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)
