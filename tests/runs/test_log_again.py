"""A run is finished only with its log: what is lost of it is logged again from the checkpoint, by the same command."""

import os
import shutil

import pytest
import torch

from analysis.reading.local import read_local
from analysis.report.provenance import describe_runs
from src.runs.state import State, state
from src.utils.errors import UserError
from tests.support.configurations import make_linear_config, resolve_linear
from tests.support.programs import run_python
from tests.support.runs import NOT_LOGGED, run_here, same_weights, summary_of


def change_checkpoint(directory, **changes):
    """Change what a checkpoint notes of its lineage."""
    content = torch.load(directory / "checkpoint.pt", weights_only=True)
    content["lineage"].update(changes)
    torch.save(content, directory / "checkpoint.pt")


@pytest.mark.slow
def test_a_finished_run_is_logged_again_and_a_damaged_summary_made_again(tiny, finished, undisturbed, caplog):
    outputs = finished.parent
    assert state(finished) == State.UNLOGGED
    runs = read_local(outputs)
    (line,) = runs.unreadable
    assert not runs.all and f"{finished} has finished, but it has no log; to log it again: python -m src.run" in line
    assert line.endswith(f" outputs={outputs}")
    run_here(*tiny, *NOT_LOGGED)  # which asks for no log
    assert state(finished) == State.UNLOGGED
    saved, metrics = (finished / "checkpoint.pt").stat().st_mtime_ns, summary_of(finished)["metrics"]

    run_here(*tiny)
    assert (finished / "checkpoint.pt").stat().st_mtime_ns == saved  # nothing was trained
    assert state(finished) == State.FINISHED and summary_of(finished)["metrics"] == metrics
    (logged,) = read_local(outputs).all
    assert logged.finished and logged.history["global_step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert logged.history["classification_loss"].notna().all() and logged.history["AP"].notna().sum() == 2
    assert "anchor_scores" in logged.objects and "detections" in logged.objects
    run_here(*tiny)
    assert len(list(finished.glob("wandb/offline-run-*"))) == 1

    (finished / "summary.json").write_bytes(b"")
    assert state(finished) == State.DAMAGED and str(finished / "summary.json") in read_local(outputs).unreadable[0]
    run_here(*tiny)
    assert "summary.json is damaged" in caplog.text
    assert state(finished) == State.FINISHED and summary_of(finished)["metrics"] == metrics
    assert [attempt["from_step"] for attempt in summary_of(finished)["attempts"][1:]] == [6]
    (again,) = read_local(outputs).all
    assert again.values.equals(logged.values) and same_weights(finished, undisturbed())

    for log in finished.glob("wandb/offline-run-*"):
        shutil.rmtree(log)
    (finished / "checkpoint.pt").unlink()
    with pytest.raises(UserError, match="no checkpoint that keeps what was logged. To train it again, add retry=true"):
        run_here(*tiny)


@pytest.mark.slow
def test_a_log_that_lost_a_part_or_its_end_is_not_whole(tiny, finished):
    run_here(*tiny)
    (log,) = finished.glob("wandb/offline-run-*/*.wandb")
    os.truncate(log, log.stat().st_size - 400)
    (run,) = read_local(finished.parent).all
    assert not run.finished and "was cut off; to log it again: python -m src.run" in run.reason
    run_here(*tiny)
    (run,) = read_local(finished.parent).all
    assert run.finished and len(run.history) == 6

    summary = summary_of(finished)
    (log,) = finished.glob("wandb/offline-run-*/*.wandb")
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1  # which no size shows
    log.write_bytes(damaged)
    (run,) = read_local(finished.parent).all
    assert run.state == "damaged" and run.reason.endswith(" retry=true") and state(finished) == State.FINISHED
    run_here(*tiny, "retry=true")
    (run,) = read_local(finished.parent).all
    assert run.finished and len(run.history) == 6 and summary_of(finished)["metrics"] == summary["metrics"]


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused_by_name(tiny, finished):
    (finished / "summary.json").unlink()
    change_checkpoint(finished, run_id="0123456789")
    with pytest.raises(UserError, match=rf"checkpoint\.pt is of run 0123456789, not of {finished.name}"):
        run_here(*tiny, *NOT_LOGGED)


@pytest.mark.slow
def test_going_on_under_another_torch_is_said_and_in_summary_and_report(tiny, finished, caplog):
    (finished / "summary.json").unlink()
    attempt = torch.load(finished / "checkpoint.pt", weights_only=True)["lineage"]["attempts"][0]
    now = attempt["versions"]["torch"]
    earlier = {**attempt, "git_commit": "f" * 40, "git_dirty": False, "code": "old"}
    change_checkpoint(finished, attempts=[earlier | {"versions": attempt["versions"] | {"torch": "1.0"}}])
    run_here(*tiny)
    assert f"resumes at step 6 with other code (ffffffffff → {attempt['git_commit'][:10]}" in caplog.text
    assert [a["versions"]["torch"] for a in summary_of(finished)["attempts"]] == ["1.0", now]
    runs = read_local(finished.parent)
    (row,) = describe_runs(runs, {})
    assert row["commit"].startswith("ffffffffff, ") and f"torch (1.0 → {now})" in row["resumed"]


FILL = """
import os, resource, sys
from pathlib import Path
from src.runs import tracking
from tests.support.runs import service_of

tracking.FLUSH_S = 1.0
with tracking.Tracker(Path(sys.argv[1]), "n", {"attempt": 1}, mode="offline", project="p", entity=None) as tracker:
    resource.prlimit(service_of(os.getpid()), resource.RLIMIT_FSIZE, (4096, 4096))
    for tracker.step in range(200):
        tracker.log({"loss": 1.0})
"""


@pytest.mark.slow
def test_a_log_that_wandb_could_not_write_is_an_error(tmp_path):
    (tmp_path / "run").mkdir()
    done = run_python(["-c", FILL, tmp_path / "run"])
    assert done.returncode == 1 and "LogIncomplete: W&B has not written the whole log" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_linear_run_without_a_log_is_made_again(tmp_path):
    from src.linear import run

    def again(*words):
        overrides = [f"outputs={tmp_path}", "problem.name=local_optimum", "steps=20", *words]
        return run(resolve_linear(make_linear_config(*overrides), overrides))

    directory = again("wandb.mode=disabled")
    assert state(directory) == State.UNLOGGED
    again()
    (logged,) = read_local(tmp_path).all
    assert state(directory) == State.FINISHED and logged.finished and logged.last("ap_loss") == 0
