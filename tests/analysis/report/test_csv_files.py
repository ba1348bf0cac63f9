import csv
import io
from dataclasses import replace

import pytest

from analysis.report.csv_files import claims_to_csv, runs_to_csv, to_csv
from tests.analysis.report.samples import (
    ODD,
    ODD_COMMAND,
    odd_artefact,
    odd_claims,
    odd_contents,
    sample_artefact,
    sample_claims,
    sample_panel,
    sample_table,
)


def read_rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_number_has_a_row():
    artefact = sample_artefact()
    second = replace(artefact.sections[0], setting="recipe=voc", missing=[])
    files = to_csv(replace(artefact, sections=[*artefact.sections, second]))
    assert sorted(files) == ["table1-curve.csv", "table1.csv"]
    rows = read_rows(files["table1.csv"])
    assert len(rows) == 2 * (4 + 5)
    two, absent, published = rows[:3]
    assert two["setting"] == "recipe=mini" and two["row"] == "1 <b>" and (two["group"], two["column"]) == ("ours", "AP")
    assert (float(two["mean"]), float(two["half_width"])) == (29.04, 0.46)
    assert (two["seeds"], two["run_ids"], two["published"], two["missing"]) == ("2", "run-a run-b", "", "")
    assert absent["missing"] == "missing" and absent["mean"] == "" and absent["column"] == "AP75"
    assert (published["published"], published["where"], published["mean"]) == ("53.1", "Table 1", "")
    one = rows[4]
    assert (one["mean"], one["half_width"], one["seeds"], one["row"]) == ("26.0", "", "1", "a|b_c")
    assert files["table1-curve.csv"].splitlines() == [
        "setting,x,y",
        "recipe=mini,0,1.0",
        "recipe=mini,1,3.0",
        "recipe=voc,0,1.0",
        "recipe=voc,1,3.0",
    ]


def test_each_of_several_tables_has_a_file():
    files = to_csv(sample_artefact(tables=[sample_table("a"), sample_table("b")], panels=[]))
    assert sorted(files) == ["table1-a.csv", "table1-b.csv"]
    with pytest.raises(ValueError, match="both named a"):
        to_csv(sample_artefact(tables=[sample_table("a"), sample_table("b")], panels=[sample_panel("a")]))


def test_each_verdict_has_a_row():
    rows = read_rows(claims_to_csv(sample_claims()))
    assert [row["claim"] for row in rows] == ["delta", "delta", "other", "third"]
    assert rows[0]["run_ids"] == "run-a run-c" and rows[1]["run_ids"] == ""
    assert (rows[2]["verdict"], rows[2]["missing"], rows[2]["commands"]) == ("", "all", "python -m src.run")


@pytest.mark.slow
def test_commands_and_settings_are_read_as_they_were_written():
    contents = odd_contents()
    runs = read_rows(runs_to_csv(contents.runs, contents.commands))
    assert [row["command"] for row in runs] == [ODD_COMMAND] * len(runs) and len(runs) == 4
    (claim,) = read_rows(claims_to_csv(odd_claims()))
    assert claim["commands"] == ODD_COMMAND and claim["setting"] == claim["numbers"] == ODD
    files = to_csv(odd_artefact())
    assert {row["setting"] for file in files.values() for row in read_rows(file)} == {ODD}
