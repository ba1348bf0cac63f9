"""Folders of outputs that several users share: each may look, and work on the others' runs where modes allow it."""

import json
import logging
import os
import stat

import pytest

from src.launch.compose import Job
from src.launch.log_file import RunLogFile
from src.launch.skipped_runs import reason_to_skip
from src.launch.slurm_dependencies import job_of
from src.launch.slurm_launcher import _is_replaceable
from src.launch.sweep_records import SweepRecord, recorded_sweeps, save_record
from src.runs.attempt import hold_run
from src.runs.run_lock import acquire
from src.runs.slurm_queue import QueuedJob, hides_others
from src.runs.state import State, read_run, state
from src.status import main as status
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.files import share_with_group, write_json
from tests.support.other_user import as_user, shared_folder
from tests.support.programs import call_run
from tests.support.runs import leave_finished

__all__ = ["shared_folder"]
ANNE, BERT, TEAM = 40_001, 40_002, 40_000


def begin(directory, *, finish):
    """Work on a run, and finish or fail."""
    share_with_group(directory.parent)
    with hold_run(directory, "it", World(), retry=True) as guard:
        guard.note_step()
        if not finish:
            raise UserError("no luck")
        leave_finished(directory)


def fail(directory):
    with pytest.raises(UserError, match="no luck"):
        begin(directory, finish=False)


@pytest.fixture
def team(shared_folder):
    """A folder of outputs that belongs to a team."""
    os.chown(shared_folder, ANNE, TEAM)
    shared_folder.chmod(0o2775)
    return shared_folder


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077], ids=oct)
def test_a_run_of_one_can_be_gone_on_with_by_another(team, umask):
    directory = team / "run"
    as_user(lambda: fail(directory), user=ANNE, group=TEAM, umask=umask)
    assert state(directory) == State.FAILED
    as_user(lambda: begin(directory, finish=True), user=BERT, group=TEAM, umask=umask)
    assert state(directory) == State.FINISHED
    paths = [path for path in directory.rglob("*")]
    assert paths and all(path.stat().st_mode & stat.S_IWGRP and path.stat().st_gid == TEAM for path in paths)
    assert all(path.stat().st_mode & stat.S_ISGID for path in paths if path.is_dir())


@pytest.mark.parametrize(
    "words", [["outputs='{}'"], ["-m", "outputs=${{oc.env:NOWHERE,{}}}"]], ids=["quoted", "referred to"]
)
def test_a_folder_of_a_team_is_known_however_it_is_given(team, words):
    umask = os.umask(0o022)
    try:
        code, output = call_run(*(word.format(team) for word in words), "dataset=voc", "dataset.root=nowhere")
    finally:
        os.umask(umask)
    assert code == 1 and "dataset.root=nowhere" in output
    folders = [path for path in team.iterdir() if path.is_dir()]
    assert folders and all(folder.stat().st_mode & stat.S_IWGRP for folder in folders)


def test_without_permission_a_line_says_whose_folder_it_is(shared_folder):
    os.chown(shared_folder, ANNE, ANNE)
    directory = shared_folder / "run"
    as_user(lambda: fail(directory), user=ANNE, group=ANNE)

    def try_to_work():
        with pytest.raises(UserError, match="you may not write to it. To share a folder of outputs"):
            begin(directory, finish=True)
        with pytest.raises(UserError, match="cannot be created: Permission denied"):
            begin(shared_folder / "other", finish=True)

    as_user(try_to_work, user=BERT, group=BERT)
    assert state(directory) == State.FAILED


def test_anothers_runs_are_shown_and_nothing_is_written(shared_folder, monkeypatch, tmp_path, capsys):
    os.chown(shared_folder, ANNE, ANNE)
    words = ["loss=ap,focal", f"outputs={shared_folder}"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # composed as root, as Python's own files are closed to others
    status(words)
    as_user(lambda: fail(shared_folder / "run"), user=ANNE, group=ANNE)
    record = SweepRecord("src.run", words, {"run": ["loss=ap"], "missing": []}, launched=True, version="x")
    as_user(lambda: save_record(record, shared_folder), user=ANNE, group=ANNE)
    before = {path: path.stat().st_mtime_ns for path in shared_folder.rglob("*")}

    def look():
        (seen,) = recorded_sweeps(shared_folder)
        assert seen == record and state(shared_folder / "run") == State.FAILED
        save_record(SweepRecord("src.run", ["loss=auc"], {}, launched=True, version="x"), shared_folder)  # warns
        handler = RunLogFile(shared_folder / "run/run.log", delay=True)
        handler.emit(logging.makeLogRecord({"msg": "finished"}))

    as_user(look, user=BERT, group=BERT)
    assert {path: path.stat().st_mtime_ns for path in shared_folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["gone/run.log", "."])
def test_a_log_file_that_cannot_be_opened_is_left_out(name, tmp_path):
    RunLogFile(tmp_path / name, delay=True).emit(logging.makeLogRecord({"msg": "finished"}))
    assert not list(tmp_path.iterdir())


NOTE = {"job": "12_3", "overrides": ["loss=ap"], "time": 0, "code": "another/copy", "log": "a/log"}
ELSEWHERE = {"machine": "another", "host": "n7", "pid": 1, "started": "1", "job": "12_3", "released": False}


@pytest.fixture
def submitted(shared_folder):
    """A function that leaves the folder of a run as its submission by a user does."""

    def leave(name, user, **contents):
        directory = shared_folder / name
        directory.mkdir()
        for file, content in {"submitted": NOTE, **contents}.items():
            (directory / f"{file}.json").write_text(json.dumps(content))
        os.chown(directory / "submitted.json", user, -1)
        return directory

    return leave


@pytest.fixture(params=["jobs", "none"])
def private_data(request, tmp_path, monkeypatch):
    """What SLURM's configuration says that users do not see of each other."""
    program = tmp_path / "bin/scontrol"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'PrivateData             = usage,{request.param}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    hides_others.cache_clear()
    yield request.param
    hides_others.cache_clear()


def test_a_job_of_anothers_that_slurm_does_not_show_is_not_taken_for_gone(submitted, private_data):
    submitted("mine", os.getuid())
    waiting = submitted("waiting", ANNE)
    acquire(submitted("requeued", ANNE)).release()
    acquire(submitted("failed", ANNE, failed={"error": "no luck", "job": NOTE["job"]})).release()
    (submitted("running", ANNE) / "claim.1").write_text(json.dumps(ELSEWHERE))
    states = {folder.name: read_run(folder, {}).state for folder in waiting.parent.iterdir()}
    if private_data == "none":
        others = {"waiting": State.GONE, "requeued": State.INTERRUPTED, "running": State.INTERRUPTED}
    else:
        others = {"waiting": State.SUBMITTED, "requeued": State.SUBMITTED, "running": State.RUNNING}
        found = read_run(waiting, {})
        assert "whose jobs SLURM does not show" in reason_to_skip(found, {})
        assert job_of(found, {}) is None  # so that nothing waits for a job that may not be there
    assert states == {"mine": State.GONE, "failed": State.FAILED, **others}


def test_a_job_of_anothers_is_not_replaced(submitted):
    queue = {NOTE["job"]: QueuedJob(pending=True)}
    mine, annes = (read_run(submitted(name, user), queue) for name, user in (("mine", os.getuid()), ("hers", ANNE)))
    for found in (mine, annes):
        assert _is_replaceable(Job([], {}, found.directory), found, [], queue) == (found is mine)
    assert "to replace these jobs add resubmit=true" in reason_to_skip(mine, {})
    assert reason_to_skip(annes, {}) == "queued already by another user, with different code"


def test_a_file_that_replaces_another_has_the_modes_of_a_new_one(tmp_path):
    tmp_path.chmod(0o2775)
    umask = os.umask(0o002)
    try:
        for value in (1, 2):
            write_json(tmp_path / "file", value)
            assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o664
    finally:
        os.umask(umask)


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"program": "src.run"})])
def test_a_damaged_record_of_a_sweep_is_ignored_and_named(tmp_path, content, caplog):
    (tmp_path / ".sweeps").mkdir()
    (tmp_path / ".sweeps/0123456789.json").write_text(content)
    assert recorded_sweeps(tmp_path) == []
    assert str(tmp_path / ".sweeps/0123456789.json") in caplog.text
