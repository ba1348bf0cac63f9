"""The benchmarks of training on a CPU, with small sizes."""

import pytest

from benchmarks import step_parts, torchvision_accuracy, training


def cells(output):
    """The rows of the table that a benchmark prints, by the first cell."""
    lines = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("| ")]
    return {first: others for first, *others in lines[2:]}


def data_of(root):
    """The overrides for images of the built-in set that are fewer than it has."""
    return [f"dataset.root={root}", "dataset.format=voc", "dataset.train=train", "dataset.test=test"]


@pytest.mark.slow
def test_all_detectors_train_on_the_same_batches(tiny_data, capsys):
    sizes = ["--backbone=resnet18", "--side=32", "--batch=2", "--batches=1", "--workers=0"]
    training.main([*sizes, *data_of(tiny_data), "model.channels=8"])
    rows = cells(capsys.readouterr().out)
    assert list(rows) == [training.AP, training.FOCAL, training.TORCHVISION]
    assert rows[training.TORCHVISION][1] == rows[training.FOCAL][2] == "1.000×"
    assert all(float(row[0].split()[0]) > 0 for row in rows.values())


@pytest.mark.slow
def test_the_parts_of_a_step_add_up(tiny_data, capsys):
    step_parts.main(["--steps=1", "recipe=mini", "dataset.train_size=32", *data_of(tiny_data)])
    rows = cells(capsys.readouterr().out)
    together, _ = rows.pop("together")
    parts = {"reading", "augmentation", "normalisation", "batching", "targets", "box loss", "classification loss"}
    assert parts <= rows.keys() and {"optimizer", step_parts.REST} <= rows.keys()
    assert sum(float(row[0]) for row in rows.values()) == pytest.approx(float(together), abs=1)


@pytest.mark.slow
def test_torchvisions_detector_is_trained_and_tested_as_a_run_is(tiny_data, capsys):
    words = ["recipe=mini", "dataset.train_size=32", "batch_size=4", "workers=0", "schedule.epochs=1"]
    torchvision_accuracy.main(["schedule.learning_rate=0.005", *words, *data_of(tiny_data), "model.channels=8"])
    (row,) = cells(capsys.readouterr().out).items()
    rate, (ap, ap50, voc, *minutes) = row
    assert rate == "0.005" and 0 <= float(ap) <= float(ap50) <= 100 and 0 <= float(voc) <= 100
    assert all(float(value) >= 0 for value in minutes)


def test_options_that_torchvisions_detector_cannot_follow_are_refused(capsys):
    with pytest.raises(SystemExit):
        torchvision_accuracy.main(["schedule.clip_gradient=10"])
    assert "schedule.clip_gradient=10.0: it trains with null alone" in capsys.readouterr().err
