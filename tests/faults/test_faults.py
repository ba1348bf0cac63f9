"""A few of the faults of `python -m tests.faults`; docs/faults.md has them all."""

import pytest

from src.utils import paths
from tests.faults.__main__ import ABOUT, ABOUT_COLUMNS, ABOUT_SWEEPS, HEAD, Campaign
from tests.faults.local import LOCAL

pytestmark = pytest.mark.slow

CHOSEN = {"limit on the size of files", "SIGSTOP, a second process, SIGCONT"}


def test_disturbed_runs_end_as_undisturbed_ones(tmp_path):
    kinds = [kind for kind in LOCAL if kind.name in CHOSEN]
    assert {kind.name for kind in kinds} == CHOSEN
    report = tmp_path / "report.md"
    campaign = Campaign(kinds, seed=0, folder=tmp_path, report=report, command="pytest", forked=True)
    trials = campaign.run()
    assert [trial.problems for trial in trials] == [[]] * len(CHOSEN)
    assert report.read_text().count("| pass |") == len(CHOSEN)


def test_the_kept_report_is_as_the_program_writes_it():
    kept = (paths.ROOT / "docs" / "faults.md").read_text()
    begins = [about + ABOUT_COLUMNS + "\n- command: " for about in (ABOUT, ABOUT + ABOUT_SWEEPS)]
    assert kept.startswith(tuple(begins))
    _, table = kept.split("\n" + HEAD)
    assert len(table.splitlines()) > 40 and all(line.startswith("| ") for line in table.splitlines())
