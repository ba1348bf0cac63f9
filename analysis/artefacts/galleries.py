"""Test images with the detections of runs, as Figs. 5 and 12 show them."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.artefacts.artefact import Panel
from analysis.artefacts.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Axes
from analysis.reading.runs import LEFT_OUT, Run
from analysis.reading.settings import LOSS_TITLES
from src.utils.text import counted

logger = logging.getLogger(__name__)
PICTURE = "gallery_picture"  # the key under which runs log the images of their galleries
COLUMNS = ["kind", "name", "score", "x1", "y1", "x2", "y2"]
CLASS_COLOURS = (ORANGE, SKY, GREEN, VERMILION, PURPLE, BLUE)


@dataclass(frozen=True)
class Picture:
    """A test image, made smaller, and its boxes."""

    run_id: str
    pixels: np.ndarray  # uint8 [h, w, 3]
    boxes: pd.DataFrame  # COLUMNS, in pixels of the test image; its first row, of kind "image", names the pixels


def has_gallery(run: Run) -> bool:
    """Return whether a run has logged a gallery, and its picture is there or was left out of an archive."""
    if not isinstance(run.objects.get("gallery"), list):
        return False
    return run.image(PICTURE) is not None or LEFT_OUT in run.objects.get(PICTURE, {})


def gallery_of(run: Run) -> dict[str, Picture]:
    """Return the images of a run's gallery by id; none, with a warning, if its picture cannot be read."""
    sheet = read_image(run, PICTURE)
    return {} if sheet is None else {entry["id"]: _picture(run, sheet, entry) for entry in run.objects["gallery"]}


def read_image(run: Run, key: str) -> np.ndarray | None:
    """Return an image that a run has logged, uint8 [h, w, 3]; None, with a warning, if it cannot be read."""
    from PIL import Image

    file = run.image(key)
    try:
        with Image.open(file or "") as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        logger.warning("cannot show the image %s of run %s: %s", file or key, run.run_id, error)
        return None


def threshold_note(run: Run) -> str:
    """Return from which score on a run's detections are shown, and how that was chosen."""
    loss, threshold = LOSS_TITLES[run.config["loss.name"]], run.last("gallery_threshold")
    if np.isnan(threshold):
        return f"{loss}: no detection is shown, as none on the images that decide the threshold finds an object."
    return (
        f"{loss}, run {run.run_id}: detections with a score of at least {threshold:.3g}, which has the best F1, "
        f"{run.last('gallery_f1'):.1f}%, on {run.last('gallery_threshold_images'):.0f} other images of the same split."
    )


def panel(name: str, title: str, picture: Picture, classes: Sequence[str]) -> Panel:
    """Return a panel that shows an image with its objects, dashed, and the detections in the colours of classes."""
    detections = picture.boxes[picture.boxes.kind == "detection"]
    words = [f"{row.name} {row.score:.2f}" for row in detections.itertuples(index=False)]
    alt = f"{counted(len(words), 'detection')}: {', '.join(words)}." if words else "No detection."
    colours = {name: CLASS_COLOURS[number % len(CLASS_COLOURS)] for number, name in enumerate(classes)}
    return Panel(name, title, partial(_draw, picture, colours), picture.boxes, alt, (picture.run_id, PICTURE))


def classes_in(pictures: Sequence[Picture]) -> list[str]:
    """Return the names of the classes of all boxes, sorted."""
    return sorted({name for one in pictures for name in one.boxes.name[one.boxes.kind != "image"]})


def _picture(run: Run, sheet: np.ndarray, entry: dict[str, Any]) -> Picture:
    x, y, width, height = entry["cell"]
    pixels = sheet[y : y + height, x : x + width]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    rows = [
        ["image", digest, np.nan, 0, 0, *entry["size"]],
        *(["object", name, np.nan, *box] for name, *box in entry["objects"]),
        *(["detection", *detection] for detection in entry["detections"]),
    ]
    return Picture(run.run_id, pixels, pd.DataFrame(rows, columns=COLUMNS))


def _draw(picture: Picture, colours: dict[str, str], ax: Axes) -> None:
    from matplotlib.patches import Rectangle

    from src.utils.box_label import label_box

    width, height = picture.boxes.iloc[0][["x2", "y2"]]
    ax.imshow(picture.pixels, extent=(0, width, height, 0))
    ax.set_axis_off()
    for row in picture.boxes.iloc[1:].itertuples(index=False):
        style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.8, "linestyle": (0, (3, 3))}
        if row.kind == "detection":
            style = {"edgecolor": colours[row.name], "linewidth": 1.2}
            label = f"{row.name} {row.score:.2f}"
            label_box(ax, (row.x1, row.y1), label, colour=colours[row.name], fontsize=5)
        ax.add_patch(Rectangle((row.x1, row.y1), row.x2 - row.x1, row.y2 - row.y1, fill=False, **style))
