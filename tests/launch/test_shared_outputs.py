"""Folders of outputs that several users share: each may look, and work on the others' runs where modes allow it."""

import json
import logging
import os
import stat

import pytest

from src.launch.log_file import RunLogFile
from src.launch.sweep_records import SweepRecord, recorded_sweeps, save_record
from src.runs.attempt import hold_run
from src.runs.state import State, state
from src.status import main as status
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.files import share_with_group, write_json
from tests.support.other_user import as_user, shared_folder
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
