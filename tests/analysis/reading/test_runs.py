import json
import math
import shlex

import pytest

from analysis.reading.local import read_local
from analysis.reading.runs import make_run
from src.runs.tracking import Tracker
from tests.support.programs import run_python

pytestmark = pytest.mark.slow


def log_run(directory, rows, config=None, fail=False):
    """A real W&B log with these rows, written in a process of its own as a run would."""
    script = (
        "import sys, json\nfrom pathlib import Path\nfrom src.runs.tracking import Tracker\n"
        "directory, rows, config, fail = json.loads(sys.argv[1])\n"
        "with Tracker(Path(directory), 'n', config, mode='offline', project='p', entity=None) as tracker:\n"
        "    for step, values in rows:\n"
        "        tracker.step = step\n        tracker.log(values)\n"
        "    if fail: raise RuntimeError('on purpose')\n"
    )
    directory.mkdir(parents=True, exist_ok=True)
    arguments = json.dumps([str(directory), rows, config or {"loss": {"name": "ap"}}, fail])
    run_python(["-c", script, arguments], check=not fail)


def test_rows_of_a_step_are_joined_and_numbers_survive(tmp_path):
    nan = float("nan")
    values = {"AP": 12.345678901234567, "AP/a b": nan}
    rows = [[1, {"loss": 0.1 + 0.2}], [2, {"loss": 1e-30}], [2, values], [3, {"loss": math.inf}]]
    log_run(tmp_path / "run1", rows, {"loss": {"name": "ap"}, "classes": ["a", "b"], "none": None})
    (run,) = read_local(tmp_path).all
    assert run.run_id == "run1" and run.finished
    assert run.config["loss.name"] == "ap" and run.config["classes"] == ["a", "b"] and run.config["none"] is None
    assert run.history["global_step"].tolist() == [1, 2, 3]
    assert run.history["loss"].tolist() == [0.1 + 0.2, 1e-30, math.inf]
    assert run.last("AP") == 12.345678901234567
    assert math.isnan(run.last("AP/a b")) and math.isnan(run.last("unknown"))


def test_a_resumed_run_is_one_run_whose_later_part_wins(tmp_path):
    first = [[1, {"loss": 1.0}], [2, {"loss": 2.0, "AP": 5.0}], [3, {"loss": 3.0}], [4, {"loss": 4.0}]]
    log_run(tmp_path / "run1", first, fail=True)
    log_run(tmp_path / "run1", [[2, {"AP": 5.0}], [3, {"loss": 33.0}]])
    (run,) = read_local(tmp_path).all
    assert run.finished
    assert run.history["global_step"].tolist() == [1, 2, 3]
    assert run.history["loss"].tolist() == [1.0, 2.0, 33.0]


def test_failed_and_interrupted_runs_are_not_finished(tmp_path):
    log_run(tmp_path / "failed", [[1, {"loss": 1.0}]], fail=True)
    log_run(tmp_path / "cut", [[step, {"loss": 1.0, "filler": "x" * 100}] for step in range(600)])
    (file,) = (tmp_path / "cut").glob("wandb/offline-run-*/*.wandb")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 5])
    cut, failed = read_local(tmp_path).all
    assert not failed.finished and len(failed.history) == 1
    assert not cut.finished and 50 < len(cut.history) < 600


def test_unreadable_files_are_named_and_left_out(tmp_path):
    log_run(tmp_path / "good", [[1, {"loss": 1.0}]])
    for name, content in (("empty", b""), ("foreign", b"not a log" * 100), ("stub", b":W&B\x00\x00")):
        folder = tmp_path / name / "wandb" / "offline-run-20260101_000000-x"
        folder.mkdir(parents=True)
        (folder / "run-x.wandb").write_bytes(content)
    runs = read_local(tmp_path)
    assert [run.run_id for run in runs.all] == ["good"] and len(runs.unreadable) == 3
    for name in ("empty", "foreign", "stub"):
        assert f"/{name}/" in " ".join(runs.unreadable)


def test_disabled_tracking_leaves_nothing(tmp_path):
    with Tracker(tmp_path, "n", {}, mode="disabled", project="p", entity=None) as tracker:
        tracker.log({"loss": 1.0})
    assert read_local(tmp_path).all == []


@pytest.mark.parametrize("arguments", [["table1", "--outputs", "nowhere"], ["table9"]])
def test_command_line_errors(arguments):
    done = run_python(["-m", "analysis", *arguments])
    assert done.returncode == 2 and ("nowhere: no such folder" in done.stderr or "table1" in done.stderr)


def test_a_folder_without_runs_is_named(tmp_path):
    words = ["-m", "analysis", "table1", "--report", tmp_path / "report", "--outputs"]
    done = run_python([*words, tmp_path])
    assert done.returncode == 0 and f"no run in {tmp_path}: --outputs takes the folder of all runs" in done.stderr
    log_run(tmp_path / "run1", [[1, {"loss": 1.0}]])
    assert "no run in" not in run_python([*words, tmp_path]).stderr


@pytest.mark.parametrize("home", ["/root", "/home/me", "/Users/me"])
def test_a_report_names_no_ones_home(home):
    config = {"dataset": {"root": f"{home}/.cache/x"}, "data": {"root": "/data/home/me/x"}, "outputs": "outputs"}
    assert make_run("a", config, [], "finished").config == {
        "dataset.root": "~/.cache/x",
        "data.root": "/data/home/me/x",
        "outputs": "outputs",
    }


def test_what_logs_a_run_again_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    outputs = tmp_path / "out (1)"
    (outputs / "0123456789").mkdir(parents=True)
    summary = {"metrics": {}, "command": {"canonical": "python -m src.run"}}
    (outputs / "0123456789" / "summary.json").write_text(json.dumps(summary))
    (line,) = read_local(outputs).unreadable
    assert shlex.split(line.partition("to log it again: ")[2])[3] == f'outputs="{outputs}"'
