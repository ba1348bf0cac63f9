"""Text files as people's programs write them: UTF-8 with or without a byte order mark, and UTF-16."""

import codecs
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from src.data.messages import first_names
from src.data.records import DataError

T = TypeVar("T")

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_bytes(path: Path, count: int = -1) -> bytes:
    """Return a file's content, or its first `count` bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, without its byte order mark.

    Raises:
        DataError: the file cannot be read, or is in another encoding.
    """
    data = read_bytes(path)
    return decode_text(data, path, unicode_encoding(data) or "utf-8")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list of names, without the spaces around them and without blank lines.

    Only a line feed or a carriage return ends a line: names may hold other characters at which `splitlines` ends one.

    Raises:
        DataError: as `read_text` does.
    """
    return [line.strip() for line in re.split(r"[\r\n]", read_text(path)) if line.strip()]


def read_each(read: Callable[[Path], T], paths: Sequence[Path], kind: str) -> list[T]:
    """Return what a function reads from each of several files.

    Args:
        read: raises a DataError for a file with a fault.
        paths: of the files.
        kind: what they are, for messages: "XML files".

    Raises:
        DataError: files have faults; the message is that of the first of them, and counts the others.
    """
    contents = []
    problems: dict[Path, str] = {}  # not the errors, which hold what was read
    for path in paths:
        try:
            contents.append(read(path))
        except DataError as error:
            problems[path] = str(error)
    if problems:
        first, *others = problems
        names = first_names([path.name for path in others])
        also = f". There are faults in {len(others)} more of the {len(paths)} {kind}: {names}" if others else ""
        raise DataError(f"{problems[first]}{also}")
    return contents


def refuse_pointer(data: bytes, path: Path) -> None:
    """Raise a DataError if a file's first bytes show what Git LFS leaves in place of a file that it has not fetched."""
    if data.startswith(b"version https://git-lfs"):
        raise DataError(f"{path} is a pointer of Git LFS rather than the file; fetch it with git lfs pull")


def unicode_encoding(data: bytes) -> str | None:
    """Return the encoding that the first bytes of a text show by their mark or their zeros, None if they show none."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    zeros = bytes(byte == 0 for byte in data[:4])
    if zeros in (b"\0\1\1\1", b"\1\1\1\0"):
        return "utf-32-be" if zeros[0] else "utf-32-le"
    if len(data) > 1 and not (data[0] and data[1]) and data[0] != data[1]:
        return "utf-16-le" if data[0] else "utf-16-be"
    return None


def decode_text(data: bytes, path: Path, encoding: str) -> str:
    """Decode the content of a file.

    Raises:
        DataError: there is no such encoding, or the file is not in it; the message names the first line that is not.
            Or the file is a pointer of Git LFS.
    """
    refuse_pointer(data, path)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is not {encoding.upper()}, nor is another encoding marked (byte "
            f"0x{data[error.start]:02X}); save the file as UTF-8"
        ) from error
    except (LookupError, ValueError) as error:  # what an XML file declares may be no encoding
        raise DataError(f"{path} declares an unknown encoding, {encoding!r}; save the file as UTF-8") from error
    if "\0" in text:
        raise DataError(
            f"{path} is not text in {encoding.upper()}: it holds zero bytes; restore it, or save it as UTF-8"
        )
    return text
