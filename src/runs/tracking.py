"""Logging a run to Weights & Biases."""

import contextlib
import importlib.metadata
import os
import platform
import signal
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import wandb
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from src.runs.provenance import code_version
from src.runs.wandb_variables import overrule_variables
from src.utils.errors import UserError
from src.utils.signals import Interrupted

RECENT_S = 15.0  # seconds, well above the interval at which W&B writes


class ServiceLost(Interrupted):
    """W&B's service, a process of its own that writes the log, has ended before the run."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM, "stopped because W&B's service has ended (killed, or out of memory)")


@contextlib.contextmanager
def _interrupted_with_service() -> Iterator[None]:
    """Raise ServiceLost in place of the errors that W&B raises when its service has ended, UserError for others."""
    try:
        yield
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"W&B: {message} (wandb.mode=offline needs neither an account nor a network)") from error
    except (ConnectionError, MailboxClosedError, HandleAbandonedError) as error:
        with contextlib.suppress(Exception):
            wandb.teardown()  # which fails as well, and would otherwise do so with a traceback at the program's end
        raise ServiceLost from error


class Tracker:
    """The W&B log of one run.

    Its methods raise ServiceLost when W&B's service has ended.

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
        if mode != "disabled":
            overrule_variables(directory, name, mode=mode, project=project, entity=entity)
        settings = wandb.Settings(silent=True, console="off", sagemaker_disable=True)
        self.step = 0
        self._recent: deque[tuple[float, dict[str, Any]]] = deque()
        with _interrupted_with_service():
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
        with _interrupted_with_service():
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
        now = time.monotonic()
        self._recent.append((now, row))  # before it is logged, as W&B may be found gone
        while len(self._recent) > 2 and now - self._recent[0][0] > RECENT_S:
            self._recent.popleft()
        with _interrupted_with_service():
            self.run.log(row)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None and issubclass(error, ServiceLost):
            return
        try:
            with _interrupted_with_service():
                self.run.finish(exit_code=0 if error is None else 1)
        except ServiceLost:
            if error is None or issubclass(error, Interrupted):
                raise


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
