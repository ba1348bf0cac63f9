"""The same runs from local files and from a W&B server: uploaded to one on the loopback, and read back from there."""

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reading.cache import read_cached
from analysis.reading.local import read_local
from analysis.reading.runs import UNFINISHED
from tests.analysis.artefacts.test_golden import GOLDEN
from tests.analysis.logged import config_of, log_runs, rows_of
from tests.support.programs import own_environment, run_python
from tests.support.wandb_server import OWNER, PAGE, wandb_server

LOG_PICTURE = """
import sys
import tempfile
from pathlib import Path
import numpy, wandb
from src.runs.tracking import Tracker

with Tracker(Path(sys.argv[1]), "n", {"loss": {"name": "ap"}}, mode="offline", project="p", entity=None) as tracker:
    tracker.step = 1
    tracker.log({"detections": wandb.Image(numpy.full((8, 8, 3), 77, numpy.uint8))})
"""


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The golden logs, of which one is resumed and one failed; one with NaN and infinity; one with a picture."""
    outputs = tmp_path_factory.mktemp("outputs")
    shutil.copytree(GOLDEN, outputs, dirs_exist_ok=True)
    odd = rows_of(12.345678901234567, third=1 / 3, tiny=5e-324, never=math.nan, ever=math.inf, under=-math.inf)
    log_runs(outputs, [(config_of("seed=7"), odd)])
    (outputs / "picture").mkdir()
    run_python(["-c", LOG_PICTURE, outputs / "picture"], check=True)
    for run in read_local(outputs).all:
        if run.finished:  # which src.sync recognises by the summary
            (Path(run.source) / "summary.json").write_text('{"metrics": {}}')
    return outputs


@pytest.fixture(scope="module")
def server(outputs):
    with wandb_server() as server:
        call(server.url, "src.sync", "--outputs", outputs, "--all", "--project", "p")
        for run in read_local(outputs).left_out:
            if run.state == UNFINISHED:
                server.runs[f"{OWNER}/p/{run.run_id}"].exit_code = None  # as of a run that has not come to its end
        yield server


def call(url, module, *arguments, code=0, **environment):
    of_wandb = {"HOME": tempfile.gettempdir(), "WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40}
    environment = own_environment() | of_wandb | environment
    done = run_python(["-m", module, *arguments], environment=environment)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def reports(outputs, server, tmp_path_factory):
    """The folders of the reports from local files and from the server."""
    local, remote = tmp_path_factory.mktemp("local"), tmp_path_factory.mktemp("remote")
    call(server.url, "analysis", "table1", "table2", "--outputs", outputs, "--report", local)
    server.asked.clear()
    call(server.url, "analysis", "table1", "table2", "--wandb", f"{OWNER}/p", "--report", remote)
    return local, remote


def test_tables_are_equal_to_the_last_digit(reports):
    local, remote = reports
    for name in ("table1-batch_size.csv", "table1-delta.csv", "table1-interpolated.csv", "table2.csv"):
        assert (local / name).read_text() == (remote / name).read_text()


def histories(report):
    columns = ["run_id", "global_step", "key", "value"]
    kept = pd.read_parquet(report / "data/histories.parquet").astype({"run_id": str, "key": str})
    return kept.sort_values(columns[:3], ignore_index=True)[columns]


def test_runs_and_histories_are_equal(outputs, server, reports):
    runs = {}
    for name, report in zip(("local", "remote"), reports, strict=True):
        runs[name] = pd.read_parquet(report / "data/runs.parquet").set_index("run_id").sort_index()
    assert len(runs["local"]) == 11 > 2 * PAGE and server.asked.count("Runs") == 3
    assert runs["local"]["state"].tolist() == runs["remote"]["state"].tolist()
    assert set(runs["local"]["state"]) == {"finished", "failed", "unfinished"}
    local, remote = map(histories, reports)
    assert len(local) > 300 and local.drop(columns="value").equals(remote.drop(columns="value"))
    assert local["value"].to_numpy().view(np.int64).tolist() == remote["value"].to_numpy().view(np.int64).tolist()
    odd = local.set_index("key")["value"]
    assert math.isnan(odd["never"].iloc[0]) and odd["ever"].iloc[0] == math.inf == -odd["under"].iloc[0]
    assert odd["tiny"].iloc[0] == 5e-324 and odd["third"].iloc[0] == 1 / 3


def test_a_second_time_only_the_list_of_runs_is_asked_for(server, reports, tmp_path):
    before = (reports[1] / "data/runs.parquet").stat().st_mtime_ns
    server.asked.clear()
    call(server.url, "analysis", "table1", "--wandb", f"{OWNER}/p", "--report", reports[1])
    assert "Runs" in server.asked and "HistoryPage" not in server.asked
    assert (reports[1] / "data/runs.parquet").stat().st_mtime_ns == before


def test_what_a_server_gave_before_it_refused_more_is_kept(server, tmp_path):
    words = ["table1", "--wandb", f"{OWNER}/p", "--report", tmp_path]
    ids = sorted(run.removeprefix(f"{OWNER}/p/") for run in server.runs)
    server.refused = f'"run":"{ids[5]}"'
    try:
        done = call(server.url, "analysis", *words, code=1)
    finally:
        server.refused = "nothing"
    assert f"error: --wandb {OWNER}/p: {server.url} does not give its runs: " in done.stderr
    server.asked.clear()
    call(server.url, "analysis", *words)
    assert server.asked.count("HistoryPage") == len(ids) - 5


def test_pictures_are_downloaded(reports):
    (file,) = (reports[1] / "data/images/picture").rglob("*.png")
    (kept,) = pd.read_parquet(reports[1] / "data/runs.parquet").set_index("run_id").loc[["picture"], "objects"]
    assert str(file) in kept


@pytest.mark.parametrize("path", ["someone", "someone/", "a/b/c"])
def test_a_path_that_is_none(server, path, tmp_path):
    done = call(server.url, "analysis", "table1", "--wandb", path, "--report", tmp_path, code=1)
    assert f"--wandb {path}: give it as ENTITY/PROJECT" in done.stderr


def test_a_project_that_is_not_there(server, tmp_path):
    done = call(server.url, "analysis", "table1", "--wandb", f"{OWNER}/other", "--report", tmp_path, code=1)
    assert f"--wandb {OWNER}/other" in done.stderr and "other" in done.stderr.split("give its runs:")[1]


def test_a_server_that_does_not_answer(tmp_path):
    done = call("http://127.0.0.1:9", "analysis", "table1", "--wandb", "a/b", "--report", tmp_path, code=1)
    assert "error: W&B cannot be reached" in done.stderr


@pytest.mark.skipif(not os.environ.get("WANDB_TEST_PROJECT"), reason="WANDB_TEST_PROJECT=ENTITY/PROJECT is not set")
def test_a_real_server(tmp_path):
    """Reads a project of yours from W&B's own server twice; the second time from what was kept."""
    first = read_cached(os.environ["WANDB_TEST_PROJECT"], Path(tmp_path))
    second = read_cached(os.environ["WANDB_TEST_PROJECT"], Path(tmp_path))
    pd.testing.assert_frame_equal(first.table, second.table)
    assert all(run.values.equals(other.values) for run, other in zip(first.all, second.all, strict=True))
