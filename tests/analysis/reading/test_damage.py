"""Logs that were cut, changed or never were logs: each is named, and nothing is read that was not logged."""

import math
import random
import shutil

import pytest

from analysis.artefacts.artefact import Measured
from analysis.artefacts.table1 import build
from analysis.reading.local import read_local
from analysis.reading.runs import DAMAGED, FINISHED, UNFINISHED
from tests.analysis.logged import config_of, log_runs, rows_of

TRIES = 200
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    log_runs(outputs, [(config_of(), rows_of(30.0, never=math.nan))])
    return outputs


@pytest.fixture(scope="module")
def whole(outputs):
    ((run,),) = [read_local(outputs).all]
    return run


@pytest.fixture
def damage(outputs, tmp_path):
    """Reads the run as it is with other bytes in its log."""
    copy = shutil.copytree(outputs, tmp_path / "outputs", symlinks=True)
    (file,) = copy.glob("*/wandb/offline-run-*/*.wandb")

    def read(change):
        file.write_bytes(change((outputs / file.relative_to(copy)).read_bytes()))
        return read_local(copy), str(file)

    return read


def facts(run):
    """All that was logged: numbers bit for bit, configuration, and what is no number."""
    numbers = {(step, key, float(value).hex()) for step, key, value in run.values.itertuples(index=False)}
    return numbers, {(key, repr(value)) for key, value in run.config.items()}, set(map(repr, run.objects.values()))


def check(runs, file, whole):
    """Check that what is read is part of what was logged, and that any damage is reported."""
    if not runs.all:
        assert any(file in line for line in runs.unreadable)
        return
    (run,) = runs.all
    numbers, config, objects = facts(run)
    all_numbers, all_config, all_objects = facts(whole)
    assert numbers <= all_numbers and config <= all_config and len(objects) <= len(all_objects)
    assert run.state in (FINISHED, UNFINISHED, DAMAGED)
    if run.state == FINISHED:
        assert (numbers, config) == (all_numbers, all_config)
    else:
        assert run.reason and runs.left_out == [run] and not runs.counting
        assert run.state == UNFINISHED or file in run.reason


def test_the_undamaged_log(whole):
    assert whole.finished and len(facts(whole)[0]) > 140 and "anchor_scores" in whole.objects


def test_cut_at_any_byte(damage, whole):
    draw = random.Random(0)
    states = set()
    for _ in range(TRIES):
        runs, file = damage(lambda log: log[: draw.randrange(len(log))])
        check(runs, file, whole)
        states |= {run.state for run in runs.all}
    assert UNFINISHED in states and DAMAGED not in states  # to be cut off is what happens to logs, not damage


def test_a_changed_byte(damage, whole):
    draw = random.Random(1)

    def flip(log):
        position = draw.randrange(len(log))
        return log[:position] + bytes([log[position] ^ draw.randrange(1, 256)]) + log[position + 1 :]

    states = set()
    for _ in range(TRIES):
        runs, file = damage(flip)
        check(runs, file, whole)
        states |= {run.state for run in runs.all}
    assert DAMAGED in states


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 5000, b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, b"step,loss\n1,2\n", b":W&B\x00\x00"],
    ids=["empty", "zeros", "picture", "table", "another version"],
)
def test_files_that_are_no_logs_are_named(damage, content):
    runs, file = damage(lambda _: content)
    assert runs.all == [] and len(runs.unreadable) == 1 and file in runs.unreadable[0]


def test_what_is_no_file_is_named_and_the_others_are_read(outputs, tmp_path, whole):
    copy = shutil.copytree(outputs, tmp_path / "outputs", symlinks=True)
    folder = copy / "folder/wandb/offline-run-1/run-x.wandb"
    folder.mkdir(parents=True)
    link = copy / "link/wandb/offline-run-1/run-x.wandb"
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nowhere")
    runs = read_local(copy)
    assert [run.run_id for run in runs.counting] == [whole.run_id] and facts(runs.all[0]) == facts(whole)
    assert len(runs.unreadable) == 2 and all(any(str(x) in line for line in runs.unreadable) for x in (folder, link))


def test_of_a_run_and_its_copy_the_folder_that_has_its_name_is_read(outputs, tmp_path, whole):
    copy = shutil.copytree(outputs, tmp_path / "outputs", symlinks=True)
    (folder,) = {file.parents[2] for file in copy.glob("*/wandb/offline-run-*/*.wandb")}
    own = folder.rename(copy / whole.run_id)
    for name in ("0 copy", f"{whole.run_id} copy"):
        shutil.copytree(own, copy / name, symlinks=True)
    runs = read_local(copy)
    assert [run.source for run in runs.all] == [str(own)]
    assert [line.partition(" is another copy")[0] for line in sorted(runs.unreadable)] == [
        str(copy / "0 copy"),
        str(copy / f"{whole.run_id} copy"),
    ]


def test_a_damaged_run_is_in_no_table(damage):
    runs, _ = damage(lambda log: log[: len(log) // 2] + b"x" + log[len(log) // 2 + 1 :])
    assert not [
        cell
        for section in build(runs).sections
        for table in section.tables
        for row in table.rows
        for cell in row
        if isinstance(cell, Measured)
    ]
