"""Label files of YOLO: a line `class x y width height` for each object, in fractions of the image's size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from src.data.fields import as_number
from src.data.messages import shown
from src.data.records import Box, DataError
from src.data.text import read_text

# Rounding may put a number this far outside 0 … 1.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class YoloObject:
    """An object of a label file."""

    index: int  # of its class
    corners: Box  # (x1, y1, x2, y2) in fractions of the image's size, not clipped
    numbers: Box | None  # the centre and size as written; None for a polygon: `corners` are its extent
    may_be_box: bool = False  # whether a polygon's line may be a box and two more columns


@dataclass(frozen=True)
class YoloLabels:
    """The content of a label file."""

    objects: list[YoloObject]
    repeated: int  # how many lines repeat an earlier one


def read_labels(path: Path, names: Mapping[int, str] | None, *, keypoint_numbers: int) -> YoloLabels:
    """Return the objects of a label file.

    A line is `class x y width height`, or `class x1 y1 x2 y2 x3 y3 …` for a polygon, whose extent is taken. Equal lines
    are one object.

    Args:
        path: of the file.
        names: of the classes by their index; None where any index will do.
        keypoint_numbers: how many numbers of keypoints follow each box.

    Raises:
        DataError: the file cannot be read, or a line is none of these; the message names the line.
    """
    objects: dict[YoloObject, None] = {}
    lines = 0
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        lines += 1
        try:
            objects[_parse_line(line.split(), names, keypoint_numbers)] = None
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return YoloLabels(list(objects), lines - len(objects))


def _parse_line(fields: list[str], names: Mapping[int, str] | None, keypoint_numbers: int) -> YoloObject:
    if any("," in item or ";" in item for item in fields):
        raise ValueError("its numbers hold commas; separate them by spaces, and write 0.5 for a half")
    index = _class_index(fields[0], names)
    numbers = [as_number(item) for item in fields[1:]]
    if keypoint_numbers and len(numbers) == 4 + keypoint_numbers:
        numbers = numbers[:4]
    beyond = next((item for item in numbers if not -_TOLERANCE <= item <= 1 + _TOLERANCE), None)
    if len(numbers) == 5:
        raise ValueError(
            "six columns, where a box has five: class, x, y, width, height. If the sixth is a confidence or a track, "
            "remove it; the labels of a detector are no ground truth"
        )
    if len(numbers) < 4 or len(numbers) % 2:
        raise ValueError(
            f"{len(numbers) + 1} columns, where a box has five (class, x, y, width, height) and a polygon its class "
            "and three or more pairs of numbers. A file of keypoints needs kpt_shape in its data.yaml"
        )
    if beyond is not None:
        raise ValueError(
            f"{beyond:g} is not between 0 and 1; YOLO's numbers are fractions of the image's width and height. "
            "Divide pixels by them"
        )
    if len(numbers) > 4:
        xs, ys = numbers[::2], numbers[1::2]
        as_box = _corners(*numbers[:4])
        may_be_box = len(numbers) == 6 and min(as_box) >= -_TOLERANCE and max(as_box) <= 1 + _TOLERANCE
        return YoloObject(index, (min(xs), min(ys), max(xs), max(ys)), None, may_be_box)
    x, y, width, height = numbers
    return YoloObject(index, _corners(x, y, width, height), (x, y, width, height))


def _corners(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _class_index(text: str, names: Mapping[int, str] | None) -> int:
    try:
        index = as_number(text)
    except ValueError:
        index = -1.0
    if index < 0 or not index.is_integer():
        raise ValueError(f"the class is {shown(text)!r}; it should be the index of a name, from 0 on")
    if names is not None and index not in names:
        raise ValueError(
            f"class {int(index)} has no name: the names are {', '.join(f'{key} {name}' for key, name in names.items())}"
            ". Add its name, or correct the class"
        )
    return int(index)
