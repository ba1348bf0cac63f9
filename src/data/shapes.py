"""The built-in data set: ten classes of shapes among clutter, drawn on first use, in PASCAL VOC's layout.

It is a small stand-in for VOC that needs no download. `shapes_drawing.py` describes its images.
"""

import contextlib
import glob
import os
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.data.records import DataError
from src.data.shapes_drawing import Shape, draw_image

VERSION = 1  # raise it, here and in conf/dataset/shapes.yaml, with every change that alters a pixel or a box
SEED = 2019
DAY_S = 86400.0
COUNTS = {"train": 900, "val": 100, "test": 300}  # images


def ensure_shapes(root: str | Path, *, counts: dict[str, int] | None = None, processes: int | None = None) -> Path:
    """Draw the set into a folder unless the folder has it already, and return the folder, for `read_voc`.

    The set appears in one step once it is complete: an interrupted call leaves no folder. Of several processes that
    draw at once, the first to finish provides the set. What killed ones have left is removed after a day.

    Args:
        root: the folder.
        counts: how many images "train", "val" and "test" have; None for `COUNTS`.
        processes: how many draw; None for one per core, at most 8. The images do not depend on it.

    Raises:
        DataError: the folder holds anything else, such as another version.
    """
    root = Path(root)
    counts = COUNTS if counts is None else counts
    marker = f"shapes version {VERSION}: " + ", ".join(f"{count} {split}" for split, count in counts.items())
    _remove_leftovers(root)
    if _is_complete(root, marker):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.parent / f".{root.name}.unfinished-{uuid4().hex}"
    try:
        _draw_all(unfinished, counts, processes)
        (unfinished / "version.txt").write_text(marker + "\n")
        try:
            unfinished.rename(root)
        except OSError:
            # Another process was first; the images depend on version and counts alone, so its are the same.
            if not _is_complete(root, marker):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return root


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes have left beside a folder, after a day: drawing takes a minute."""
    for unfinished in root.parent.glob(f".{glob.escape(root.name)}.unfinished-*"):
        with contextlib.suppress(OSError):  # another process has removed it
            if time.time() - unfinished.stat().st_mtime > DAY_S:
                shutil.rmtree(unfinished, ignore_errors=True)


def _is_complete(root: Path, marker: str) -> bool:
    """Return whether a folder holds the set that `marker` describes; False for an absent or empty folder.

    Raises:
        DataError: it holds anything else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    path = root / "version.txt"
    content = path.read_text().strip() if path.is_file() else "something else (it has no version.txt)"
    if content != marker:
        raise DataError(
            f"{root} should hold {marker!r} and holds {content!r}: delete it, to have the set drawn anew, or "
            "choose another dataset.root"
        )
    return True


def _draw_all(root: Path, counts: dict[str, int], processes: int | None) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    tasks = [(split, index) for split, count in counts.items() for index in range(count)]
    # A process takes seconds to start: few images do not need one.
    processes = processes or min(os.cpu_count() or 1, 8, 1 + len(tasks) // 100)
    progress = partial(tqdm, total=len(tasks), desc="drawing the built-in set", unit="image", disable=None)
    if processes == 1:
        for task in progress(tasks):
            _write_image(root, task)
    else:
        # Not forked: the caller may have started torch's threads, with which a fork can hang.
        with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_leave_sigint_to_the_caller) as pool:
            try:
                for _ in progress(pool.map(partial(_write_image, root), tasks, chunksize=10)):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    stems = {split: [_stem(split, index) for index in range(count)] for split, count in counts.items()}
    stems["trainval"] = stems["train"] + stems["val"]
    for split, names in stems.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))


def _leave_sigint_to_the_caller() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _stem(split: str, index: int) -> str:
    return f"{split}_{index:06d}"


def _write_image(root: Path, task: tuple[str, int]) -> None:
    split, index = task
    image, shapes = draw_image(np.random.default_rng([SEED, *split.encode(), index]))
    stem = _stem(split, index)
    Image.fromarray(image).save(root / "JPEGImages" / f"{stem}.jpg", quality=90)
    (root / "Annotations" / f"{stem}.xml").write_text(_annotation(f"{stem}.jpg", image.shape, shapes))


def _annotation(file_name: str, image_shape: tuple[int, int, int], shapes: list[Shape]) -> str:
    height, width, depth = image_shape
    objects = "".join(
        "\t<object>\n"
        f"\t\t<name>{shape.name}</name>\n"
        "\t\t<pose>Unspecified</pose>\n"
        f"\t\t<truncated>{int(shape.truncated)}</truncated>\n"
        f"\t\t<difficult>{int(shape.difficult)}</difficult>\n"
        "\t\t<bndbox>\n"
        + "".join(
            f"\t\t\t<{tag}>{value}</{tag}>\n"
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), shape.corners, strict=True)
        )
        + "\t\t</bndbox>\n\t</object>\n"
        for shape in shapes
    )
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{file_name}</filename>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>{depth}</depth>\n"
        f"\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )
