"""Logs of earlier versions, which do not state what the run is, count only after they have been completed."""

import math
import shutil
import sys

import pytest

from analysis.__main__ import main
from analysis.artefacts import proposition1, table1
from analysis.artefacts.artefact import Measured
from analysis.reading.local import read_local
from analysis.reading.runs import Runs, make_run
from analysis.report.provenance import describe_runs
from src.runs.wandb_log import read_log, write_log
from src.utils import paths
from tests.analysis.artefacts.test_golden import GOLDEN

OLD = paths.ROOT / "tests/analysis/logs_without_identity"
RUN = "6028a9a63d"


def numbers(runs):
    cells = [c for s in table1.build(runs).sections for table in s.tables for row in table.rows for c in row]
    return [cell for cell in cells if isinstance(cell, Measured)]


@pytest.mark.parametrize("unfinished_too", [False, True])
def test_a_run_without_identity_is_left_out_with_the_reason(unfinished_too):
    runs = Runs(read_local(OLD).all, [], unfinished_too)
    (run,) = runs.left_out
    assert run.run_id == RUN and run.finished and runs.counting == [] and not numbers(runs)
    assert "does not state what the run is" in run.reason and "give the run's command again" in run.reason


def test_the_command_line_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["analysis", "table1", "--outputs", str(OLD), "--report", str(tmp_path)])
    main()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("0 runs count") and "left out:" in lines
    assert any(RUN in line and "without slurm=" in line for line in lines)


def test_a_failed_run_keeps_its_own_reason_too():
    config = {"recipe": "mini", "loss": {"name": "ap"}, "batch_size": 8, "seed": 0}
    run = make_run("x", config, [], "failed", "ended with exit code 1")
    assert run.reason.startswith("ended with exit code 1; its log does not state")


@pytest.mark.parametrize(
    ("config", "row"),
    [
        ({"loss": {"name": "ap"}, "lr": 1}, {"global_step": 1, "AP": 1.0}),
        ({"loss": {"name": "giou"}, "batch_size": "auto", "seed": 0, "delta": "small"}, {"global_step": 1}),
        ({"problem": {"name": "random"}, "steps": 200}, {"global_step": 1, "ap_loss": 0.0}),
        ({"needs": {"gpus": [0, 1]}, "attempts": [1, 2]}, {"global_step": 1}),
        ({}, {"global_step": math.nan}),
        ({}, {"global_step": math.inf}),
        ({}, {"global_step": 1e30}),
        ({}, {"global_step": 1, "": 2.0}),
    ],
)
def test_a_run_of_another_project_is_left_out_with_the_reason_whatever_it_logs(config, row):
    runs = Runs([make_run("x", config, [row], "finished")])
    assert runs.counting == [] and runs.left_out[0].reason == "it is not a run of this project"
    (described,) = describe_runs(runs, {})
    assert described["counts"] == "no" and described["options"] == described["needed by"] == ""
    assert len(proposition1.build(runs).sections[0].run_ids) == 0


def test_a_later_part_that_states_the_identity_completes_the_log(tmp_path):
    outputs = shutil.copytree(OLD, tmp_path / "outputs")
    (new,) = GOLDEN.glob(f"{RUN}/wandb/*/*.wandb")
    records = [record for record in read_log(new, print) if record.WhichOneof("record_type") != "history"]
    later = outputs / RUN / "wandb/offline-run-2" / new.name
    later.parent.mkdir()
    write_log(later, records)
    runs = read_local(outputs)
    (run,) = runs.counting
    (old,) = read_local(OLD).all
    assert run.values.equals(old.values) and run.started == old.started and not run.resumed and run.reason == ""
    assert numbers(runs)
