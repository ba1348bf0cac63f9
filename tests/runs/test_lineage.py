import pytest

from src.runs.lineage import Lineage, describe_attempt, lineage_changes
from src.utils.errors import UserError


def kept(run_id="run", data="d", **changes):
    """What the checkpoint of a first attempt keeps."""
    return {"run_id": run_id, "data": data, "attempts": [describe_attempt(1) | changes]}


def lineage(tmp_path, number=2):
    return Lineage(tmp_path / "run", [describe_attempt(number)], "d")


def test_an_attempt_follows_those_of_the_checkpoint(tmp_path, caplog):
    now = lineage(tmp_path)
    now.continue_from(kept(), tmp_path / "checkpoint.pt", 7)
    assert [attempt["attempt"] for attempt in now.attempts] == [1, 2] and now.attempts[1]["from_step"] == 7
    assert not caplog.text and not lineage_changes(now.attempts)
    third = lineage(tmp_path, number=1)  # the files of the lock were deleted
    third.continue_from(now.to_plain(), tmp_path / "checkpoint.pt", 9)
    assert [attempt["attempt"] for attempt in third.attempts] == [1, 2, 3]


def test_other_code_and_packages_are_said_once(tmp_path, caplog):
    now = lineage(tmp_path)
    versions = describe_attempt(1)["versions"]
    earlier = kept(git_commit="a" * 40, git_dirty=True, code="old", versions=versions | {"torch": "2.0.0"})
    now.continue_from(earlier, tmp_path / "checkpoint.pt", 7)
    (record,) = caplog.records
    assert "resumes at step 7 with other code (aaaaaaaaaa, edited: old →" in record.message
    assert f"torch (2.0.0 → {versions['torch']})" in record.message and "numpy" not in record.message
    (change,) = lineage_changes(now.attempts)
    assert change.startswith("from step 7: code (") and "torch (2.0.0" in change


def test_what_an_earlier_version_saved_is_continued(tmp_path):
    now = lineage(tmp_path)
    now.continue_from(None, tmp_path / "checkpoint.pt", 7)
    assert [attempt["attempt"] for attempt in now.attempts] == [2]
    for attempts in (None, "", [{}], [{}, {}]):
        assert lineage_changes(attempts) == []


@pytest.mark.parametrize(
    ("foreign", "words"), [({"run_id": "other"}, "is of run other, not of run"), ({"data": "x"}, "on other data")]
)
def test_a_foreign_checkpoint_is_refused_by_name(tmp_path, foreign, words):
    with pytest.raises(UserError, match=rf"checkpoint\.pt.*{words}.*Delete it"):
        lineage(tmp_path).continue_from(kept(**foreign), tmp_path / "checkpoint.pt", 7)
