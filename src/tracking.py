"""What a run leaves behind: its W&B log, its resolved configuration and, last of all, its summary."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
import wandb

from src.checkpoint import write_atomically

ROOT = Path(__file__).parent.parent


class Tracker:
    """One run's W&B log.

    Args:
        directory: the run's folder. Its name, the run's id, is also W&B's id, under which a resumed run goes on.
        name: of the run, for people.
        config: all that is to be known of the run, logged as its configuration.
        mode: "offline", "online" or "disabled".
    """

    def __init__(
        self, directory: Path, name: str, config: dict[str, Any], *, mode: str, project: str, entity: str | None
    ):
        # A killed process loses what W&B has not flushed; by default it waits up to 15 seconds.
        os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "1")
        settings = wandb.Settings(silent=True, console="off")
        self.step = 0
        self.run = wandb.init(
            id=directory.name, dir=directory, name=name, config=config, mode=mode, project=project, entity=entity,
            resume="allow", settings=settings,
        )  # fmt: skip

    def log(self, values: dict[str, Any]) -> None:
        """Logs values under the run's own step, on which the parts of a resumed run are joined."""
        self.run.log({"global_step": self.step, **values})

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        self.run.finish(exit_code=0 if error is None else 1)


def read_summary(directory: Path) -> dict[str, Any] | None:
    """The summary in a run's folder, which is the last thing a run writes; None before."""
    file = directory / "summary.json"
    return json.loads(file.read_text()) if file.exists() else None


def environment(device: torch.device) -> dict[str, Any]:
    """Where a run takes place: code, versions, host and device."""
    packages = ["torch", "torchvision", "hydra-core", "pycocotools", "wandb", "numpy", "pillow"]
    gpu = device.type == "cuda"
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; NaN is written as null, which JSON has."""
    text = json.dumps(_without_nan(value), indent=2) + "\n"
    write_atomically(path, lambda file: file.write_text(text))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
