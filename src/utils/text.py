"""Text of unknown origin, such as names of classes and images, for one line of output or a picture."""


def one_line(text: object, width: int = 40) -> str:
    """Return text in one line of at most `width` characters, without characters that cannot be seen.

    Line ends and tabs become spaces. Others that are not printable, such as a terminal's control sequences or half a
    surrogate pair, become U+FFFD.
    """
    words = " ".join(str(text).split())
    visible = "".join(letter if letter.isprintable() else "\ufffd" for letter in words)
    return visible if len(visible) <= width else f"{visible[: width - 1]}…"
