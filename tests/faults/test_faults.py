"""A few of the faults of `python -m tests.faults`; docs/faults.md has them all."""

from tests.faults.__main__ import Campaign
from tests.faults.local import LOCAL

CHOSEN = {"limit on the size of files", "truncated W&B file", "SIGSTOP, a second process, SIGCONT"}


def test_disturbed_runs_end_as_undisturbed_ones(tmp_path):
    kinds = [kind for kind in LOCAL if kind.name in CHOSEN]
    assert {kind.name for kind in kinds} == CHOSEN
    trials = Campaign(kinds, 0, tmp_path, tmp_path / "report.md", "pytest").run()
    assert [trial.problems for trial in trials] == [[]] * len(CHOSEN)
    assert (tmp_path / "report.md").read_text().count("| pass |") == len(CHOSEN)
