"""States of runs, as their folders and SLURM's queue have them, and folders that are damaged in every way."""

import json
import os
import stat

import pytest

from src.runs.run_lock import acquire
from src.runs.slurm_queue import QueuedJob, ask_queue
from src.runs.state import State, read_run, read_runs
from tests.support.other_user import as_user, shared_folder
from tests.support.runs import leave_finished

__all__ = ["shared_folder"]
NOTE = {"job": "12_3", "overrides": ["loss=ap"], "time": 0, "code": "a/copy", "log": "a/log"}
FAILURE = {"error": "no luck", "time": 0, "traceback": "", "job": "12_3"}


def write(directory, **contents):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def released(directory):
    """Leave a folder as a process does that has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    acquire(directory).release()
    return directory


@pytest.mark.parametrize(
    ("queue", "state"),
    [
        (None, State.SUBMITTED),  # SLURM was not asked
        ({"12_3": QueuedJob(True, "Priority")}, State.SUBMITTED),
        ({"12_3": QueuedJob(False)}, State.SUBMITTED),  # it starts
        ({"12_3": QueuedJob(True, "Dependency")}, State.WAITING),
        ({"12_4": QueuedJob(True)}, State.GONE),
        ({}, State.GONE),
    ],
    ids=str,
)
def test_a_submitted_run_is_as_the_queue_has_its_job(tmp_path, queue, state):
    assert read_run(write(tmp_path, submitted=NOTE), queue).state == state


def test_a_run_that_was_begun_is_as_the_queue_has_its_job(tmp_path):
    queue = {"12_3": QueuedJob(True, "BeginTime")}
    interrupted = write(released(tmp_path / "requeued"), submitted=NOTE)
    assert read_run(interrupted, queue).state == State.SUBMITTED
    found = read_run(interrupted, {})
    assert found.state == State.INTERRUPTED and "12_3 is no longer queued" in found.reason
    failed = write(released(tmp_path / "failed"), submitted=NOTE, failed=FAILURE)
    assert read_run(failed, queue).state == State.FAILED and not read_run(failed).needs_queue  # as it ends
    again = write(failed, submitted=NOTE | {"job": "13_0"})
    assert read_run(again, {"13_0": QueuedJob(True)}).state == State.SUBMITTED
    assert read_run(again, {}).state == State.FAILED and read_run(again).reason == "no luck"


def test_a_holder_on_another_node_lives_as_long_as_its_job(tmp_path):
    """Whatever the clocks of both say."""
    write(released(tmp_path), submitted=NOTE)
    lock = {"machine": "another", "host": "n7", "pid": 1, "started": "1", "job": "12_3", "released": False}
    for age, answer, state in [
        (1e6, {"12_3": QueuedJob(False)}, State.RUNNING),
        (0, {}, State.INTERRUPTED),
        (0, None, State.RUNNING),
        (0, {"9_9": QueuedJob(False)}, State.INTERRUPTED),
    ]:
        (tmp_path / "claim.1").write_text(json.dumps(lock))
        os.utime(tmp_path / "claim.1", (tmp_path.stat().st_mtime - age,) * 2)
        assert read_run(tmp_path, answer).state == state


@pytest.mark.parametrize("noted", [False, True], ids=["as before", "with its log noted"])
def test_a_run_without_all_of_its_log_has_not_simply_finished(tmp_path, noted):
    leave_finished(tmp_path)
    (log,) = tmp_path.glob("wandb/*/*.wandb")
    if noted:
        write(tmp_path, summary={"metrics": {}, "log": {str(log.relative_to(tmp_path)): log.stat().st_size}})
        assert read_run(tmp_path).state == State.FINISHED
        size = log.stat().st_size
        os.truncate(log, size - 1)
        assert read_run(tmp_path).state == State.UNLOGGED and "cut off" in read_run(tmp_path).reason
        os.truncate(log, size)
    assert read_run(tmp_path).state == State.FINISHED
    log.unlink()
    found = read_run(tmp_path)
    assert (
        found.state == State.UNLOGGED and found.summary is not None and ("gone" if noted else "no log") in found.reason
    )


DAMAGE = {
    "an empty summary": ("summary.json", b"", State.DAMAGED),
    "half a summary": ("summary.json", b'{"metrics": {"AP": 3', State.DAMAGED),
    "a summary without metrics": ("summary.json", b'{"name": "it"}', State.DAMAGED),
    "a summary of other bytes": ("summary.json", b"\xff\xfe\x00\x80", State.DAMAGED),
    "a summary of zeros": ("summary.json", bytes(64), State.DAMAGED),
    "a list as summary": ("summary.json", b"[]", State.DAMAGED),
    "deep nonsense": ("summary.json", b"[" * 100_000, State.DAMAGED),
    "an empty note of a failure": ("failed.json", b"", State.DAMAGED),
    "an empty note of a job": ("submitted.json", b"", State.DAMAGED),
    "a job that is no text": ("submitted.json", b'{"job": 12}', State.DAMAGED),
    "an empty data.json": ("data.json", b"", State.DAMAGED),
    "an empty checkpoint": ("checkpoint.pt", b"", State.DAMAGED),
    "a claim of nonsense": ("claim.2", b"nonsense", State.DAMAGED),
    "a claim that is a list": ("claim.2", b"[1]", State.DAMAGED),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_tolerated_and_named_and_left_as_it_is(tmp_path, kind):
    name, content, state = DAMAGE[kind]
    directory = released(tmp_path / "run")
    file = directory / name
    file.write_bytes(content)
    os.utime(file, (0, 0))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}
    found = read_run(directory)
    assert found.state == state and any(str(file) in line for line in found.damage), found
    assert str(file) in found.reason
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()} == before


def test_what_is_no_folder_or_no_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    assert (
        read_run(tmp_path / "file").state == State.DAMAGED
        and str(tmp_path / "file") in read_run(tmp_path / "file").reason
    )
    (tmp_path / "run/summary.json").mkdir(parents=True)
    (tmp_path / "run/claim.1").mkdir()
    found = read_run(tmp_path / "run")
    assert found.state == State.DAMAGED and "summary.json" in found.reason and "claim" in found.damage[-1]


def test_a_finished_run_is_finished_whatever_else_is_damaged(tmp_path):
    leave_finished(tmp_path)
    for name in ("failed.json", "submitted.json", "data.json"):
        (tmp_path / name).write_bytes(b"")
    found = read_run(tmp_path)
    assert found.state == State.FINISHED and len(found.damage) == 3


@pytest.fixture
def stub_queue(tmp_path, monkeypatch):
    """A squeue that lists a job, and a file with a line for each call."""
    calls, program = tmp_path / "calls", tmp_path / "bin/squeue"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "12_3|PD|Dependency|a comment"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return calls


def test_the_queue_is_asked_once_and_only_if_a_state_depends_on_it(tmp_path, stub_queue):
    leave_finished(tmp_path / "finished")
    done = [write(tmp_path / "finished", submitted=NOTE), tmp_path / "missing", released(tmp_path / "interrupted")]
    runs, problem = read_runs(done)
    assert not problem and not stub_queue.exists()
    submitted = [write(tmp_path / str(task), submitted=NOTE | {"job": f"12_{task}"}) for task in range(2, 5)]
    runs, problem = read_runs([*done, *submitted])
    assert not problem and len(stub_queue.read_text().splitlines()) == 1
    assert f"--user={os.getuid()}" in stub_queue.read_text()
    assert [runs[directory].state for directory in submitted] == [State.GONE, State.WAITING, State.GONE]


def test_without_slurm_a_submitted_run_stays_submitted(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    directory = write(tmp_path / "run", submitted=NOTE)
    runs, problem = read_runs([directory])
    assert runs[directory].state == State.SUBMITTED and "no squeue here" in problem


def test_anothers_runs_can_be_read_and_a_folder_that_cannot_is_named(shared_folder):
    leave_finished(shared_folder / "finished")
    write(released(shared_folder / "failed"), failed=FAILURE)
    closed = released(shared_folder / "closed")
    closed.chmod(0o700)
    runs, _ = as_user(lambda: read_runs(shared_folder / name for name in ("finished", "failed", "closed", "missing")))
    states = [State.FINISHED, State.FAILED, State.DAMAGED, State.MISSING]
    assert [run.state for run in runs.values()] == states
    assert runs[closed].reason == f"{closed} cannot be read: Permission denied"


def test_variables_of_squeue_and_unknown_users_do_not_matter(stub_queue, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    program = stub_queue.parent / "bin/squeue"
    program.write_text(program.read_text().replace("\n", '\n[ -z "$SQUEUE_STATES" ] || exit 1\n', 1))
    assert ask_queue([2**31 - 7]) == {"12_3": QueuedJob(True, "Dependency", "a comment")}
    assert str(2**31 - 7) not in stub_queue.read_text()


def test_the_comments_of_other_jobs_may_be_anything(stub_queue):
    program = stub_queue.parent / "bin/squeue"
    other = r"7|R|None|caf\351\n\n{ |x|\n}\n8+0|PD|Priority|\n"
    program.write_text(f"{program.read_text()}printf '{other}'\n")
    assert ask_queue() == {
        "12_3": QueuedJob(True, "Dependency", "a comment"),
        "7": QueuedJob(False, "None", "caf\ufffd"),
        "8+0": QueuedJob(True, "Priority", ""),
    }
