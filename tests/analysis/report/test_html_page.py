"""The report's page as a parser reads it, without a browser."""

from html.parser import HTMLParser

import pytest

from analysis.artefacts.artefact import SUPPORTED, UNDECIDED, Absent, Claim, Published, Table, Verdict
from analysis.reading.runs import Runs
from analysis.report.html_claims import claims_part
from analysis.report.html_elements import artefact_table
from analysis.report.html_page import to_html
from analysis.report.png_pdf_svg import drawing_of
from tests.analysis.logged import config_of, rows_of, run_of
from tests.analysis.report.samples import ODD, ODD_COMMAND, ODD_NAME, RUNS, TWO_SEEDS, odd_contents, sample_contents

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Collect the texts of all elements by tag and class, and check that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], {}

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append((f"{tag}.{dict(attrs).get('class', '')}".rstrip("."), []))

    def handle_endtag(self, tag):
        name, pieces = self.open.pop()
        assert name.split(".")[0] == tag
        self.texts.setdefault(name, []).append("".join(pieces))

    def handle_data(self, data):
        for _, pieces in self.open:
            pieces.append(data)


def read_odd_page():
    contents = odd_contents()
    svgs = dict.fromkeys(drawing_of(contents.artefacts[0], 0).svgs, "<svg></svg>")
    page = to_html(contents, svgs, {"table1": ["table1.md"]})
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader.texts


@pytest.mark.slow
def test_commands_are_copied_as_they_are():
    commands = read_odd_page()["code.command"]
    assert set(commands) == {ODD_COMMAND} and len(commands) > 2 + len(RUNS)


@pytest.mark.slow
def test_odd_texts_are_shown_as_they_are():
    texts = read_odd_page()
    assert texts["code"].count(ODD) >= 4  # in the overview, as a heading, not shown, and of the verdict
    assert f"Not shown, as there is nothing to compare: {ODD}." in texts["p.note"]
    assert ODD in texts["caption"] and texts["figcaption"] == [ODD_NAME]
    assert ODD in texts["p.note"] and ODD in texts["p.numbers"] and ODD in texts["h3"]


def test_of_a_column_with_our_numbers_too_only_the_papers_look_like_the_papers():
    paper = Published(53.1, "Table 4")
    columns = [("", "Method"), ("", "AP"), ("", "aeroplane")]
    table = Table("detectors", "a title", columns, [["ours", TWO_SEEDS, Absent()], ["theirs", paper, paper]])
    reader = Reader()
    reader.feed(artefact_table(table))
    assert reader.texts["td.number"] == ["29.0 ± 0.5"]
    assert reader.texts["td.number paper"] == ["53.1", "53.1"] and reader.texts["th.number"] == ["AP"]


def test_settings_are_listed_in_the_order_of_the_sections_and_verdicts_in_that_of_their_table():
    words = [("recipe=mini schedule.epochs=1", [0]), ("recipe=mini", [0, 1])]
    runs = [run_of(config_of(f"seed={seed}", *of.split()), rows_of(30.0)) for of, seeds in words for seed in seeds]
    outcomes = [
        Verdict(of, outcome, "", "", []) for (of, _), outcome in zip(words, (UNDECIDED, SUPPORTED), strict=True)
    ]
    claims = [Claim("delta", "δ = 1 is best", "Table 1", "table1", outcomes, [])]
    reader = Reader()
    reader.feed(claims_part(sample_contents(claims=claims, runs=Runs(runs))))
    assert reader.texts["th"][1:] == ["recipe=mini", "recipe=mini schedule.epochs=1"]
    assert reader.texts["summary"] == ["✓ supported ? not enough evidence δ = 1 is best"]
