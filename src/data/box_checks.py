"""Boxes that are turned, and signs that those of a whole file are not what its format says."""

import math
from collections.abc import Sequence

import numpy as np

from src.data.records import Box


def extent_of_turned(corners: Box, degrees: float) -> Box:
    """Return the upright box around a box (x1, y1, x2, y2) that is turned about its centre."""
    x1, y1, x2, y2 = corners
    across, down = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_width = ((x2 - x1) * across + (y2 - y1) * down) / 2
    half_height = ((x2 - x1) * down + (y2 - y1) * across) / 2
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def has_area(corners: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return whether boxes (x1, y1, x2, y2), [4] or [N, 4], have an area in 32 bits, as records keep them, bool [N]."""
    single = np.asarray(corners, np.float32)
    return np.all(single[..., 2:] > single[..., :2], axis=-1)


def are_corners(numbers: np.ndarray, *, outside: np.ndarray, area: np.ndarray | None = None) -> bool:
    """Return whether boxes are (x1, y1, x2, y2), where a format gives sizes instead of the last two.

    Nearly all must be corners in order. Then either at least a quarter of them, and two, would reach outside their
    image if read as sizes; or the areas that the file gives are those of the corners.

    Args:
        numbers: the four numbers of each box, [N, 4].
        outside: whether a box, read as the format prescribes, reaches outside its image, bool [N].
        area: the area that the file gives, in square units of `numbers`, [N]; NaN where it gives none.
    """
    widths, heights = numbers[:, 2] - numbers[:, 0], numbers[:, 3] - numbers[:, 1]
    in_order = (widths > 0) & (heights > 0)
    if len(numbers) == 0 or in_order.mean() < 0.98:
        return False
    if outside.sum() >= max(2, len(numbers) / 4):
        return True
    if area is None:
        return False
    given = in_order & ~np.isnan(area)
    as_corners = np.isclose(area, widths * heights, rtol=1e-3)[given]
    as_sizes = np.isclose(area, numbers[:, 2] * numbers[:, 3], rtol=1e-2)[given]
    return bool(as_corners.size and as_corners.mean() >= 0.98 and as_sizes.mean() < 0.98)


def are_written_otherwise(
    wrong: np.ndarray, otherwise: np.ndarray, sizes: np.ndarray | float, *, tolerance: float
) -> bool:
    """Return whether boxes are written in another way than their format prescribes.

    At least ten, and 2%, must be wrong if read as prescribed, and far fewer must reach outside their image if read the
    other way. Of boxes that reach outside on all sides, as many do so in either reading. Boxes of the other way must
    also lie in both halves of the images, across and down: some that all lie in one corner pass in either reading.

    Args:
        wrong: whether a box, read as the format prescribes, has corners out of order or outside, bool [N].
        otherwise: the boxes read the other way, (x1, y1, x2, y2), [N, 4].
        sizes: (width, height) of the image of each, [N, 2], or one number for all.
        tolerance: how far a box may reach outside, in units of `sizes`.
    """
    few = len(wrong) / 50
    if wrong.sum() < max(10, few):
        return False
    low, high = otherwise[:, :2], otherwise[:, 2:]
    outside = np.any((low < -tolerance) | (high > sizes + tolerance), axis=1)
    beyond = np.sum(low + high > sizes, axis=0)  # whose centre is in the right half, and in the lower half
    return bool(outside.sum() <= min(few, wrong.sum() / 10) and np.all((beyond > few) & (beyond < len(wrong) - few)))
