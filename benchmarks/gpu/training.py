"""Short trainings of a tiny detector through the code of `python -m src.run`: each precision, determinism, no waits."""

import contextlib
import logging
import statistics
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.configurations import compose_config
from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.costs.table import Table
from src.data.loading import on_device
from src.data.shapes import ensure_shapes
from src.detectors.detector import build_detector
from src.run import run
from src.runs.kept_rows import KeptRows
from src.training.data import build_data
from src.training.experiment import build_trainer
from src.utils import paths
from src.utils.distributed import World
from src.utils.errors import explain
from src.utils.files import read_json

PRECISIONS = {"cuda": ["fp32", "bf16", "fp16"], "cpu": ["fp32", "bf16"]}
LOSSES = ("ap", "auc", "focal", "ohem")
BATCH = 4
IMAGES, QUICK_IMAGES = 64, 12
EPOCHS, QUICK_EPOCHS = 10, 4
EPOCHS_OF_TWINS = 4
DETECTOR, QUICK_DETECTOR = ["model.channels=16"], ["model=ssd", "model.channels=4"]
TINY = [
    "recipe=folder",
    "dataset.train=train",
    "schedule.learning_rate=0.02",
    "schedule.warmup_iterations=0",
    f"batch_size={BATCH}",
    "workers=0",
    "images_logged=0",
    "wandb.mode=disabled",
]


def measure(options: PartOptions) -> PartResult:
    """Train in each precision, twice with deterministic=true, and a few steps in which nothing may wait."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    counts = {"train": QUICK_IMAGES if options.quick else IMAGES, "val": 1, "test": 4}
    data = ensure_shapes(options.folder / "shapes", counts=counts, processes=1)
    common = [
        *TINY,
        *(QUICK_DETECTOR if options.quick else DETECTOR),
        f"dataset.root={data}",
        "dataset.train_size=64",
        f"device={options.device}",
    ]
    result = train_in_each_precision(options, common, counts["train"])
    twins = train_twice(options, common, result.values["fp32"]["iteration_seconds"])
    failures = [*result.failures, *twins.failures, *find_waits(options, common)]
    result.values["fp32"] |= twins.values
    return PartResult([*result.tables, *twins.tables], result.values, failures)


def train_in_each_precision(options: PartOptions, common: list[str], images: int) -> PartResult:
    """Check that a training in each precision finishes and its loss falls; a loss not finite ends a run."""
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    failures: list[str] = []
    for precision in PRECISIONS[options.device]:
        directory = train(
            [
                *common,
                f"outputs={options.folder / 'outputs'}",
                f"precision={precision}",
                f"schedule.epochs={epochs}",
                f"schedule.evaluate_every={epochs}",
            ]
        )
        summary, losses = read_json(directory / "summary.json"), logged(directory, "loss")
        steps = epochs * images // BATCH
        if len(losses) != steps:
            failures.append(f"{len(losses)} losses in {precision} instead of {steps}")
        third = steps // 3
        first, last = statistics.mean(losses[:third]), statistics.mean(losses[-third:])
        if not last < first:
            failures.append(f"the loss in {precision} does not fall: {first:.3f} at first, {last:.3f} at last")
        rows.append([precision, str(len(losses)), f"{first:.3f}", f"{last:.3f}", f"{summary['seconds']:.1f}"])
        values[precision] = {"losses": losses, "seconds": summary["seconds"], "metrics": summary["metrics"]}
        values[precision]["iteration_seconds"] = logged(directory, "iteration_seconds")
    header = ["precision", "steps", "loss in the first third", "in the last third", "seconds with the test"]
    return PartResult([Table(f"A short training on {options.device}", header, rows)], values, failures)


def train_twice(options: PartOptions, common: list[str], without: list[float]) -> PartResult:
    """Check that trainings with deterministic=true end with the same bits, and measure what that costs a step.

    Args:
        without: the seconds of each step without it.
    """
    epochs = 1 if options.quick else EPOCHS_OF_TWINS
    common = [*common, f"schedule.epochs={epochs}", f"schedule.evaluate_every={epochs}", "deterministic=true"]
    weights: list[dict[str, torch.Tensor]] = []
    for name in ("first", "second"):
        try:
            directory = train([*common, f"outputs={options.folder / 'twins' / name}"])
        except RuntimeError as error:
            return PartResult([], {}, [explain(error) or str(error)])
        checkpoint = torch.load(directory / "checkpoint.pt", map_location="cpu", weights_only=True)
        weights.append(checkpoint["model"])
    is_same = all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    # The first steps also compile.
    before, after = (statistics.median(x[len(x) // 4 :]) for x in (without, logged(directory, "iteration_seconds")))
    header = ["same bits twice", "ms a step with deterministic=true", "without", "ratio"]
    row = ["yes" if is_same else "NO", f"{1000 * after:.1f}", f"{1000 * before:.1f}", f"{after / before:.2f}×"]
    failures = [] if is_same else ["two trainings with deterministic=true differ"]
    values = {"deterministic": {"same_bits": is_same, "seconds": after, "seconds_without": before}}
    return PartResult([Table(f"Determinism on {options.device}", header, [row])], values, failures)


def find_waits(options: PartOptions, common: list[str]) -> list[str]:
    """Return with which losses the host waits for the GPU in a step of training, and where."""
    common = [*common, f"outputs={options.folder / 'outputs'}"]
    found = {loss: find_wait(torch.device(options.device), [*common, f"loss={loss}"]) for loss in LOSSES}
    return [f"a step of training with loss={loss} waits for the GPU: {where}" for loss, where in found.items() if where]


def find_wait(device: torch.device, overrides: list[str]) -> str | None:
    """Return where the host waits for the GPU in a step of training; None where it does not."""
    config = compose_config(overrides)
    detector = build_detector(config.model, config.dataset.train_size)
    data = build_data(config, detector.normalisation, World())
    trainer = build_trainer(config, detector, data, device, World())
    batches = on_device(data.training_batches(epoch=0, epochs=2), device)
    for _ in range(3):  # kernels are compiled, and the optimizer gets its state
        trainer.step(next(batches)).read()
    batch = next(batches)
    try:
        with waits_refused(device):
            values = trainer.step(batch)
    except RuntimeError as error:
        frames = [x for x in traceback.extract_tb(error.__traceback__) if Path(x.filename).is_relative_to(paths.SRC)]
        return f"{error} ({', '.join(f'{Path(x.filename).name}:{x.lineno}' for x in frames[-3:])})"
    values.read()
    return None


@contextlib.contextmanager
def waits_refused(device: torch.device) -> Iterator[None]:
    """Let an operation that waits for the GPU raise an error; on a CPU nothing does."""
    if device.type == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def train(overrides: list[str]) -> Path:
    """Train and test as `python -m src.run` with these overrides does; return the run's folder."""
    return run(compose_config(overrides))


def logged(directory: Path, key: str) -> list[float]:
    """Return a value of each step, from the rows that the checkpoint keeps: W&B is disabled."""
    checkpoint: dict[str, Any] = torch.load(directory / "checkpoint.pt", map_location="cpu", weights_only=True)
    return [row[key] for row in KeptRows.from_plain(checkpoint["progress"]["rows"]) if key in row]


if __name__ == "__main__":
    run_part(measure)
