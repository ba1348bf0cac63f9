"""Tables, panels, claims and runs as tidy CSV: one number per row."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from analysis.artefacts.artefact import Absent, Artefact, Cell, Claim, Measured, Published, Section
from analysis.artefacts.number_format import row_name
from analysis.reading.runs import Runs
from analysis.report.provenance import describe_runs

NUMBER_COLUMNS = [
    "setting",
    "row",
    "group",
    "column",
    "mean",
    "half_width",
    "seeds",
    "run_ids",
    "published",
    "where",
    "missing",
]
CLAIM_COLUMNS = [
    "claim",
    "text",
    "where",
    "artefact",
    "setting",
    "verdict",
    "numbers",
    "test",
    "run_ids",
    "missing",
    "commands",
]


def to_csv(artefact: Artefact) -> dict[str, str]:
    """Return the CSV files of an artefact by name: one for each table and each panel, with all settings in it.

    Raises:
        ValueError: a table and a panel of the artefact would have the same file.
    """
    tables: dict[str, list[list[Any]]] = {}
    panels: dict[str, list[pd.DataFrame]] = {}
    for section in artefact.sections:
        for name, row in _number_rows(section):
            tables.setdefault(name, []).append(row)
        for panel in section.panels:
            data = panel.data.copy()
            data.insert(0, "setting", section.setting, allow_duplicates=True)
            panels.setdefault(panel.name, []).append(data)
    files = {
        f"{artefact.name}{f'-{name}' if len(tables) > 1 else ''}.csv": _csv_text(NUMBER_COLUMNS, rows)
        for name, rows in tables.items()
    }
    for name, frames in panels.items():
        file = f"{artefact.name}-{name}.csv"
        if file in files:
            raise ValueError(f"{artefact.name} has a table and a panel that are both named {name}")
        files[file] = pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n")
    return files


def _number_rows(section: Section) -> Iterator[tuple[str, list[Any]]]:
    """Yield the table's name and the CSV row of each number of a section."""
    for table in section.tables:
        for row in table.rows:
            for (group, column), cell in zip(table.columns, row, strict=True):
                if not isinstance(cell, str):
                    yield table.name, [section.setting, row_name(table, row), group, column, *_number_fields(cell)]


def _number_fields(cell: Cell) -> list[Any]:
    """Return the last seven columns of a number's row."""
    match cell:
        case Measured():
            half_width = "" if math.isnan(cell.estimate.half_width) else cell.estimate.half_width
            return [cell.estimate.mean, half_width, cell.estimate.count, " ".join(cell.run_ids), "", "", ""]
        case Published():
            return ["", "", "", "", cell.value, cell.where, ""]
        case Absent():
            return ["", "", "", "", "", "", cell.why]
    raise TypeError(f"{cell!r} is not a number of a table")


def claims_to_csv(claims: list[Claim]) -> str:
    """Return one row for each verdict, and one without a verdict for each claim that has none.

    The column `commands` has one command per line: those that make the missing runs.
    """
    rows = []
    for claim in claims:
        missing = "; ".join(item.what for item in claim.missing)
        commands = "\n".join(item.command for item in claim.missing if item.command)
        verdicts = [[v.setting, v.outcome, v.numbers, v.test, " ".join(v.run_ids)] for v in claim.verdicts]
        for verdict in verdicts or [[""] * 5]:
            rows.append([claim.name, claim.text, claim.where, claim.artefact, *verdict, missing, commands])
    return _csv_text(CLAIM_COLUMNS, rows)


def runs_to_csv(runs: Runs, commands: dict[str, str]) -> str:
    """Return one row for each run: its description, its last metrics and its whole configuration."""
    described = pd.DataFrame(describe_runs(runs, commands), columns=None if runs.all else ["run"])
    logged = runs.table.drop(columns=["run_id", *described.columns], errors="ignore")
    return pd.concat([described, logged], axis=1).to_csv(index=False, lineterminator="\n")


def _csv_text(columns: list[str], rows: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
