"""A few of the faults of `python -m tests.faults`; docs/faults.md has them all."""

import pytest

from tests.faults.__main__ import Campaign
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
