"""Values in files of annotations, as different programs write them."""

import math
import re
from typing import Any

from src.data.messages import shown


def as_number(value: Any) -> float:
    """Return a number, given as such or as text.

    Raises:
        ValueError: it is not a number, or not finite.
    """
    if isinstance(value, float) and math.isfinite(value):
        return value  # first, for speed: COCO has millions of them
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise ValueError(f"{shown(value)} is not a number")
    try:
        number = math.nan if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{shown(value, 40)!r} is not a finite number")
    return number


def as_angle(value: Any) -> float:
    """Return an angle; 0 for anything but a number, as other programs give attributes of the same name other values."""
    try:
        return as_number(value)
    except ValueError:
        return 0.0


def canonical_id(value: Any) -> int | str | None:
    """Return the form in which ids of different types are compared: 12 for 12, 12.0, "12" and "0012"; None for none."""
    if isinstance(value, str):
        text = value.strip()
        whole = re.fullmatch(r"(-?[0-9]{1,40})(\.0+)?", text)
        return int(whole[1]) if whole else text or None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None
