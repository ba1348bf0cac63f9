"""Commands that submit runs of one folder wait for each other, and find the jobs that another has not noted."""

import json
import threading

import pytest

from src.launch.slurm_arrays import Refused
from src.launch.submission import Submission, alone, note_forgotten_jobs
from src.runs.run_lock import acquire
from src.runs.slurm_queue import QueuedJob
from src.utils.errors import UserError


def test_a_command_waits_until_another_has_submitted(tmp_path, capsys):
    entered, leave = threading.Event(), threading.Event()

    def submit():
        with alone(tmp_path):
            entered.set()
            leave.wait(60)

    with alone(tmp_path):
        other = threading.Thread(target=submit)
        other.start()
        assert not entered.wait(1.5)
    assert entered.wait(60) and acquire(tmp_path / ".submitting") is None
    assert f"waiting for another command that submits runs of {tmp_path}" in capsys.readouterr().err
    leave.set()
    other.join()
    acquire(tmp_path / ".submitting").release()


NOTES = {"first": {"program": "src.run"}, "second": {"program": "src.run"}}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("the disk is full")])
def test_jobs_are_found_that_a_stopped_command_has_not_noted(tmp_path, error):
    with (
        pytest.raises(type(error)),
        Submission(tmp_path, NOTES, str(tmp_path / ".slurm/%j")) as submission,
    ):
        raise error  # after SLURM has taken the jobs
    queue = {f"7_{index}": QueuedJob(pending=True, comment=f"mine {submission.token}") for index in range(2)}
    assert note_forgotten_jobs(tmp_path, queue) == 0  # the command has not ended yet
    left = json.loads(submission.file.read_text())
    left["process"]["started"] = "another process"
    submission.file.write_text(json.dumps(left))
    assert note_forgotten_jobs(tmp_path, queue) == 2
    assert [json.loads((tmp_path / name / "submitted.json").read_text())["job"] for name in NOTES] == ["7_0", "7_1"]
    assert not submission.file.exists()


def test_what_slurm_refuses_or_has_been_noted_is_not_looked_for(tmp_path):
    with pytest.raises(Refused), Submission(tmp_path, NOTES, str(tmp_path / ".slurm/%j")) as submission:
        raise Refused("Invalid partition name specified")
    assert not submission.file.exists()
    with Submission(tmp_path, NOTES, str(tmp_path / ".slurm/%j")) as submission:
        submission.note(["7_0", "7_1"])
    assert not submission.file.exists() and (tmp_path / "second/submitted.json").exists()
