import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.utils.quoting import override

PLAIN = ["data", "/data/voc-2007_a.b", "a@b:c+d%"]
AWKWARD = ["data (1)", "~/data", "a~b", "it's", 'say "hi"', "back\\slash", "end\\", "two\nlines", "$HOME `x` #!", "数"]
NOT_TEXT = ["007", "2024_01_15", "1e3", "-1", "null", "True", "nan"]  # without quotes


@pytest.mark.parametrize("value", [*PLAIN, *AWKWARD, *NOT_TEXT])
def test_an_override_pasted_into_bash_gives_its_text(value):
    command = f"printf '%s\\0' {override('key', value)}"
    word = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout[:-1]
    assert OverridesParser.create().parse_override(word).value() == value


@pytest.mark.parametrize("value", PLAIN)
def test_plain_text_has_no_quotes(value):
    assert override("key", value) == f"key={value}"
