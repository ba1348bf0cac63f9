"""Short runs, and what they leave behind."""

import json
from pathlib import Path
from typing import Any

import torch

from src.config.validate import resolve
from src.runs.wandb_log import HEADER
from tests.support.configurations import make_config

# Tiny images, two epochs of three steps.
_SHORT = [
    "recipe=folder",
    "dataset.train_size=64",
    "schedule.epochs=2",
    "schedule.evaluate_every=1",
    "batch_size=4",
    "workers=0",
    "images_logged=2",
]
# A second or two: the network's checkpoint has a megabyte, RetinaNet's smallest 85.
TINY = [*_SHORT, "model=ssd", "model.channels=4"]
# One step, as large as the weights: an error of the update is one of the weights.
ONE_STEP = [
    "schedule.epochs=1",
    "schedule.learning_rate=1",
    "schedule.warmup_iterations=0",
    "batch_size=8",
    "images_logged=0",
]
NOT_LOGGED = ["wandb.mode=disabled", "images_logged=0"]


def run_here(*overrides: str) -> Path:
    """Run these overrides in this process, as `python -m src.run` does in another; return the run's folder."""
    from src.run import run

    return run(resolve(make_config(*overrides), overrides))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a run's last checkpoint."""
    return torch.load(directory / "checkpoint.pt", weights_only=True)["model"]


def saved_step(directory: Path) -> int:
    """Return the step of a run's last checkpoint, 0 if there is none."""
    file = directory / "checkpoint.pt"
    return torch.load(file, weights_only=True, mmap=True)["progress"]["step"] if file.exists() else 0


def same_weights(first: Path, second: Path) -> bool:
    """Whether two runs have come to the same weights, bit for bit."""
    expected, actual = weights(first), weights(second)
    return expected.keys() == actual.keys() and all(torch.equal(expected[key], actual[key]) for key in expected)


def summary_of(directory: Path) -> dict[str, Any]:
    """Return the summary of a finished run."""
    return json.loads((directory / "summary.json").read_text())


def run_folders(outputs: Path) -> list[Path]:
    """Return the folders of the runs in a folder of outputs."""
    return [path for path in outputs.iterdir() if path.is_dir() and not path.name.startswith(".")]


def leave_finished(directory: Path, **summary: Any) -> None:
    """Leave in a folder what makes its run count as finished: a summary, and a file of a log."""
    log = directory / "wandb/offline-run-1-it/run-it.wandb"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(HEADER)
    (directory / "summary.json").write_text(json.dumps({"metrics": {}} | summary))


def service_of(pid: int) -> int:
    """Return the process that writes the W&B log for a process."""
    commands = {int(path.parent.name): path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline")}
    (service,) = (
        other for other, words in commands.items() if b"wandb-core" in words[0] and str(pid).encode() in words
    )
    return service
