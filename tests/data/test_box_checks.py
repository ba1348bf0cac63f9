"""Boxes that are written in another way than their format prescribes, beside sloppy ones that are not."""

import numpy as np
import pytest

from src.data.box_checks import are_written_otherwise

SIZE = 1024


def read_with_corner_for_centre(corners):
    """Return which boxes reach outside their image, and what they would be if their first two were the centre."""
    outside = np.any((corners < 0) | (corners > SIZE), axis=1)
    low, half = corners[:, :2], (corners[:, 2:] - corners[:, :2]) / 2
    return outside, np.concatenate([low - half, low + half], axis=1)


def boxes(low, high, number=1000):
    """Return square boxes whose centres lie within limits of the image, across and down."""
    random = np.random.default_rng(25)  # with others, 20 or more reach outside as centres, too
    centres, half = random.uniform(low, high, (number, 2)), random.uniform(4, 7, (number, 1))
    return np.concatenate([centres - half, centres + half], axis=1)


def is_refused(corners):
    return are_written_otherwise(*read_with_corner_for_centre(corners), SIZE, tolerance=1)


def test_centres_in_place_of_corners_are_found():
    inside = boxes(60, SIZE - 60)
    inside += np.array([-30, -30, 30, 30])
    centres = (inside[:, :2] + inside[:, 2:]) / 2
    assert is_refused(np.concatenate([centres, centres + inside[:, 2:] - inside[:, :2]], axis=1))


@pytest.mark.parametrize(
    "corners",
    [
        pytest.param(boxes(0, SIZE), id="outside on all sides, as a cut of an aerial image leaves them"),
        pytest.param(boxes([900, 1000], SIZE), id="all in one corner"),
        pytest.param(boxes([20, 1000], [SIZE - 20, SIZE]), id="all along one side"),
    ],
)
def test_sloppy_boxes_are_not(corners):
    outside, otherwise = read_with_corner_for_centre(corners)
    assert outside.sum() >= 20 and np.any((otherwise < -1) | (otherwise > SIZE + 1), axis=1).sum() <= 20
    assert not is_refused(corners)
