"""A run whose data or pretrained weights are replaced in place, before, amid or after it."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from analysis.reading.local import read_local
from src.data.records import DataError
from src.runs.state import State, state
from src.submit import submit
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, TINY, run_folders, run_here, saved_step, summary_of, weights


@pytest.mark.slow
def test_other_data_of_the_same_name_is_refused(tiny, tmp_path, finished):
    moved = tmp_path / "moved" / "tiny"
    moved.parent.mkdir()
    shutil.copytree(make_config(*tiny).dataset.root, moved)
    again = [*tiny, *NOT_LOGGED, f"dataset.root={moved}"]
    assert run_here(*again) == finished
    (moved / "ImageSets/Main/test.txt").write_text((moved / "ImageSets/Main/val.txt").read_text())
    with pytest.raises(ValueError, match="belongs to a run on other data"):
        run_here(*again)


@pytest.fixture
def own_data(tiny, tiny_data, tmp_path) -> Path:
    """This test's copy of the data of `tiny`, under the same name."""
    return Path(shutil.copytree(tiny_data, tmp_path / "own" / "tiny"))


def rename_class(data: Path, old: str, new: str) -> None:
    """Correct the name of a class in all annotations that have it."""
    for file in (data / "Annotations").iterdir():
        if old in (text := file.read_text()):
            file.write_text(text.replace(f"<name>{old}<", f"<name>{new}<"))


@pytest.mark.slow
def test_a_finished_run_is_made_anew_on_corrected_data_when_asked_to(tiny, own_data, tmp_path):
    command = [*tiny, f"dataset.root={own_data}", "schedule.epochs=1", "images_logged=0"]
    directory = run_here(*command)
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    first = json.loads(before["summary.json"])["data"]
    name = first["classes"][0]
    rename_class(own_data, name, "corrected")
    with pytest.raises(ValueError, match=rf"the class names \({name} → corrected.*retry=true.*dataset\.name=NAME"):
        run_here(*command)
    assert {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()} == before

    assert run_here(*command, "retry=true") == directory
    now = summary_of(directory)["data"]
    assert "corrected" in now["classes"] and now["fingerprint"] != first["fingerprint"]
    assert (directory / "earlier-1/checkpoint.pt").read_bytes() == before["checkpoint.pt"]
    assert summary_of(directory / "earlier-1")["data"] == first
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.config["data.fingerprint"] == now["fingerprint"]
    assert not [key for key in logged.history if name in key] and logged.history["global_step"].tolist() == [1, 2, 3]
    assert run_here(*command, "retry=true") == run_here(*command) == directory
    assert sorted(path.name for path in directory.glob("earlier-*")) == ["earlier-1"]


@pytest.mark.slow
def test_an_interrupted_run_is_not_resumed_on_corrected_data(tiny, own_data, finished):
    command = [*tiny, f"dataset.root={own_data}", *NOT_LOGGED]
    (finished / "summary.json").unlink()
    (own_data / "Annotations").joinpath("test_000000.xml").write_text(
        re.sub("<xmax>.*?<", "<xmax>60<", (own_data / "Annotations/test_000000.xml").read_text())
    )
    with pytest.raises(ValueError, match=r"boxes of 1 test image \(test_000000\).*retry=true"):
        run_here(*command)
    with pytest.raises(ValueError, match=r"boxes of 1 test image"):  # which is no failure to be retried
        run_here(*command)
    assert not (finished / "summary.json").exists() and saved_step(finished) == 6
    run_here(*command, "retry=true")
    assert (finished / "summary.json").exists() and (finished / "earlier-1/checkpoint.pt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("retry", [[], ["retry=true"]], ids=["", "retry"])
def test_a_run_that_failed_before_its_first_step_goes_on_data_put_right(tiny, own_data, retry):
    command = [*tiny, f"dataset.root={own_data}", "schedule.epochs=1", *NOT_LOGGED]
    broken = own_data / "JPEGImages/train_000003.jpg"
    broken.write_bytes(broken.read_bytes()[:600])
    with pytest.raises(DataError, match=r"train_000003\.jpg") as caught:
        run_here(*command)
    assert "training" not in str(caught.traceback[-1].path)  # found before training
    (directory,) = run_folders(Path(make_config(*command).outputs))
    assert state(directory) == State.FAILED and not (directory / "checkpoint.pt").exists()
    listed = own_data / "ImageSets/Main/trainval.txt"
    listed.write_text(listed.read_text().replace("train_000003\n", ""))
    assert summary_of(run_here(*command, *retry))["data"]["train"] == 12


@pytest.mark.slow
def test_weights_replaced_in_their_file_are_other_ones_and_a_finished_run_needs_none(tiny_data, tmp_path):
    file = tmp_path / "weights.pth"

    def leave_weights(seed):
        torch.manual_seed(seed)
        torch.save(get_model("resnet18", weights=None).state_dict(), file)

    small = ["model.backbone=resnet18", f"model.weights={file}", "model.channels=8", "model.head_convolutions=1"]
    command = [*TINY[:-2], *small, f"dataset.root={tiny_data}", f"outputs={tmp_path / 'outputs'}", *NOT_LOGGED]
    command += ["schedule.epochs=1"]
    leave_weights(seed=0)
    directory = run_here(*command)
    first = summary_of(directory)["data"]["weights"]
    assert first == {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    leave_weights(seed=0)  # the same content, written again
    assert run_here(*command) == directory

    leave_weights(seed=1)
    with pytest.raises(ValueError, match=rf"from other weights than model\.weights={file} holds now.*retry=true"):
        run_here(*command)
    (directory / "summary.json").unlink()  # as if it had been interrupted
    with pytest.raises(ValueError, match="from other weights"):
        run_here(*command)
    run_here(*command, "retry=true")
    assert summary_of(directory)["data"]["weights"]["sha256"] != first["sha256"]
    assert weights(directory / "earlier-1")["body.conv1.weight"].ne(weights(directory)["body.conv1.weight"]).any()

    file.unlink()
    attacked = run_here(*command, "attack=black_patch")
    assert run_here(*command) == directory and summary_of(attacked)["needs"] == {"attack": directory.name}
    assert submit(directory, ["workers=0"], None).exists()
