"""The step of training, and what is read of it a step later on a GPU."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

from src.config.identity import run_id
from src.config.validate import resolve
from src.data.loading import TrainingBatch
from src.detectors.anchors import make_anchors
from src.detectors.detector import build_detector
from src.detectors.retinanet import RetinaNet, anchor_grids
from src.detectors.targets import box_loss
from src.losses import ap_loss
from src.losses.reference import ap_loss_reference
from src.runs.kept_rows import KeptRows
from src.runs.lineage import Lineage
from src.training import trainer
from src.training.checkpoint import load_checkpoint, save_checkpoint
from src.training.experiment import no_loss
from src.training.optimizer import build_optimizer
from src.training.step import Trainer, TrainerOptions, autocast
from tests.support.configurations import make_config
from tests.support.runs import NOT_LOGGED, TINY, run_here, same_weights

TIMES = {"iteration_seconds", "images_per_second", "loss_seconds", "peak_memory"}


def rows(directory):
    """What a run has logged but for times, as text, in which NaN equals NaN."""
    kept = torch.load(directory / "checkpoint.pt", weights_only=True)["progress"]["rows"]
    return [str([(key, value) for key, value in row.items() if key not in TIMES]) for row in KeptRows.from_plain(kept)]


@pytest.mark.slow
def test_neither_reading_values_a_step_later_nor_determinism_changes_a_number_on_a_cpu(tiny, undisturbed, monkeypatch):
    monkeypatch.setattr(trainer, "lag_of", lambda device: 1)  # a GPU's
    directory, expected = run_here(*tiny, *NOT_LOGGED, "deterministic=true"), undisturbed()
    assert directory.name == expected.name and same_weights(expected, directory)
    assert rows(directory) == rows(expected)
    kept = torch.load(directory / "checkpoint.pt", weights_only=True)["progress"]["rows"]
    steps = [row for row in KeptRows.from_plain(kept) if "loss" in row]
    assert [TIMES - row.keys() for row in steps][:2] == [TIMES - {"peak_memory"}, set()]  # a GPU's first step compiles
    assert not torch.are_deterministic_algorithms_enabled()


def make_trainer(device, *overrides, change=lambda detector: detector, **options):
    """A trainer of a tiny detector of three classes, whose loss pulls up the logits of positives."""
    config = resolve(make_config(*TINY, "dataset.root=none", *overrides))
    torch.manual_seed(0)
    detector = change(build_detector(config.model, 64))
    model = detector.build_network(3).to(device)
    optimizer, scheduler = build_optimizer(model, config.schedule, batch_size=2, steps=10)
    return Trainer(
        detector,
        model,
        lambda logits, targets: -(logits * (targets == 1)).sum(),
        optimizer=optimizer,
        scheduler=scheduler,
        device=device,
        options=TrainerOptions(**{"classes": 3, "image_size": 64, "clip_gradient": 1.0} | options),
    )


def make_training_batch():
    generator = torch.Generator().manual_seed(0)
    boxes = [torch.tensor([[5, 5, 30, 40], [20, 10, 60, 50.0]]), torch.zeros(0, 4)]
    labels = [torch.tensor([0, 2]), torch.zeros(0, dtype=torch.int64)]
    return TrainingBatch(torch.rand(2, 3, 64, 64, generator=generator), boxes, labels)


def test_a_step_waits_for_no_value():
    """Without values, on the device "meta", whatever would make the host wait for a GPU is an error."""
    device = torch.device("meta")
    trained = make_trainer(device)
    trained.step(make_training_batch().to(device))
    assert trained.scheduler.last_epoch == 1


@pytest.mark.parametrize(("weight", "clip", "rate"), [(2.5, None, 0.01), (0.5, 0.5, 1.0)])
def test_a_step_descends_the_weighted_losses_by_their_clipped_gradient_and_logs_both(weight, clip, rate):
    words = [f"schedule.learning_rate={rate}", "schedule.momentum=0", "schedule.weight_decay=0"]
    options = {"box_loss_weight": weight, "clip_gradient": clip, "log_ap_loss": True}
    trained, other = (make_trainer(torch.device("cpu"), *words, **options) for _ in range(2))
    batch = make_training_batch()
    for step in range(2):
        rate = trained.optimizer.param_groups[0]["lr"]
        trained.model.eval()  # as a test leaves it
        values = trained.step(batch).read()
        logits, offsets = other.model.train()(batch.images.contiguous(memory_format=torch.channels_last))
        targets = other.targets(batch.images, batch)
        classification = other.classification_loss(logits, targets.classes)
        box, positives = box_loss(offsets, other.anchors, targets), int(targets.positive.sum())
        loss = classification + weight * box
        assert values["learning_rate"] == rate and values["loss"] == pytest.approx(loss.item())
        assert (values["box_loss"], values["positives"]) == (pytest.approx(box.item()), positives)
        assert values["imbalance"] == ((targets.classes >= 0).sum() - positives) / positives
        assert ("ap_loss" in values) == (step == 0)
        if step == 0:
            expected = ap_loss_reference(logits, targets.classes, step="heaviside", interpolated=False)
            assert values["ap_loss"] == pytest.approx(expected.item())
        parameters = list(other.model.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= rate * (clip / norm if clip else 1) * gradient
        torch.testing.assert_close(trained.model.state_dict(), other.model.state_dict(), rtol=1e-3, atol=1e-5)
        assert norm > 1 and trained.scheduler.last_epoch == step + 1


@pytest.mark.parametrize("clip", [None, 0.5])
def test_in_fp16_steps_that_overflow_are_skipped_until_one_descends_the_unscaled_gradient(clip, tmp_path):
    words = ["schedule.momentum=0", "schedule.weight_decay=0"]
    options = {"box_loss_weight": 100, "clip_gradient": clip, "precision": "fp16"}
    trained, other, resumed = (make_trainer(torch.device("cpu"), *words, **options) for _ in range(3))
    batch, parameters = make_training_batch(), list(other.model.parameters())
    while True:
        scale, rate = trained.scaler.get_scale(), trained.optimizer.param_groups[0]["lr"]
        trained.step(batch)
        if trained.scaler.get_scale() == scale:
            break
        assert trained.scaler.get_scale() == scale / 2 >= 1
        assert all(map(torch.equal, trained.model.parameters(), parameters))
    assert scale < 2**16  # the first step has overflowed
    targets = other.targets(batch.images, batch)
    with autocast(torch.device("cpu"), "fp16"):
        logits, offsets = other.model.train()(batch.images.contiguous(memory_format=torch.channels_last))
        box = box_loss(offsets, other.anchors, targets)
    loss = scale * (other.classification_loss(logits.float(), targets.classes) + 100 * box)
    gradients = [gradient / scale for gradient in torch.autograd.grad(loss, parameters)]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= rate * (clip / norm if clip else 1) * gradient
    torch.testing.assert_close(list(trained.model.parameters()), parameters, rtol=1e-3, atol=1e-5)

    save_checkpoint(tmp_path / "checkpoint.pt", trained.parts(), {"step": 1}, Lineage(tmp_path, [{"attempt": 1}]))
    load_checkpoint(tmp_path / "checkpoint.pt", resumed.parts(), Lineage(tmp_path, [{"attempt": 2}]))
    assert resumed.scaler.state_dict() == trained.scaler.state_dict() and resumed.scaler.get_scale() == scale


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_without_a_loss_each_logit_gets_a_zero_gradient(dtype):
    logits = torch.full((2, 2000, 20), -4.6, dtype=dtype, requires_grad=True)  # float16 does not hold their sum
    loss = no_loss(logits, torch.zeros_like(logits))
    loss.backward()
    assert loss == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_step_is_the_same_where_the_box_head_sees_positive_anchors_alone():
    words = "model=retinanet", "model.norms=false", "model.channels=8"
    trained = make_trainer(torch.device("cpu"), *words)
    dense = make_trainer(torch.device("cpu"), *words, change=functools.partial(replace, selects_boxes=False))
    assert trained.selects_boxes and not dense.selects_boxes
    assert not make_trainer(torch.device("cpu"), *words, compile=True).selects_boxes
    values = [one.step(make_training_batch()).read() for one in (trained, dense)]
    assert values[0]["box_loss"] == pytest.approx(values[1]["box_loss"]) and values[0]["box_loss"] > 0
    torch.testing.assert_close(trained.model.state_dict(), dense.model.state_dict())


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_plain_one_and_is_another_run(monkeypatch):
    # The default backend takes a minute to compile; this one runs the graph as it was captured.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    counters.clear()
    plain, compiled = make_trainer(torch.device("cpu")), make_trainer(torch.device("cpu"), compile=True)
    before = plain.model.scale.detach().clone()
    values = [trained.step(make_training_batch()).read() for trained in (plain, compiled)]
    assert counters["stats"]["unique_graphs"] == 1 and values[0]["loss"] == pytest.approx(values[1]["loss"])
    assert not torch.equal(plain.model.scale, before)
    torch.testing.assert_close(compiled.model.state_dict(), plain.model.state_dict())
    assert run_id(make_config("compile=true")) != run_id(make_config("compile=false")) == run_id(make_config())


@pytest.mark.slow
def test_a_detector_with_the_loss_inside_compiles_once_for_all_numbers_of_positives():
    torch.compiler.reset()
    counters.clear()
    torch.manual_seed(0)
    model = RetinaNet(3, "resnet10_half", channels=8).to(memory_format=torch.channels_last)
    anchors = sum(len(level) for level in make_anchors(anchor_grids(32, 32)))

    def loss_of(images, targets):
        logits, offsets = model(images)
        return ap_loss(logits, targets) + offsets.abs().mean()

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    compiled = torch.compile(loss_of, backend="eager", fullgraph=True)
    for number in range(10):
        images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        targets = torch.zeros(2, anchors, 3, dtype=torch.int8)
        targets[0, : 7 * number, number % 3] = 1
        loss = compiled(images, targets)
        if number % 9 == 0:
            actual, expected = gradients(loss), loss_of(images, targets)
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(actual, gradients(expected))
        else:
            gradients(loss)
        assert math.isfinite(loss)
    torch.compiler.reset()
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], dict(counters)
