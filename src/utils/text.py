"""Make text of unknown origin, such as names of classes and images, fit into a line of output or a picture."""

import unicodedata
from collections.abc import Iterable


def one_line(text: object, width: int = 40) -> str:
    """Return text in one line of at most `width` characters that a terminal and a picture can show.

    Line ends and tabs become spaces. Control characters and halves of surrogate pairs become U+FFFD.
    """
    words = " ".join(str(text).split())
    visible = "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in words)
    return visible if len(visible) <= width else f"{visible[: width - 1]}…"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def listed(words: Iterable[str], conjunction: str = "and") -> str:
    """Join words as in a sentence: "a, b and c"."""
    *others, last = list(words) or [""]
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def is_text(text: str) -> bool:
    """Return whether text can be encoded: JSON's escapes and file names can yield lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
