"""Table 1: batch size, δ of the piecewise step function, and interpolation, each varied around the paper's values."""

from collections.abc import Mapping
from functools import partial

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
from analysis.reading.settings import STANDARD, Setting, is_whole_training, settings

TITLE = "Table 1: ablations of AP-loss"
BLOCKS = {"batch_size": "Batch size", "delta": "δ", "interpolated": "Interpolated"}
CAPTION = (
    "AP-loss with other batch sizes, with other δ, and without interpolation; one of them varies at a time, the others "
    "are batch size 8, δ = 1 and interpolated precision. AP in percent on the test split of each setting's data. The "
    "paper's numbers are those of RetinaNet with ResNet-50 on VOC2007 test, so only differences between rows can be "
    "compared: the last columns give each row's distance from the standard row, ours, the paper's, and ours minus the "
    "paper's."
)


def build(runs: Runs) -> Artefact:
    """Build Table 1 for each setting that has a run of it; a block with one row of runs only if no setting has more."""
    paper = dict(list(published_table("table1").set_index("value").groupby("block", sort=False)))
    groups = [_groups(setting, paper) for setting in settings(filter(is_whole_training, runs.counting))]
    compared = {block for by_block in groups for block in paper if compares(by_block[block].values())}
    return Artefact("table1", TITLE, CAPTION, sections_by_setting(runs, partial(_section, paper, compared)))


def _section(paper: Mapping[str, pd.DataFrame], compared: set[str], setting: Setting) -> Section:
    """Return a setting's section, without the blocks that only others compare, unless it has no other block."""
    groups = _groups(setting, paper)
    of_others = {block for block in compared if not compares(groups[block].values())}
    groups = {block: by_value for block, by_value in groups.items() if block not in of_others} or groups
    named = {f"{BLOCKS[b]} {value}": runs for b, by_value in groups.items() for value, runs in by_value.items()}
    tables = [_table(block, groups[block], paper[block]) for block in groups]
    missing, run_ids = missing_runs(setting, "table1", named), run_ids_of(named.values())
    return Section(setting.overrides, tables, [], missing, run_ids, compares=compares(named.values()))


def _groups(setting: Setting, paper: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, list[Run]]]:
    """Return the runs of each row of each block."""
    return {
        block: {value: setting.select(**{block: _parse(value)}) for value in numbers.index}
        for block, numbers in paper.items()
    }


def _parse(value: str) -> bool | float:
    return {"Yes": True, "No": False}[value] if value in ("Yes", "No") else float(value)


def _table(block: str, groups: dict[str, list[Run]], paper: pd.DataFrame) -> Table:
    standard = next(value for value in groups if _parse(value) == STANDARD[block])
    rows = ours_and_paper_rows(groups, paper, "Table 1", lambda value: (value, standard))
    return Table(block, BLOCKS[block], ours_and_paper_columns(BLOCKS[block], "AP from the standard row"), rows)
