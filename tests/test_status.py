import dataclasses
import json
import os
import shlex
import signal
import time

import pytest

from slurm.one_machine.daemons import wait_for
from src.launch.sweep_records import save_record
from src.launch.sweep_runs import expand_sweep, labelled_sweeps
from src.runs.run_lock import acquire
from src.status import main
from src.utils import paths
from src.utils.quoting import hydra_quoted
from tests.support.programs import run_python, start_python
from tests.support.runs import leave_finished

ARGUMENTS = ["loss=ap,focal,auc", "delta=1,2,4"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The folder of these tests' caches, in which each sweep is recorded once it was expanded."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def with_records(tmp_path_factory):
    """A folder of outputs of which the status of everything was asked for."""
    folder = tmp_path_factory.mktemp("outputs")
    main([f"--outputs={folder}"])
    assert not list(folder.iterdir())  # looking writes nothing
    return folder


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Seven runs: finished, running, submitted, interrupted, failed, and two that are missing."""
    # No SLURM that could be asked for the submitted one's job. Without the file squeue would wait for it for a minute.
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    names = list(expand_sweep("src.run", ARGUMENTS, tmp_path).runs)
    assert len(names) == 7
    folders = [tmp_path / name for name in names]
    for folder in folders[:5]:
        folder.mkdir()
    leave_finished(folders[0], name="a run", metrics={"AP": 12.345, "AP50": 30.0}, seconds=9.0)
    lock = acquire(folders[1])
    note = {"job": "12_3", "overrides": "loss=ap", "time": time.time(), "code": "a/copy", "log": "a/log"}
    (folders[2] / "submitted.json").write_text(json.dumps(note))
    acquire(folders[3]).release()
    acquire(folders[4]).release()
    (folders[4] / "failed.json").write_text(json.dumps({"error": "no luck", "time": 0, "traceback": "File x, line 1"}))
    yield tmp_path, names
    lock.release()


def test_states_are_counted_and_commands_given(outputs, capsys):
    folder, names = outputs
    main([f"--outputs={folder}", *ARGUMENTS])
    output = capsys.readouterr().out
    states = ["finished", "running", "submitted", "interrupted", "failed", "missing"]
    assert output.splitlines()[0].split() == ["runs", *states]
    assert output.splitlines()[1].split() == ["as", "given", "7", "1", "1", "1", "1", "1", "2"]
    assert f"python -m src.run -m loss=ap,focal,auc delta=1,2,4 outputs={folder} retry=true" in output
    assert f"{names[4]}  no luck" in output


@pytest.mark.slow
def test_every_table_and_figure_is_listed_with_its_command(with_records, capsys):
    main([f"--outputs={with_records}"])
    output = capsys.readouterr().out
    for file in paths.SWEEPS.glob("*.yaml"):
        assert f"\n{file.stem} " in output and f" -m sweeps={file.stem}" in output
    assert "python -m src.linear -m sweeps=proposition1" in output


@pytest.mark.slow
@pytest.mark.parametrize("word", ["sweeps='table2'", 'sweeps="table2"'])
def test_a_sweep_may_be_named_in_quotes(word, tmp_path, capsys):
    main([f"--outputs={tmp_path}", word])
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["table2", "4"]
    record = expand_sweep("src.run", [word], tmp_path)
    save_record(dataclasses.replace(record, launched=True), tmp_path)
    (found,) = [record for name, record in labelled_sweeps(tmp_path) if name == "table2"]
    assert found.arguments == [word]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "words"),
    [
        (0, ["finished", "\n  AP 12.3, AP50 30.0 after 9 s; ", "a run"]),
        (1, ["running", f"process     {os.getpid()} on", "is running it"]),
        (2, ["submitted", "as job 12_3, with the code in a/copy", "a/log"]),
        (3, ["interrupted", "was the last to run it"]),
        (4, ["failed", "no luck", "File x, line 1"]),
        (5, ["missing", "command     python -m src.run loss="]),
    ],
)
def test_one_run_is_explained(index, words, outputs, with_records, capsys):
    folder, names = outputs
    record = expand_sweep("src.run", ARGUMENTS, folder)
    save_record(dataclasses.replace(record, launched=True), folder)
    main([f"--outputs={folder}", names[index]])
    output = capsys.readouterr().out
    for word in [names[index], f"{record.command} outputs={folder}", *words]:
        assert word in output, (word, output)


@pytest.mark.slow
def test_a_run_of_no_sweep_is_missing(with_records, capsys):
    main([f"--outputs={with_records}", "0123456789"])
    output = capsys.readouterr().out
    assert "0123456789  missing" in output and "no sweep contains this run" in output


@pytest.mark.slow
def test_runs_of_no_sweep_are_counted_with_their_commands(tmp_path, capsys, with_records, monkeypatch):
    for run_id, name in (("0123456789", "a"), ("9876543210", "b")):
        folder = tmp_path / run_id
        folder.mkdir()
        canonical = f"python -m src.run recipe=mini schedule.epochs=5 loss={name}"
        (folder / "config.yaml").write_text(f"command: {{canonical: {canonical!r}}}\n")
    leave_finished(tmp_path / "0123456789", name="a run", metrics={"AP": 12.345}, seconds=9.0)
    acquire(tmp_path / "9876543210").release()
    main([f"--outputs={tmp_path}"])
    output = capsys.readouterr().out
    (line,) = [line.split() for line in output.splitlines() if line.startswith("other runs")]
    assert line[2:6] == ["2", "1", "–", "–"]
    command = f"python -m src.run recipe=mini schedule.epochs=5 loss=b outputs={tmp_path}"
    assert f"Other runs that have not finished:\n  {command}\n" in output
    for words in ([f"--outputs={tmp_path}"], []):  # a folder is enough
        main([*words, str(tmp_path / "9876543210")])
        assert f"command     {command}\n" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "9876543210")
    main(["."])
    output = capsys.readouterr().out
    assert output.startswith("9876543210  interrupted") and f"command     {command}\n" in output


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([f"--outputs={tmp_path / 'nowhere'}"])
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["analysis"], ["src.status"], ["src.sync"], ["src.submit", "0123456789"]])
def test_the_folder_of_one_run_is_not_taken_for_that_of_all(words, tmp_path):
    folder = tmp_path / "0123456789"
    folder.mkdir()
    (folder / "config.yaml").touch()
    done = run_python(["-m", *words, "--outputs", folder])
    assert done.returncode == 1
    assert f"{folder}: this is the folder of one run; give that of all runs, --outputs {tmp_path}\n" in done.stderr


@pytest.mark.parametrize("words", [["src.run"], ["src.run", "-m", "loss=ap,focal"], ["src.linear"]])
def test_no_run_is_made_in_the_folder_of_another(words, tmp_path):
    folder = tmp_path / "0123456789"
    folder.mkdir()
    (folder / "config.yaml").touch()
    done = run_python(["-m", *words, f"outputs={folder}"])
    assert done.returncode == 1 and f"give that of all runs, outputs={tmp_path}\n" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_an_impossible_key_is_an_error_without_a_traceback(tmp_path):
    done = run_python(["-m", "src.status", f"--outputs={tmp_path}", "detla=1"], fresh=True)
    assert done.returncode == 1 and "error: Could not override 'detla'" in done.stderr
    assert "do you mean delta" in done.stderr and "+detla" not in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_slurm_does_not_answer_is_no_traceback(tmp_path):
    directory = tmp_path / "outputs/0123456789"
    directory.mkdir(parents=True)
    (directory / "submitted.json").write_text('{"job": "1"}')
    (tmp_path / "squeue").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 60\n")
    (tmp_path / "squeue").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["-m", "src.status", directory.name, f"--outputs={directory.parent}"]
    program = start_python(words, environment=environment)
    assert wait_for((tmp_path / "asked").exists, 100)
    program.send_signal(signal.SIGINT)
    assert program.communicate(timeout=60)[1] == "stopped\n" and program.returncode == 1


@pytest.mark.parametrize("module", ["src.status", "src.run"])
def test_what_only_composes_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert run_python(["-c", code], fresh=True).returncode == 0


def test_printed_commands_name_the_folder_whatever_it_is_called(outputs, tmp_path, capsys):
    folder = tmp_path / "a, b='c'"
    folder.mkdir()
    asked = f"outputs={hydra_quoted(str(folder))}"
    main([f"--outputs={folder}", *ARGUMENTS])
    command = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("  python"))
    assert shlex.split(command)[-1] == asked
    main([*ARGUMENTS, asked])
    assert command in capsys.readouterr().out
