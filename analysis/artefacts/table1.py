"""Table 1: batch size, δ of the piecewise step function, and interpolation, each varied around the paper's values."""

import pandas as pd

from analysis.artefacts.artefact import Artefact, Section, Table
from analysis.artefacts.table_cells import (
    compares,
    missing_runs,
    ours_and_paper_columns,
    ours_and_paper_rows,
    run_ids_of,
    sections_by_setting,
)
from analysis.paper.published import published_table
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import STANDARD, Setting

TITLE = "Table 1: ablations of AP-loss"
BLOCKS = {"batch_size": "Batch size", "delta": "δ", "interpolated": "Interpolated"}
CAPTION = (
    "AP-loss with other batch sizes, with other δ, and without interpolation; one of them varies at a time, the others "
    "are batch size 8, δ = 1 and interpolated precision. AP in percent on the test split of each setting's data. The "
    "paper's numbers are those of RetinaNet with ResNet-50 on VOC2007 test, so only differences between rows compare: "
    "the last columns give each row's distance from the standard row, ours, the paper's, and ours minus the paper's."
)


def build(runs: Runs) -> Artefact:
    """Build Table 1 for each setting that has a run of it."""
    return Artefact("table1", TITLE, CAPTION, sections_by_setting(runs, _section))


def _section(setting: Setting) -> Section:
    paper = dict(list(published_table("table1").set_index("value").groupby("block", sort=False)))
    groups = {
        block: {value: setting.select(**{block: _parse(value)}) for value in numbers.index}
        for block, numbers in paper.items()
    }
    named = {f"{BLOCKS[b]} {value}": runs for b, by_value in groups.items() for value, runs in by_value.items()}
    tables = [_table(block, groups[block], paper[block]) for block in groups]
    missing, run_ids = missing_runs(setting, "table1", named), run_ids_of(named.values())
    return Section(setting.overrides, tables, [], missing, run_ids, compares=compares(named.values()))


def _parse(value: str) -> bool | float:
    return {"Yes": True, "No": False}[value] if value in ("Yes", "No") else float(value)


def _table(block: str, groups: dict[str, list[Run]], paper: pd.DataFrame) -> Table:
    standard = next(value for value in groups if _parse(value) == STANDARD[block])
    rows = ours_and_paper_rows(groups, paper, "Table 1", lambda value: (value, standard))
    return Table(block, BLOCKS[block], ours_and_paper_columns(BLOCKS[block], "AP from the standard row"), rows)
