"""Pictures of images with boxes: detections, and training samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from src.data.images import ReadImage, read_image
from src.data.records import ImageRecord
from src.detectors.detections import Detections
from src.utils.box_label import label_box
from src.utils.files import write_atomically
from src.utils.fonts import text_in_any_script
from src.utils.text import one_line

Item = TypeVar("Item")
COLUMNS = 4
SHADES = [matplotlib.colormaps["tab20"](number) for number in range(20)]
COLOURS = SHADES[::2] + SHADES[1::2]  # the distinct ones first
GROUND_TRUTH = {"edgecolor": "white", "linewidth": 1.2, "linestyle": (0, (3, 3))}


def draw_detections(
    records: list[ImageRecord], detections: list[Detections], classes: list[str], *, read: ReadImage = read_image
) -> Figure:
    """Draw images in a grid, with ground truth as dashed white boxes, and detections with class and score.

    Each image shows as many of its best detections as it has objects: scores of ranking losses are not calibrated, so
    no threshold would suit all.

    Args:
        records: the images, at least one.
        detections: those on each image, in descending order of score.
        classes: the names that labels index.
        read: returns the image of a record.

    Raises:
        DataError: an image cannot be read.
    """
    figure, grid = _grid(len(records))
    for axes, record, of_image in zip(grid, records, detections, strict=True):
        _show(axes, read(record), one_line(record.image_id), interpolation="lanczos")
        for box in record.boxes:
            axes.add_patch(_rectangle(box, **GROUND_TRUTH))
        count = len(record.boxes)
        best = of_image.boxes[:count], of_image.scores[:count].tolist(), of_image.labels[:count].tolist()
        for box, score, label in zip(*best, strict=True):
            axes.add_patch(_rectangle(box, edgecolor=_colour(label), linewidth=2))
            _name(axes, box, f"{one_line(classes[label])} {score:.2f}", label)
    return figure


@dataclass(frozen=True)
class Sample:
    """A training image as the detector receives it, with its boxes and positive anchors."""

    title: str
    image: Tensor  # uint8 [3, H, W]
    boxes: Tensor  # float32 [N, 4]
    labels: Tensor  # int64 [N]
    anchors: Tensor  # float32 [P, 4]: the positive ones


def draw_samples(samples: Sequence[Sample], classes: list[str]) -> Figure:
    """Draw training samples in a grid, with boxes in the colours of their classes, and positive anchors thin.

    Args:
        samples: at least one.
        classes: the names that labels index.
    """
    figure, grid = _grid(len(samples))
    for axes, sample in zip(grid, samples, strict=True):
        _show(axes, sample.image, sample.title, interpolation="nearest")
        anchors = [_rectangle(anchor) for anchor in sample.anchors]
        for colour, width in (("black", 1.4), ("white", 0.7)):  # visible on dark and on bright images
            axes.add_collection(
                PatchCollection(anchors, facecolor="none", edgecolor=colour, linewidth=width, alpha=0.6)
            )
        for box, label in zip(sample.boxes, sample.labels.tolist(), strict=True):
            axes.add_patch(_rectangle(box, edgecolor=_colour(label), linewidth=2))
            _name(axes, box, one_line(classes[label]), label)
    figure.supxlabel("coloured: objects; thin: their positive anchors", fontsize=9)
    return figure


def write_png(file: Path, draw: Callable[[], Figure]) -> None:
    """Draw a figure with text in any script, and write it as PNG."""
    with text_in_any_script():
        figure = draw()
        write_atomically(file, lambda temporary: figure.savefig(temporary, format="png"))


def evenly_spaced(items: list[Item], count: int) -> list[Item]:
    """Return at most `count` of the items, at even distances."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4 * columns, 3.4 * rows), layout="tight", dpi=110)
    return figure, [figure.add_subplot(rows, columns, position + 1) for position in range(count)]


def _show(axes: Axes, image: Tensor, title: str, *, interpolation: str) -> None:
    axes.imshow(image.as_subclass(torch.Tensor).permute(1, 2, 0).numpy(), interpolation=interpolation)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, parse_math=False)
    # Anchors reach beyond their image.
    axes.set_xlim(-0.5, image.shape[-1] - 0.5)
    axes.set_ylim(image.shape[-2] - 0.5, -0.5)


def _name(axes: Axes, box: Tensor, text: str, label: int) -> None:
    label_box(axes, (float(box[0]), float(box[1])), text, colour=_colour(label), fontsize=7)


def _colour(label: int) -> Any:
    return COLOURS[label % len(COLOURS)]


def _rectangle(box: Tensor, **style: Any) -> Rectangle:
    x1, y1, x2, y2 = box.tolist()
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)
