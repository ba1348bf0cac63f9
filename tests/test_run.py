import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from analysis.artefacts.galleries import gallery_of
from analysis.reading.local import read_local
from src.config.validate import resolve
from src.data.voc import read_voc, voc_classes
from src.runs.attempt import RunGuard
from src.runs.state import State, state
from src.training import trainer
from src.training.optimizer import learning_rate_factor
from src.training.step import NonFiniteLoss
from src.utils.signals import Interrupted
from tests.support.configurations import make_config
from tests.support.programs import Process, call_run, run_python, start_run
from tests.support.runs import (
    NOT_LOGGED,
    run_folders,
    run_here,
    same_weights,
    saved_step,
    service_of,
    summary_of,
    weights,
)

# At 64 pixels P6 is one cell, and there torch's own bfloat16 convolution has, on some CPUs, NaN in its weight gradient.
BF16 = ["precision=bf16", "dataset.train_size=96"]
# Twelve steps in four epochs, and one evaluation: that at the end, which is always made.
FOUR_EPOCHS = ["schedule.epochs=4", "schedule.evaluate_every=9"]
EACH_STEP = "checkpoint_minutes=1e-9"  # a checkpoint after each step, so that the folder shows how far the run is
STEPS = 12
WITHIN_EPOCH_2 = 4


@pytest.mark.slow
def test_a_run_leaves_its_results_and_is_not_repeated(tiny, tmp_path):
    code, output = call_run(*tiny, fresh=True)
    assert code == 0, output
    (directory,) = run_folders(tmp_path / "outputs")
    summary = summary_of(directory)
    assert summary["run_id"] == directory.name and summary["data"]["test"] == 4
    assert summary["data"]["format"] == "voc"
    assert 0 <= summary["metrics"]["AP50"] <= 100 and "VOC07_AP50" in summary["metrics"]
    assert (directory / "detections.png").stat().st_size > 10_000 and (directory / "config.yaml").exists()
    assert "AP " in output and f"Results: {directory}" in output

    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.run_id == directory.name and logged.config["loss.name"] == "ap"
    assert logged.config["environment.versions.torch"] == torch.__version__.split("+")[0]
    assert logged.history["global_step"].tolist() == list(range(1, 7))
    always = ["classification_loss", "box_loss", "learning_rate", "loss_seconds", "iteration_seconds"]
    assert logged.history[always].notna().all(axis=None)
    assert logged.history["AP"].notna().sum() == 2
    schedule = resolve(make_config(*tiny)).schedule
    options = {key: schedule[key] for key in ("warmup_iterations", "warmup_divisor", "decay_at")}
    factors = [learning_rate_factor(step, 6, **options) for step in range(6)]
    rate = schedule.learning_rate * 4 / schedule.reference_batch_size
    assert logged.history["learning_rate"].tolist() == pytest.approx([rate * factor for factor in factors])
    assert logged.last("AP50") == pytest.approx(summary["metrics"]["AP50"])
    # Two of the four test images are shown, the others decide the threshold.
    shown = gallery_of(logged)
    assert len(shown) == 2 and logged.last("gallery_threshold_images") == 2 and 0 <= logged.last("gallery_f1") <= 100
    assert all(picture.pixels.ndim == 3 and (picture.boxes.kind == "object").any() for picture in shown.values())

    before = (directory / "checkpoint.pt").stat().st_mtime
    code, output = call_run(*tiny, "workers=1")
    assert code == 0 and "is finished" in output and (directory / "checkpoint.pt").stat().st_mtime == before


@pytest.mark.slow
def test_a_run_does_not_depend_on_workers(tiny, undisturbed):
    assert same_weights(undisturbed("workers=0"), run_here(*tiny, "workers=2", *NOT_LOGGED))


def wait_for_step(step: int, directory: Path, process: Process) -> None:
    """Wait until a run that saves after each step has saved this one."""
    while saved_step(directory) < step:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_within_an_epoch_and_resumed_equals_undisturbed(tiny, tmp_path, undisturbed):
    twin = undisturbed(*FOUR_EPOCHS)
    directory = tmp_path / "outputs" / twin.name
    process = start_run(*tiny, *FOUR_EPOCHS, EACH_STEP)
    wait_for_step(WITHIN_EPOCH_2, directory, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert state(directory) == State.INTERRUPTED and WITHIN_EPOCH_2 <= saved_step(directory) < STEPS

    code, output = call_run(*tiny, *FOUR_EPOCHS)
    assert code == 0, output
    assert same_weights(twin, directory) and summary_of(twin)["metrics"] == summary_of(directory)["metrics"]
    (logged,) = read_local(tmp_path / "outputs").all
    # What W&B had not yet flushed when the process was killed, up to a second of rows, is lost; nothing counts twice.
    steps = logged.history["global_step"].tolist()
    assert logged.finished and steps == sorted(set(steps)) and steps[-3:] == [10, 11, 12]
    assert logged.last("AP") == pytest.approx(summary_of(twin)["metrics"]["AP"])


@pytest.mark.slow
def test_a_signal_stops_a_run_and_the_same_command_resumes_it(tiny, tmp_path, undisturbed):
    twin = undisturbed(*FOUR_EPOCHS)
    directory = tmp_path / "outputs" / twin.name
    process = start_run(*tiny, *FOUR_EPOCHS, EACH_STEP, "workers=1")
    wait_for_step(WITHIN_EPOCH_2, directory, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and "run the same command again to resume" in output, output
    assert "Traceback" not in output
    assert state(directory) == State.INTERRUPTED and WITHIN_EPOCH_2 <= saved_step(directory) < STEPS

    code, output = call_run(*tiny, *FOUR_EPOCHS, "workers=1")
    assert code == 0, output
    assert same_weights(twin, directory)
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, STEPS + 1))
    assert logged.history["classification_loss"].notna().all() and logged.history["AP"].notna().sum() == 1


@pytest.mark.slow
def test_checkpoints_are_saved_within_an_epoch_when_they_are_due_and_before_a_stop(tiny, tmp_path, monkeypatch):
    def note_and_stop(guard):
        note_step(guard)
        saved.append(saved_step(*run_folders(tmp_path / "outputs")))
        if len(saved) == 2:  # of an epoch's three steps
            signal.raise_signal(signal.SIGTERM)

    saved, note_step = [], RunGuard.note_step
    monkeypatch.setattr(RunGuard, "note_step", note_and_stop)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        run_here(*tiny, *NOT_LOGGED, EACH_STEP)
    assert saved == [0, 1] and saved_step(*run_folders(tmp_path / "outputs")) == 2


@pytest.mark.slow
def test_a_run_that_another_process_holds_is_left_alone(tiny, tmp_path):
    first = start_run(*tiny, *FOUR_EPOCHS)
    second = start_run(*tiny, *FOUR_EPOCHS)
    outputs = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0, outputs
    assert sum("is being worked on by another process" in output for output in outputs) == 1
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and len(list(tmp_path.glob("outputs/*/wandb/*run-*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize(("rate", "reason"), [(1e18, "is nan"), (1e8, "cannot be computed")])  # too large for δ
def test_a_divergent_run_stops_with_the_step_and_keeps_the_last_checkpoint(
    rate, reason, lag, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer, "lag_of", lambda device: lag)  # 1 is a GPU's
    words = [f"schedule.learning_rate={rate}", "schedule.warmup_iterations=0", "schedule.evaluate_every=2"]
    # One step in each epoch, so that a checkpoint is due right after the step whose loss is not finite.
    with pytest.raises(NonFiniteLoss, match=rf"step 2: the loss {reason} .* learning rate .* Try a lower .* Last"):
        run_here(*tiny, *words, *NOT_LOGGED, "batch_size=8")
    (directory,) = run_folders(tmp_path / "outputs")
    assert saved_step(directory) == 1 and not (directory / "summary.json").exists()


@pytest.mark.slow
def test_weights_that_a_step_of_finite_loss_has_destroyed_are_not_saved(tiny, tmp_path):
    with pytest.raises(NonFiniteLoss, match=r"step 1: \S+ is no longer finite\. Try a lower"):
        run_here(*tiny, *NOT_LOGGED, "schedule.learning_rate=3e38", "schedule.box_loss_weight=1e6", "batch_size=8")
    (directory,) = run_folders(tmp_path / "outputs")
    assert not (directory / "checkpoint.pt").exists() and not (directory / "summary.json").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_again(tiny, caplog, undisturbed):
    directory = run_here(*tiny)
    (directory / "summary.json").unlink()
    checkpoint = directory / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    run_here(*tiny)
    assert "checkpoint.pt is damaged" in caplog.text and (directory / "checkpoint.damaged.pt").stat().st_size == 1000
    assert same_weights(undisturbed(), directory)
    (logged,) = read_local(directory.parent).all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, 7))


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(tiny, finished):
    (finished / "summary.json").unlink()
    checkpoint = finished / "checkpoint.pt"
    content = torch.load(checkpoint, weights_only=True)
    content["model"].popitem()
    torch.save(content, checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint\.pt belongs to another model"):
        run_here(*tiny, *NOT_LOGGED)


@pytest.mark.slow
def test_the_end_of_wandbs_service_is_an_interruption(tiny, tmp_path, undisturbed):
    twin = undisturbed(*FOUR_EPOCHS)
    directory = tmp_path / "outputs" / twin.name
    process = start_run(*tiny, *FOUR_EPOCHS, EACH_STEP)
    wait_for_step(WITHIN_EPOCH_2, directory, process)
    os.kill(service_of(process.pid), signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and "W&B's service has ended" in output, output
    assert "run the same command again to resume" in output and "Traceback" not in output
    assert state(directory) == State.INTERRUPTED and WITHIN_EPOCH_2 <= saved_step(directory) < STEPS

    code, output = call_run(*tiny, *FOUR_EPOCHS)
    assert code == 0, output
    assert same_weights(twin, directory) and summary_of(twin)["metrics"] == summary_of(directory)["metrics"]
    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, STEPS + 1))
    assert logged.history["classification_loss"].notna().all()


@pytest.mark.slow
def test_a_new_folder_without_lists_trains_by_overrides_alone(tiny, tiny_data, tmp_path):
    folder = tmp_path / "unseen"
    shutil.copytree(tiny_data, folder, ignore=shutil.ignore_patterns("ImageSets"))
    for file in (folder / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<name>", "<name>my "))
    summary = summary_of(run_here(*tiny, f"dataset.root={folder}", *NOT_LOGGED))
    assert all(name.startswith("my ") for name in summary["data"]["classes"])
    assert summary["data"]["train"] > 0 and summary["data"]["test"] > 0


def in_coco_layout(voc: Path, root: Path, names: list[str]) -> Path:
    """Write the splits trainval and test of a folder in VOC layout into one in COCO layout."""
    (root / "annotations").mkdir(parents=True)
    for split in ("trainval", "test"):
        (root / split).mkdir()
        images, annotations = [], []
        for number, record in enumerate(read_voc(voc, split, names)):
            shutil.copy(record.path, root / split)
            size = {"width": record.width, "height": record.height}
            images.append({"id": number, "file_name": record.path.name, **size})
            boxes, labels = record.training_objects()  # COCO has no difficult ones
            for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                annotations.append({"id": len(annotations), "image_id": number, "category_id": 7 * label + 1, **box})
        categories = [{"id": 7 * label + 1, "name": name} for label, name in enumerate(names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.mark.slow
def test_the_same_data_in_coco_layout_train_to_the_same_weights(tiny, tiny_data, tmp_path, undisturbed):
    names = voc_classes(tiny_data, "trainval")
    root = in_coco_layout(tiny_data, tmp_path / "coco", names)
    overrides = ["dataset=coco", f"dataset.root={root}", "dataset.train=trainval", "dataset.test=test"]
    coco = run_here(*tiny, *overrides, *NOT_LOGGED)
    assert summary_of(coco)["data"]["classes"] == names
    assert same_weights(coco, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=auc"],
        ["loss=focal"],
        ["loss=ohem"],
        ["method=approximate_gradient"],
        ["method=structured_hinge"],
        ["step=heaviside"],
        ["step=sigmoid"],
        ["model=retinanet", "model.channels=8"],
    ],
    ids=" ".join,
)
def test_every_loss_method_and_detector_trains(overrides, tiny, tmp_path):
    quick = [
        "schedule.learning_rate=0.05",
        "schedule.warmup_iterations=0",
        "schedule.evaluate_every=2",
        "images_logged=0",
    ]
    directory = run_here(*tiny, *overrides, *quick)
    assert all(value.isfinite().all() for value in weights(directory).values())
    (logged,) = read_local(tmp_path / "outputs").all
    losses = logged.history["classification_loss"].dropna()
    assert logged.finished and len(losses) == 6 and (losses > 0).all() and losses.min() < losses.iloc[0]
    # What optimises AP-loss is compared by AP-loss itself.
    measured = logged.history["ap_loss"].dropna() if "ap_loss" in logged.history else []
    assert len(measured) == (logged.config["loss.name"] == "ap") and all(0 < value < 1 for value in measured)


@pytest.mark.slow
def test_mixed_precision_and_clipping_train(tiny):
    directory = run_here(*tiny, *BF16, "schedule.clip_gradient=1", "schedule.epochs=1", *NOT_LOGGED, "seed=5")
    assert all(value.isfinite().all() for value in weights(directory).values())


def test_learning_rate_schedule():
    steps = (0, 5, 10, 49, 50, 75, 99)
    factors = [learning_rate_factor(step, 100, warmup_iterations=10, decay_at=[0.5, 0.75]) for step in steps]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.1, 0.01, 0.01])
    assert learning_rate_factor(0, 100, warmup_iterations=0, decay_at=[]) == 1


@pytest.mark.slow
def test_a_sweep_makes_each_run_once_and_table_1_shows_its_rows(tiny, tmp_path):
    code, output = call_run("-m", "loss=ap,focal", "delta=0.5,1", *tiny, "batch_size=8")
    assert code == 0, output
    runs = read_local(tmp_path / "outputs").all
    assert all(run.finished for run in runs)
    assert sorted(run.config["delta"] for run in runs if run.config["loss.name"] == "ap") == [0.5, 1.0]
    assert len(runs) == 3 and "4 combinations are 3 different runs" in output  # focal does not use delta

    table1 = ["-m", "analysis", "table1", "--outputs", tmp_path / "outputs", "--report", tmp_path / "report"]
    table = run_python(table1, check=True, fresh=True).stdout
    block = table.split("### δ\n")[1].split("### ")[0]
    rows = [line for line in block.splitlines() if re.match(r"\| [0-9]", line)]
    assert ["missing" in row for row in rows] == [True, False, False, True, True]


@pytest.mark.slow
def test_a_sweep_continues_after_a_failure_and_reports_it_at_the_end(tiny, tmp_path):
    sweep = ["-m", *tiny, "schedule.learning_rate=1e18,0.01", "schedule.warmup_iterations=0"]
    code, output = call_run(*sweep)
    assert code == 1 and "error: 1 of 2 runs failed" in output and "Try a lower schedule.learning_rate" in output
    assert "Traceback" not in output
    assert sorted(map(state, run_folders(tmp_path / "outputs"))) == [State.FAILED, State.FINISHED]
    code, output = call_run(*sweep)
    assert code == 1 and "has failed before" in output and "is finished" in output
