"""Logging a run to Weights & Biases."""

import importlib.metadata
import os
import platform
import time
from collections import deque
from pathlib import Path
from typing import Any, Literal

import torch
import wandb

from src.runs.provenance import code_version

RECENT_S = 15.0  # seconds, well above the interval at which W&B writes


class Tracker:
    """The W&B log of one run.

    Args:
        directory: the run's folder. Its name, the run's id, is also W&B's id, under which a resumed run continues.
        name: the run's name for people.
        config: logged as the run's configuration.
        mode: "offline", "online" or "disabled".
        project, entity: where to log in W&B; the entity is a user or team, None for the API key's owner.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        config: dict[str, Any],
        *,
        mode: Literal["offline", "online", "disabled"],
        project: str,
        entity: str | None,
    ):
        os.environ.setdefault("WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL", "1")  # seconds; by default up to 15
        settings = wandb.Settings(silent=True, console="off")
        self.step = 0
        self._recent: deque[tuple[float, dict[str, Any]]] = deque()
        self.run = wandb.init(
            id=directory.name,
            dir=directory,
            name=name,
            config=config,
            mode=mode,
            project=project,
            entity=entity,
            resume="allow",
            settings=settings,
        )

    def log(self, values: dict[str, Any]) -> None:
        """Log numbers with the current `global_step`, by which the parts of a resumed run are joined."""
        self._log({"global_step": self.step, **values})

    def log_image(self, key: str, file: Path) -> None:
        """Log an image file with the current `global_step`."""
        self.run.log({"global_step": self.step, key: wandb.Image(str(file))})

    def recent(self) -> list[dict[str, Any]]:
        """Return the last rows, which W&B loses if the process is killed now; checkpoints contain them."""
        return [row for _, row in self._recent]

    def resume(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Continue at a step, and log the rows of a checkpoint again; rows of the same step count once."""
        self.step = step
        for row in rows:
            self._log(row)

    def _log(self, row: dict[str, Any]) -> None:
        self.run.log(row)
        now = time.monotonic()
        self._recent.append((now, row))
        while len(self._recent) > 2 and now - self._recent[0][0] > RECENT_S:
            self._recent.popleft()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.run.finish(exit_code=0 if error is None else 1)


def environment(device: torch.device) -> dict[str, Any]:
    """Return where a run takes place: code, versions, host and device."""
    packages = ["torch", "torchvision", "hydra-core", "pycocotools", "wandb", "numpy", "pillow"]
    gpu = device.type == "cuda"
    return {
        **code_version(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
    }
