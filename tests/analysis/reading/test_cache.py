"""What was read before is not read again, and is the same to the last bit."""

import logging
import math
import resource
import secrets
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.reading import cache, local
from analysis.reading.cache import read_cached
from analysis.reading.kept_runs import HISTORIES, RUNS, load, save
from analysis.reading.runs import Runs
from src.utils.errors import UserError
from tests.analysis.artefacts.test_golden import GOLDEN
from tests.analysis.logged import config_of, log_runs, rows_of

FILES = [RUNS, HISTORIES]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    shutil.copytree(GOLDEN, outputs, dirs_exist_ok=True)
    odd = rows_of(1 / 3, never=math.nan, ever=math.inf, under=-math.inf, tiny=5e-324)
    log_runs(outputs, [(config_of("seed=7"), odd)])
    return outputs


@pytest.fixture
def outputs(logged, tmp_path):
    return shutil.copytree(logged, tmp_path / "outputs", symlinks=True)


@pytest.fixture
def read(outputs, tmp_path, monkeypatch):
    """Reads through the cache; `read.files` are the logs that were read for it."""
    plain = local.read_files
    monkeypatch.setattr(local, "read_files", lambda files: read.files.extend(files) or plain(files))
    monkeypatch.setattr(local, "FEW", 100)  # in this process

    def read(folder=tmp_path / "kept"):
        read.files = []
        return read_cached(outputs, folder)

    return read


def bits(runs):
    """All that there is to the runs; numbers as their bits."""
    return [
        (
            run.run_id,
            run.state,
            run.reason,
            run.config,
            run.objects,
            run.started,
            run.resumed,
            run.source,
            run.values["global_step"].tolist(),
            run.values["key"].astype(str).tolist(),
            run.values["value"].to_numpy().view(np.int64).tolist(),
        )
        for run in runs.all
    ]


def test_a_second_reading_reads_nothing_and_is_the_same(read, tmp_path):
    first = read()
    assert len(read.files) == 11 and len(first.all) == 10
    times = [(tmp_path / "kept" / name).stat().st_mtime_ns for name in FILES]
    second = read()
    assert read.files == [] and bits(second) == bits(first)
    assert [(tmp_path / "kept" / name).stat().st_mtime_ns for name in FILES] == times
    pd.testing.assert_frame_equal(first.table, second.table)
    (odd,) = [run for run in second.all if run.config["seed"] == 7]
    assert math.isnan(odd.last("never")) and odd.series("never").isna().all()
    assert odd.last("tiny") == 5e-324 and odd.last("ever") == math.inf


def test_the_two_tables_are_tidy(read, tmp_path):
    runs = read()
    histories = pd.read_parquet(tmp_path / "kept" / HISTORIES)
    assert list(histories.columns) == ["run_id", "global_step", "key", "value"]
    assert len(histories) == sum(len(run.values) for run in runs.all)
    (odd,) = [run for run in runs.all if run.config["seed"] == 7]
    kept = histories[(histories.run_id == odd.run_id) & (histories.key == "AP")]
    assert kept["value"].tolist() == [1 / 6, 1 / 3] and kept["global_step"].tolist() == [10, 20]


def test_only_what_changed_is_read(read, outputs):
    first = read()
    chosen = next(run for run in first.all if run.config["seed"] == 7)
    (file,) = outputs.glob(f"{chosen.run_id}/wandb/offline-run-*/*.wandb")
    file.write_bytes(file.read_bytes()[:-60])
    second = read()
    assert read.files == [file]
    assert [run.state for run in second.all if run.run_id == chosen.run_id] == ["unfinished"]
    shutil.rmtree(outputs / chosen.run_id)
    third = read()
    assert read.files == [] and chosen.run_id not in [run.run_id for run in third.all]


def test_a_run_that_begins_while_others_are_read_is_read_again(read, outputs, monkeypatch):
    late = next(outputs.iterdir()).name
    with monkeypatch.context() as earlier:
        marks = {folder: mark for folder, mark in local.marks_of(outputs).items() if Path(folder).name != late}
        earlier.setattr(cache, "marks_of", lambda _: marks)
        assert late in [run.run_id for run in read().all]
    assert late in [run.run_id for run in read().all] and {file.parents[2].name for file in read.files} == {late}


def test_unreadable_files_are_reported_each_time(read, outputs):
    file = outputs / "foreign/wandb/offline-run-1/run-x.wandb"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not a log")
    first, second = read(), read()
    assert first.unreadable == second.unreadable and str(file) in second.unreadable[0]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["cut", "empty", "foreign", "gone", "other"])
def test_a_damaged_cache_is_made_again(read, tmp_path, caplog, name, how):
    first = read()
    file = tmp_path / "kept" / name
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "other":
        file.write_bytes((tmp_path / "kept" / next(other for other in FILES if other != name)).read_bytes())
    else:
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "foreign": b"not parquet" * 99}[how])
    with caplog.at_level(logging.WARNING):
        assert bits(read()) == bits(first)
    assert len(read.files) == 11
    assert (name, how) == (RUNS, "gone") or "is damaged, so all logs are read again" in caplog.text
    assert bits(read()) == bits(first) and read.files == []


def test_a_disk_that_is_full_leaves_what_was_kept(read, tmp_path):
    first = read()
    before = load(tmp_path / "kept")
    runs = [("", replace(run, config=run.config | {"long": secrets.token_hex(100_000)})) for run in first.all]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # of the two files only that of runs is larger
    try:
        with pytest.raises(UserError, match="runs.parquet cannot be written"):
            save(runs, tmp_path / "kept", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bits(Runs([run for _, run in load(tmp_path / "kept")])) == bits(Runs([run for _, run in before]))


def test_other_outputs_and_formats_are_not_mixed_in(read, tmp_path, monkeypatch):
    first = read()
    other = read_cached(GOLDEN, tmp_path / "kept")
    assert len(other.all) == 9 and all(str(GOLDEN) in run.source for run in other.all)
    monkeypatch.setattr(cache, "FORMAT", "another")
    assert bits(read()) == bits(first) and len(read.files) == 11


def test_no_runs(tmp_path):
    (tmp_path / "outputs").mkdir()
    for _ in range(2):
        assert read_cached(tmp_path / "outputs", tmp_path / "kept").all == []
