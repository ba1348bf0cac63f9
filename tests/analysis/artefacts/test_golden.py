"""Tables of the small logs in tests/analysis/golden, computed by hand.

Student's t for 95% is 12.7062 with one degree of freedom. Of two seeds a and b the mean is (a + b) / 2 and its half
width 12.7062 · |a − b| / 2; so is that of a difference of two means, with the differences of each seed as a and b.
"""

import pytest

from analysis.artefacts import figure6, table1, table2
from analysis.artefacts.artefact import Absent, Measured, Published
from analysis.reading.local import read_local
from src.utils import paths

GOLDEN = paths.ROOT / "tests/analysis/golden"
ONE_SEED = None


@pytest.fixture(scope="module")
def runs():
    return read_local(GOLDEN)


def test_what_is_left_out_is_named(runs):
    assert len(runs.all) == 9 and not runs.unreadable
    assert {run.reason for run in runs.left_out} == {"its log has no end", "ended with exit code 1"}
    assert {run.config["delta"] for run in runs.left_out} == {0.25, 2.0}
    (resumed,) = [run for run in runs.all if run.resumed]
    assert resumed.finished and resumed.series("AP").to_dict() == {2: 14.0, 4: 32.0}


def check(cell, mean, half_width, seeds=2):
    assert isinstance(cell, Measured) and cell.estimate.count == seeds and len(cell.run_ids) >= seeds
    assert cell.estimate.mean == pytest.approx(mean, abs=1e-9)
    if half_width is ONE_SEED:
        assert cell.estimate.half_width != cell.estimate.half_width
    else:
        assert cell.estimate.half_width == pytest.approx(half_width, abs=1e-3)


def row(table, name):
    (row,) = [row for row in table.rows if row[0] == name]
    return row


def test_table_1(runs):
    (section,) = table1.build(runs).sections
    batch, delta, interpolated = section.tables
    # 30 and 32; 60 and 64; 20 and 21
    for table, name in ((batch, "8"), (delta, "1"), (interpolated, "Yes")):
        standard = row(table, name)
        check(standard[1], 31.0, 12.7062)
        check(standard[2], 62.0, 25.4124)
        check(standard[3], 20.5, 6.3531)
        assert [cell.value for cell in standard[4:7]] == [53.1, 82.3, 58.1] and standard[7:] == ["–"] * 3
    half = row(delta, "0.5")  # 29 and 27; 58 and 54; 19 and 18
    check(half[1], 28.0, 12.7062)
    check(half[2], 56.0, 25.4124)
    check(half[7], -3.0, 25.4124)  # 29 − 30 and 27 − 32
    assert half[8] == Published(-1.8, "Table 1", signed=True)
    check(half[9], -1.2, 25.4124)
    four = row(delta, "4")
    check(four[1], 25.0, ONE_SEED, 1)
    check(four[7], -6.0, ONE_SEED, 1)
    check(four[9], -3.4, ONE_SEED, 1)  # the paper's is −2.6
    for table, name in ((delta, "0.25"), (delta, "2"), (batch, "1"), (interpolated, "No")):
        missing = row(table, name)
        assert all(isinstance(cell, Absent) for cell in (*missing[1:4], missing[7], missing[9]))
    assert [row[1].best for row in delta.rows if isinstance(row[1], Measured)] == [False, True, False]
    (missing,) = section.missing
    assert "δ 4 (seed 1)" in missing.what and "δ 0.25," in missing.what and "δ 0.5" not in missing.what
    assert missing.command == "python -m src.run -m sweeps=table1 recipe=mini seed=0,1"


def test_table_2(runs):
    section = table2.build(runs).sections[0]
    (table,) = section.tables
    focal = row(table, "Focal loss")  # 31 and 29; 63 and 61; 21 and 19
    check(focal[1], 30.0, 12.7062)
    check(focal[2], 62.0, 12.7062)
    check(focal[7], 1.0, 25.4124)  # 30 − 31 and 32 − 29
    check(focal[9], -0.8, 25.4124)  # the paper's lead is 53.1 − 51.3 = 1.8
    check(row(table, "AP-loss")[1], 31.0, 12.7062)
    # Equal as they are written, 62.0, both are the best.
    assert focal[2].best and row(table, "AP-loss")[2].best and not focal[1].best
    assert isinstance(row(table, "AUC-loss")[1], Absent) and row(table, "AUC-loss")[4].value == 49.3
    assert [m.what for m in section.missing] == ["CE-loss + OHEM, AUC-loss"]


def test_figure_6(runs):
    (panel,) = figure6.build(runs).sections[0].panels
    data = panel.data.set_index(["loss", "epoch"])
    # Two steps are an epoch. AP-loss: 10 and 14, then 30 and 32; focal loss: 9 and 9, then 31 and 29.
    assert data["mean"].to_dict() == {("ap", 1.0): 12.0, ("ap", 2.0): 31.0, ("focal", 1.0): 9.0, ("focal", 2.0): 30.0}
    assert data["low"]["ap", 1.0] == pytest.approx(12 - 25.4124, abs=1e-3)
    assert data["high"]["focal", 1.0] == 9.0 and (data.seeds == 2).all()
