"""Table 1: batch size, δ of the piecewise step function, and interpolation, each around the paper's setting."""

from analysis.artefacts.artefact import Artefact, Published, Section, Table
from analysis.artefacts.table_cells import (
    METRICS,
    in_each_setting,
    lead,
    less,
    mark_best,
    measured,
    missing_runs,
    published,
    published_lead,
)
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import STANDARD, Setting

TITLE = "Table 1: ablations of AP-loss"
BLOCKS = {"batch_size": "Batch size", "delta": "δ", "interpolated": "Interpolated"}
CAPTION = (
    "AP-loss at other batch sizes, other δ, and without interpolation, each varied alone around batch size 8, δ = 1 "
    "and interpolated precision. AP in percent on the test split of each setting's data. The paper's numbers are those "
    "of RetinaNet with ResNet-50 on VOC2007 test, so only differences between rows compare: the last columns are each "
    "row's distance from the standard one, ours, the paper's, and how much they differ."
)


def build(runs: Runs) -> Artefact:
    """Table 1 in each setting that has a run of it."""
    return Artefact("table1", TITLE, CAPTION, in_each_setting(runs, _section))


def _section(setting: Setting) -> Section:
    rows = {
        block: {value: setting.select(**{block: _parse(value)}) for value in values} for block, values in _rows().items()
    }
    everything = {f"{BLOCKS[b]} {value}": runs for b, values in rows.items() for value, runs in values.items()}
    run_ids = dict.fromkeys(run.run_id for runs in everything.values() for run in runs)
    tables = [_table(block, values) for block, values in rows.items()]
    return Section(setting.overrides, tables, [], missing_runs(setting, "table1", everything), list(run_ids))


def _rows() -> dict[str, list[str]]:
    paper = published("table1")
    return {block: list(rows["value"]) for block, rows in paper.groupby("block", sort=False)}


def _parse(value: str) -> bool | float:
    return {"Yes": True, "No": False}[value] if value in ("Yes", "No") else float(value)


def _table(block: str, rows: dict[str, list[Run]]) -> Table:
    paper = published("table1").query("block == @block").set_index("value")
    standard = next(value for value in rows if _parse(value) == STANDARD[block])
    columns = [("", BLOCKS[block]), *(("ours", m) for m in METRICS), *(("paper", m) for m in METRICS)]
    columns += [("AP from the standard row", name) for name in ("ours", "paper", "difference")]
    ours = {m: mark_best([measured(runs, m) for runs in rows.values()]) for m in METRICS}
    theirs = {m: mark_best([Published(float(paper[m][value]), "Table 1") for value in rows]) for m in METRICS}
    lines = []
    for place, (value, runs) in enumerate(rows.items()):
        line = [value, *(ours[m][place] for m in METRICS), *(theirs[m][place] for m in METRICS)]
        if value == standard:
            line += ["–"] * 3
        else:
            mine = lead(runs, rows[standard], "AP")
            papers = published_lead(paper["AP"][value], paper["AP"][standard], "Table 1")
            line += [mine, papers, less(mine, papers)]
        lines.append(line)
    return Table(block, BLOCKS[block], columns, lines)
