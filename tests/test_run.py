import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from analysis.reading.local import read_local
from src.data.voc import read_voc, voc_classes
from src.training.optimizer import learning_rate_factor
from src.training.trainer import NonFiniteLoss
from tests.conftest import ROOT, call, make_config, run_here, start

# At 64 pixels P6 is one cell, and there torch's own bfloat16 convolution has, on some CPUs, NaN in its weight gradient.
BF16 = ["precision=bf16", "dataset.train_size=96"]


def weights(directory):
    return torch.load(directory / "checkpoint.pt", weights_only=True)["model"]


def only_run(outputs):
    (directory,) = (path for path in outputs.iterdir() if path.is_dir())
    return directory


def test_a_run_leaves_its_results_and_is_not_repeated(tiny, tmp_path):
    code, output = call(*tiny)
    assert code == 0, output
    directory = only_run(tmp_path / "outputs")
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["run_id"] == directory.name and summary["data"]["test"] == 4
    assert 0 <= summary["metrics"]["AP50"] <= 100 and "VOC07_AP50" in summary["metrics"]
    assert (directory / "detections.png").stat().st_size > 10_000 and (directory / "config.yaml").exists()
    assert "AP " in output and str(directory) in output

    (logged,) = read_local(tmp_path / "outputs").all
    assert logged.finished and logged.run_id == directory.name and logged.config["loss.name"] == "ap"
    assert logged.config["environment.versions.torch"] == torch.__version__.split("+")[0]
    assert logged.history["global_step"].tolist() == list(range(1, 7))
    for key in ("classification_loss", "box_loss", "learning_rate", "loss_seconds", "iteration_seconds"):
        assert logged.history[key].notna().all(), key
    assert logged.history["AP"].notna().sum() == 2
    assert logged.last("AP50") == pytest.approx(summary["metrics"]["AP50"])

    before = (directory / "checkpoint.pt").stat().st_mtime
    code, output = call(*tiny, "workers=1")
    assert code == 0 and "is finished" in output and (directory / "checkpoint.pt").stat().st_mtime == before


def test_a_run_does_not_depend_on_workers(tiny, tmp_path):
    alone = run_here(*tiny, "workers=0", f"outputs={tmp_path / 'alone'}", "wandb.mode=disabled")
    helped = run_here(*tiny, "workers=2", f"outputs={tmp_path / 'helped'}", "wandb.mode=disabled")
    first, second = weights(alone), weights(helped)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("trial", range(2))
def test_killed_at_a_random_step_and_resumed_equals_undisturbed(trial, tiny, tmp_path):
    overrides = [*tiny, "schedule.epochs=4"]
    undisturbed = run_here(*overrides, "wandb.mode=disabled", f"outputs={tmp_path / 'undisturbed'}")
    process = start(*overrides, PYTHONUNBUFFERED="1")
    directory = tmp_path / "outputs" / undisturbed.name
    while not (directory / "checkpoint.pt").exists():  # the first epoch is over
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    time.sleep(random.uniform(0, 1.5))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (directory / "summary.json").exists()

    code, output = call(*overrides)
    assert code == 0, output
    expected, resumed = weights(undisturbed), weights(directory)
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    summaries = [json.loads((d / "summary.json").read_text())["metrics"] for d in (undisturbed, directory)]
    assert summaries[0] == summaries[1]
    (logged,) = read_local(tmp_path / "outputs").all
    # What W&B had not yet flushed when the process was killed, up to a second of rows, is lost; nothing counts twice.
    steps = logged.history["global_step"].tolist()
    assert logged.finished and steps == sorted(set(steps)) and steps[-3:] == [10, 11, 12]
    assert logged.last("AP") == pytest.approx(summaries[0]["AP"])


def test_a_divergent_run_stops_with_the_step_and_keeps_the_last_checkpoint(tiny, tmp_path):
    diverging = [*tiny, "schedule.learning_rate=1e18", "schedule.warmup_iterations=0"]
    with pytest.raises(NonFiniteLoss, match=r"step \d+: the loss is .* learning rate .* Try a lower"):
        run_here(*diverging)
    assert not list(tmp_path.glob("outputs/*/summary.json"))


def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(tiny, caplog):
    directory = run_here(*tiny)
    expected = weights(directory)
    (directory / "summary.json").unlink()
    checkpoint = directory / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    run_here(*tiny)
    assert "checkpoint.pt is damaged" in caplog.text and (directory / "checkpoint.damaged.pt").stat().st_size == 1000
    assert all(torch.equal(expected[key], value) for key, value in weights(directory).items())
    (logged,) = read_local(directory.parent).all
    assert logged.finished and logged.history["global_step"].tolist() == list(range(1, 7))


def test_a_checkpoint_of_another_model_is_refused(tiny):
    directory = run_here(*tiny, "wandb.mode=disabled")
    (directory / "summary.json").unlink()
    checkpoint = directory / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    state["model"].popitem()
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match=r"checkpoint\.pt belongs to another model"):
        run_here(*tiny, "wandb.mode=disabled")


def test_other_data_of_the_same_name_is_refused(tiny, tmp_path):
    directory = run_here(*tiny, "wandb.mode=disabled")
    moved = tmp_path / "moved" / "tiny"
    root = make_config(*tiny).dataset.root
    moved.parent.mkdir()
    shutil.copytree(root, moved)
    again = [*tiny, "wandb.mode=disabled", f"dataset.root={moved}"]
    assert run_here(*again) == directory
    (moved / "ImageSets/Main/test.txt").write_text((moved / "ImageSets/Main/val.txt").read_text())
    with pytest.raises(ValueError, match="belongs to a run on other data"):
        run_here(*again)


def test_an_unseen_folder_without_lists_trains_by_overrides_alone(tiny, tiny_data, tmp_path):
    folder = tmp_path / "unseen"
    shutil.copytree(tiny_data, folder, ignore=shutil.ignore_patterns("ImageSets"))
    for file in (folder / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<name>", "<name>my "))
    directory = run_here(*tiny, f"dataset.root={folder}", "wandb.mode=disabled")
    summary = json.loads((directory / "summary.json").read_text())
    assert all(name.startswith("my ") for name in summary["data"]["classes"])
    assert summary["data"]["train"] > 0 and summary["data"]["test"] > 0


def test_data_in_coco_layout_trains(tiny, tiny_data, tmp_path):
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    names = voc_classes(tiny_data, "trainval")
    for split in ("trainval", "test"):
        (root / split).mkdir()
        images, annotations = [], []
        for number, record in enumerate(read_voc(tiny_data, split, names)):
            shutil.copy(record.path, root / split)
            size = {"width": record.width, "height": record.height}
            images.append({"id": number, "file_name": record.path.name, **size})
            boxes, labels = record.training_objects()  # COCO does not know difficult ones
            for (x1, y1, x2, y2), label in zip(boxes.tolist(), labels.tolist(), strict=True):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                annotations.append({"id": len(annotations), "image_id": number, "category_id": 7 * label + 1, **box})
        categories = [{"id": 7 * label + 1, "name": name} for label, name in enumerate(names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    overrides = ["dataset=coco", f"dataset.root={root}", "dataset.train=trainval", "dataset.test=test"]
    coco = run_here(*tiny, *overrides, "wandb.mode=disabled")
    voc = run_here(*tiny, "wandb.mode=disabled")
    assert json.loads((coco / "summary.json").read_text())["data"]["classes"] == names
    first, second = weights(coco), weights(voc)
    assert all(torch.equal(first[key], second[key]) for key in first)  # the same data in either layout


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=auc"],
        ["loss=focal"],
        ["loss=ohem"],
        ["method=approximate_gradient"],
        ["method=structured_hinge"],
        ["step=heaviside"],
        ["step=sigmoid", *BF16],
    ],
    ids=" ".join,
)
def test_every_loss_and_method_trains(overrides, tiny, tmp_path):
    directory = run_here(*tiny, *overrides, "schedule.learning_rate=0.05", "schedule.warmup_iterations=0")
    assert all(value.isfinite().all() for value in weights(directory).values())
    (logged,) = read_local(tmp_path / "outputs").all
    losses = logged.history["classification_loss"].dropna()
    assert logged.finished and len(losses) == 6 and (losses > 0).all() and losses.min() < losses.iloc[0]
    # What optimises AP-loss is compared by AP-loss itself.
    measured = logged.history["ap_loss"].dropna() if "ap_loss" in logged.history else []
    assert len(measured) == (logged.config["loss.name"] == "ap") and all(0 < value < 1 for value in measured)


def test_mixed_precision_and_clipping_train(tiny):
    directory = run_here(*tiny, *BF16, "schedule.clip_gradient=1", "wandb.mode=disabled", "seed=5")
    assert all(value.isfinite().all() for value in weights(directory).values())


def test_learning_rate_schedule():
    factors = [learning_rate_factor(step, 100, 10, [0.5, 0.75]) for step in (0, 5, 10, 49, 50, 75, 99)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.1, 0.01, 0.01])
    assert learning_rate_factor(0, 100, 0, []) == 1


def test_sweep_runs_each_run_once_and_table_1_shows_its_rows(tiny, tmp_path):
    code, output = call("-m", "loss=ap,focal", "delta=0.5,1", *tiny, "batch_size=8")
    assert code == 0, output
    runs = read_local(tmp_path / "outputs").all
    assert all(r.finished for r in runs)
    assert sorted(r.config["delta"] for r in runs if r.config["loss.name"] == "ap") == [0.5, 1.0]
    assert len(runs) == 3 and "4 combinations are 3 different runs" in output  # focal does not use delta

    command = [sys.executable, "-m", "analysis", "table1", "--outputs", str(tmp_path / "outputs")]
    command += ["--report", str(tmp_path / "report")]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    block = table.split("### δ\n")[1].split("### ")[0]
    rows = [line for line in block.splitlines() if re.match(r"\| [0-9]", line)]
    assert ["missing" in row for row in rows] == [True, False, False, True, True]
