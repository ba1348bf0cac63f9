import json
import os
import subprocess
import sys
import time

import pytest

from src.launch.sweep_runs import expand_sweep
from src.runs.run_lock import acquire
from src.status import main
from tests.conftest import ROOT

ARGUMENTS = ["loss=ap,focal,auc", "delta=1,2,4"]


@pytest.fixture
def outputs(tmp_path):
    """Seven runs: finished, running, submitted, interrupted, failed, and two that are missing."""
    names = list(expand_sweep("src.run", ARGUMENTS, tmp_path).runs)
    assert len(names) == 7
    folders = [tmp_path / name for name in names]
    for folder in folders[:5]:
        folder.mkdir()
    summary = {"name": "a run", "metrics": {"AP": 12.345, "AP50": 30.0}, "seconds": 9.0}
    (folders[0] / "summary.json").write_text(json.dumps(summary))
    claim = acquire(folders[1])
    note = {"job": "12_3", "overrides": "loss=ap", "time": time.time(), "code": "a/copy", "log": "a/log"}
    (folders[2] / "submitted.json").write_text(json.dumps(note))
    acquire(folders[3]).release()
    acquire(folders[4]).release()
    (folders[4] / "failed.json").write_text(json.dumps({"error": "no luck", "time": 0, "traceback": "File x, line 1"}))
    yield tmp_path, names
    claim.release()


def test_states_are_counted_and_commands_given(outputs, capsys):
    folder, names = outputs
    main([f"--outputs={folder}", *ARGUMENTS])
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == [
        "runs",
        "finished",
        "running",
        "submitted",
        "interrupted",
        "failed",
        "missing",
    ]
    assert said.splitlines()[1].split() == ["as", "given", "7", "1", "1", "1", "1", "1", "2"]
    assert "python -m src.run -m loss=ap,focal,auc delta=1,2,4 retry=true" in said
    assert f"{names[4]}  no luck" in said


def test_every_table_and_figure_is_listed_with_its_command(tmp_path, capsys):
    main([f"--outputs={tmp_path}"])
    said = capsys.readouterr().out
    for file in (ROOT / "sweeps").glob("*.yaml"):
        assert f"\n{file.stem} " in said and f" -m sweeps={file.stem}" in said
    assert "python -m src.linear -m sweeps=proposition1" in said


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (0, ["finished", "AP 12.35, AP50 30", "a run"]),
        (1, ["running", f"process     {os.getpid()} on", "is running it"]),
        (2, ["submitted", "as job 12_3, with the code in a/copy", "a/log"]),
        (3, ["interrupted", "was the last to run it"]),
        (4, ["failed", "no luck", "File x, line 1"]),
        (5, ["missing", "command     python -m src.run loss="]),
    ],
)
def test_one_run_is_explained(index, words, outputs, capsys, monkeypatch):
    folder, names = outputs
    asked = expand_sweep("src.run", ARGUMENTS, folder)
    monkeypatch.setattr("src.status.labelled_sweeps", lambda _: [("", asked)])
    main([f"--outputs={folder}", names[index]])
    said = capsys.readouterr().out
    for word in [names[index], asked.command, *words]:
        assert word in said, (word, said)


def test_an_unknown_run_and_an_impossible_key_are_told(tmp_path):
    command = [sys.executable, "-m", "src.status", f"--outputs={tmp_path}"]
    done = subprocess.run([*command, "0123456789"], cwd=ROOT, capture_output=True, text=True)
    assert "0123456789  missing" in done.stdout and "no sweep contains this run" in done.stdout
    done = subprocess.run([*command, "detla=1"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "error: Could not override 'detla'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["src.status", "src.run"])
def test_what_only_composes_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
