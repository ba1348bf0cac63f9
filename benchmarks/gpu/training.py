"""A short training of a tiny detector in each precision, through the code of `python -m src.run`."""

import logging
import statistics
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from src.config.validate import resolve
from src.costs.table import Table
from src.data.shapes import ensure_shapes
from src.launch.hydra_setup import register
from src.run import run
from src.runs.kept_rows import KeptRows
from src.utils import paths
from src.utils.files import read_json

PRECISIONS = {"cuda": ["fp32", "bf16", "fp16"], "cpu": ["fp32", "bf16"]}
BATCH = 4
IMAGES, QUICK_IMAGES = 64, 12
EPOCHS, QUICK_EPOCHS = 10, 4
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
    """Train in each precision, and check that the run finishes and its loss falls; a loss not finite ends a run."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    epochs = QUICK_EPOCHS if options.quick else EPOCHS
    counts = {"train": QUICK_IMAGES if options.quick else IMAGES, "val": 1, "test": 4}
    data = ensure_shapes(options.folder / "shapes", counts=counts, processes=1)
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    failures: list[str] = []
    for precision in PRECISIONS[options.device]:
        directory = train(
            [
                *TINY,
                *(QUICK_DETECTOR if options.quick else DETECTOR),
                f"dataset.root={data}",
                f"outputs={options.folder / 'outputs'}",
                "dataset.train_size=64",
                f"device={options.device}",
                f"precision={precision}",
                f"schedule.epochs={epochs}",
                f"schedule.evaluate_every={epochs}",
            ]
        )
        summary, losses = read_json(directory / "summary.json"), logged_losses(directory)
        steps = epochs * counts["train"] // BATCH
        if len(losses) != steps:
            failures.append(f"{len(losses)} losses in {precision} instead of {steps}")
        third = steps // 3
        first, last = statistics.mean(losses[:third]), statistics.mean(losses[-third:])
        if not last < first:
            failures.append(f"the loss in {precision} does not fall: {first:.3f} at first, {last:.3f} at last")
        rows.append([precision, str(len(losses)), f"{first:.3f}", f"{last:.3f}", f"{summary['seconds']:.1f}"])
        values[precision] = {"losses": losses, "seconds": summary["seconds"], "metrics": summary["metrics"]}
    header = ["precision", "steps", "loss in the first third", "in the last third", "seconds with the test"]
    return PartResult([Table(f"A short training on {options.device}", header, rows)], values, failures)


def train(overrides: list[str]) -> Path:
    """Train and test as `python -m src.run` with these overrides does; return the run's folder."""
    register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        config = compose("config", overrides)
    return run(resolve(config, overrides))


def logged_losses(directory: Path) -> list[float]:
    """Return the loss of each step, from the rows that the checkpoint keeps: W&B is disabled."""
    checkpoint: dict[str, Any] = torch.load(directory / "checkpoint.pt", map_location="cpu", weights_only=True)
    return [row["loss"] for row in KeptRows.from_plain(checkpoint["progress"]["rows"]) if "loss" in row]


if __name__ == "__main__":
    run_part(measure)
