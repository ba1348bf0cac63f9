import re

import pytest

from analysis.artefacts.artefact import Missing
from analysis.report.markdown import claims_to_markdown, code, escape, runs_to_markdown, to_markdown
from tests.analysis.report.samples import (
    ODD,
    ODD_COMMAND,
    RUNS,
    odd_artefact,
    odd_claims,
    odd_contents,
    sample_artefact,
    sample_claims,
    sample_contents,
)


def code_spans(markdown):
    """The code of a text, as CommonMark 0.31, section 6.1, finds and reads it."""
    spans, rest = [], markdown
    while opening := re.search(r"(?<![`\\])(`+)(?!`)", rest):
        closing = re.search(rf"(?<!`){opening[1]}(?!`)", rest[opening.end() :])
        assert closing, f"{opening[1]} is not closed"
        text = rest[opening.end() :][: closing.start()]
        padded = text.startswith(" ") and text.endswith(" ") and text.strip(" ")
        spans.append(text[1:-1] if padded else text)
        rest = rest[opening.end() + closing.end() :]
    return spans


def test_a_line_break_in_a_setting_ends_neither_its_heading_nor_its_code():
    artefact = sample_artefact(setting="dataset.root='a\nb\r\nc'", missing=[Missing("δ", "python 'a\n\nb'")])
    text = to_markdown(artefact)
    assert "## `dataset.root='a b c'`\n" in text and "- δ: `python 'a  b'`\n" in text


def test_an_artefact_is_readable_on_the_terminal():
    expected = r"""# Table 1: \<ablation>

What is \*shown\*.

## `recipe=mini`

### δ & 100% of_it

| δ      |       ours: AP | ours: AP75 |  paper: AP | AP from 1: ours | AP from 1: n |
| ------ | -------------: | ---------: | ---------: | --------------: | -----------: |
| 1 \<b> | **29.0 ± 0.5** |    missing | ***53.1*** |               – |            7 |
| a\|b_c |         26.0 † |     26.0 † |     *50.2* |      −3.0 ± 0.9 |            7 |

A note of \$5.

† one seed, no interval

(a) a curve: y \<rises> to 3.0

Measured here.

Missing:

- δ = 2: `python -m src.run delta=2`
"""
    assert to_markdown(sample_artefact()) == expected


def test_claims_show_verdicts_runs_and_commands():
    text = claims_to_markdown(sample_claims())
    assert r"## δ = 1 is \<best>" in text and "- **supported** in `recipe=mini`\n- AP 29.1 ± 0.4 > 26.0\n" in text
    assert "- **contradicted** in `recipe=voc`\n- AP 1.0\n- runs: none\n" in text
    assert "No runs yet.\n\nMissing:\n\n- all: `python -m src.run`" in text
    assert "[run-a](runs.md#run-run-a)" in claims_to_markdown(sample_claims(), links=True)


def test_every_run_and_its_command_are_listed():
    text = runs_to_markdown(sample_contents())
    for name in RUNS:
        assert f"- [{name}](#run-{name}): `python -m src.run name={name} x='a|b'`\n" in text
    assert "- run-d: its log has no end" in text and r"- outputs/\<x>.wandb holds no run; left out" in text


@pytest.mark.parametrize(
    "text", [ODD_COMMAND, "`", "a`", "``a", "a ``` b ` c", "a|b", "'(a b)' & <c>", " a ", "$x$", "\\", "*a* _b_ [c](d)"]
)
def test_code_keeps_every_character(text):
    assert code_spans(f"before {code(text)} after") == [text]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b_c and _d_ __e__", r"a_b_c and \_d\_ \_\_e\_\_"),
        ("*a* `b` [c](d) <e> f|g \\", r"\*a\* \`b\` \[c\](d) \<e> f\|g \\"),
        ("$x$ ~~y~~", r"\$x\$ \~\~y\~\~"),
        ("&lt; &#35; a & b", r"\&lt; \&#35; a & b"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("> a", r"\> a"),
        ("1. a", r"1\. a"),
        ("1) a", r"1\) a"),
        ("---", r"\---"),
        ("0.25", "0.25"),
        ("-1.5", "-1.5"),
        (" a\n\tb ", "a b"),
    ],
)
def test_text_is_no_markup(text, escaped):
    assert escape(text) == escaped


def test_commands_and_settings_are_copied_as_they_are():
    artefact, claims, runs = to_markdown(odd_artefact()), claims_to_markdown(odd_claims()), odd_contents()
    assert code_spans(artefact) == [ODD, ODD_COMMAND, ODD]
    assert code_spans(claims) == [ODD, ODD_COMMAND]
    text = runs_to_markdown(runs)
    assert set(code_spans(text)) == {ODD, ODD_COMMAND}
    assert code_spans(text.split("# Commands")[1].split("# Left out")[0]) == [ODD_COMMAND] * len(RUNS)
    # A table's cell would need its bars escaped, which a reader of the file would copy too.
    assert not any("src.run" in line for line in text.splitlines() if line.startswith("|"))
