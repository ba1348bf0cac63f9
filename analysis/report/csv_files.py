"""Tables, panels, claims and runs as tidy CSV: one number a row."""

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.artefacts.artefact import Absent, Artefact, Cell, Claim, Measured, Published
from analysis.reading.runs import Runs
from analysis.artefacts.number_format import row_name
from analysis.report.provenance import describe_runs

NUMBER = [
    "setting", "row", "group", "column", "mean", "half_width", "seeds", "run_ids", "published", "where", "missing",
]
CLAIM = ["claim", "text", "where", "artefact", "setting", "verdict", "numbers", "test", "run_ids", "missing"]


def csv_files(artefact: Artefact) -> dict[str, str]:
    """The CSV files of an artefact by their names: one for each table and each panel, with all settings in it."""
    tables: dict[str, list[list[Any]]] = {}
    panels: dict[str, list[pd.DataFrame]] = {}
    for section in artefact.sections:
        for table in section.tables:
            rows = tables.setdefault(table.name, [])
            for row in table.rows:
                name = row_name(table, row)
                for (group, column), cell in zip(table.columns, row, strict=True):
                    if not isinstance(cell, str):
                        rows.append([section.setting, name, group, column, *_values(cell)])
        for panel in section.panels:
            data = panel.data.copy()
            data.insert(0, "setting", section.setting, allow_duplicates=True)
            panels.setdefault(panel.name, []).append(data)
    files = {
        f"{artefact.name}{f'-{name}' if len(tables) > 1 else ''}.csv": to_csv(NUMBER, rows)
        for name, rows in tables.items()
    }
    for name, parts in panels.items():
        file = f"{artefact.name}-{name}.csv"
        if file in files:
            raise ValueError(f"{artefact.name} has a table and a panel that are both named {name}")
        files[file] = pd.concat(parts, ignore_index=True).to_csv(index=False, lineterminator="\n")
    return files


def _values(cell: Cell) -> list[Any]:
    match cell:
        case Measured():
            found = cell.estimate
            half_width = "" if math.isnan(found.half_width) else found.half_width
            return [found.mean, half_width, found.count, " ".join(cell.run_ids), "", "", ""]
        case Published():
            return ["", "", "", "", cell.value, cell.where, ""]
        case Absent():
            return ["", "", "", "", "", "", cell.why]
    raise TypeError(f"{cell!r} is no number of a table")


def claims_to_csv(claims: list[Claim]) -> str:
    """One row for each verdict; a claim that no run says anything of has one without."""
    rows = []
    for claim in claims:
        missing = "; ".join(f"{m.what}: {m.command}" if m.command else m.what for m in claim.missing)
        verdicts = [[v.setting, v.outcome, v.numbers, v.test, " ".join(v.run_ids)] for v in claim.verdicts]
        for verdict in verdicts or [[""] * 5]:
            rows.append([claim.name, claim.text, claim.where, claim.artefact, *verdict, missing])
    return to_csv(CLAIM, rows)


def runs_to_csv(runs: Runs, commands: dict[str, str]) -> str:
    """One row for each run: what the list of runs says of it, its last metrics, and its whole configuration."""
    described = pd.DataFrame(describe_runs(runs, commands), columns=None if runs.all else ["run"])
    more = runs.table.drop(columns=["run_id", *described.columns], errors="ignore")
    return pd.concat([described, more], axis=1).to_csv(index=False, lineterminator="\n")


def to_csv(head: list[str], rows: Iterable[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([head, *rows])
    return text.getvalue()
