"""Values and text in files of annotations, as different programs write them."""

import codecs
import math
import re
from pathlib import Path
from typing import Any

from src.data.messages import shown
from src.data.records import DataError

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def as_number(value: Any) -> float:
    """Return a number, given as such or as text.

    Raises:
        ValueError: it is not a number, or not finite.
    """
    if isinstance(value, float) and math.isfinite(value):
        return value  # at once: COCO has millions of them
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise ValueError(f"{shown(value)} is not a number")
    try:
        number = math.nan if isinstance(value, str) and "_" in value else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{shown(value, 40)!r} is not a finite number")
    return number


def canonical_id(value: Any) -> int | str | None:
    """Return the form in which ids of different types are compared: 12 for 12, 12.0, "12" and "0012"; None for none."""
    if isinstance(value, str):
        text = value.strip()
        whole = re.fullmatch(r"(-?[0-9]{1,40})(\.0+)?", text)
        return int(whole[1]) if whole else text or None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def is_text(text: str) -> bool:
    """Return whether text can be written: JSON's escapes can give halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises:
        DataError: the file cannot be read, or is not such text.
    """
    try:
        content = path.read_bytes()
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
        text = content.decode(encoding)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore or delete it") from error
    except UnicodeError as error:
        raise DataError(f"{path} is not text in UTF-8 or UTF-16 ({error}); save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{path} is not text in UTF-8 or UTF-16: it holds zero bytes; save it as UTF-8")
    return text
