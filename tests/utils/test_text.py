import pytest

from src.utils.text import counted, listed, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ca$$h", "ca$$h"),
        (" two\nlines\t", "two lines"),
        ("\x1b[31mred\x00", "�[31mred�"),
        ("half \ud83d", "half �"),
        ("数字 😀", "数字 😀"),
        (7, "7"),
        ("x" * 41, "x" * 39 + "…"),
    ],
)
def test_text_is_shown_in_one_line(text, shown):
    assert one_line(text) == shown
    assert len(one_line(text, 5)) <= 5


def test_nouns_have_their_number():
    assert [counted(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert counted(2, "class") == "2 classes"


def test_words_are_listed_as_in_a_sentence():
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert listed(iter("ab"), "or") == "a or b"
