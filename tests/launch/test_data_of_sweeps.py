"""Which runs a submission leaves out because of their data."""

import functools
import json

import pytest

from src.config.plain import to_plain
from src.data.datasets import read_data
from src.data.quick_look import look_at
from src.data.run_data import describe_data, take_look
from src.launch.skipped_runs import reason_in_data, reason_to_skip
from src.runs.state import read_run
from tests.data.voc_folder import add_image, add_list, object_xml
from tests.support.configurations import make_config
from tests.support.runs import leave_finished


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """The configuration of a run on a small data set, and the run's folder with its data.json."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, directory = tmp_path / "set", tmp_path / "outputs/run"
    for name in ("a", "b"):
        add_image(root, name, object_xml())
    add_list(root, "trainval", "a")
    add_list(root, "test", "b")
    config = make_config(
        "recipe=folder", f"dataset.root={root}", "dataset.format=voc", f"outputs={tmp_path / 'outputs'}"
    )
    dataset = to_plain(config.dataset)
    look = take_look(dataset, config.outputs)
    data = read_data("voc", str(root), train="trainval", test="test")
    noted = describe_data(dataset, data, look, outputs=config.outputs, workers=1, check_stop=lambda: None)
    directory.mkdir(parents=True)
    (directory / "data.json").write_text(json.dumps(noted))
    return config, directory, root


def reason(config, directory):
    return reason_in_data(read_run(directory), config, functools.cache(look_at))


def test_a_finished_run_is_left_out_and_one_on_other_data_too_unless_retried(submitted):
    config, directory, root = submitted
    assert reason(config, directory) is None  # nothing is trained yet, so that the job takes the data as they are
    leave_finished(directory)
    assert reason(config, directory) == "finished"
    add_image(root, "a", object_xml(box=(1, 1, 50, 50)))
    assert "boxes of 1 training image (a)" in reason(config, directory)
    assert "retry=true" in reason(config, directory)
    config.retry = True
    assert reason(config, directory) is None


def test_an_interrupted_run_on_other_data_is_left_out(submitted):
    config, directory, root = submitted
    (directory / "checkpoint.pt").touch()
    assert reason(config, directory) is None
    add_image(root, "b", object_xml("dog"))
    assert "the classes (new: dog)" in reason(config, directory)


def test_finished_runs_are_left_out_where_their_data_are_not(submitted, tmp_path):
    config, directory, root = submitted
    leave_finished(directory)
    root.rename(tmp_path / "moved")
    assert "finished; their data could not be compared" in reason(config, directory)


def test_a_run_that_failed_before_its_first_step_is_submitted_again(submitted):
    config, directory, _ = submitted
    (directory / "claim.1").write_text(json.dumps({"released": True}))
    for begun, left_out in ((False, False), (True, True)):
        (directory / "failed.json").write_text(json.dumps({"error": "", "training_had_begun": begun}))
        assert bool(reason_to_skip(read_run(directory), config)) == left_out
