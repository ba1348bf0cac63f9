"""Log a run to Weights & Biases."""

import contextlib
import itertools
import logging
import os
import platform
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import wandb
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from src.runs.kept_rows import KeptRows
from src.runs.lineage import Lineage, package_versions
from src.runs.log_parts import ATTEMPT, joined_rows, read_parts
from src.runs.provenance import code_version
from src.runs.set_aside import set_parts_aside
from src.runs.wandb_log import HEADER, check_log, read_log
from src.runs.wandb_variables import overrule_variables, wrong_settings_named
from src.utils.errors import UserError
from src.utils.signals import Interrupted

logger = logging.getLogger(__name__)

FLUSH_S = 10.0  # seconds; W&B writes more often than that, and continues to write after a run's end


class ServiceLost(Interrupted):
    """W&B's service, a process of its own that writes the log, has ended before the run."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM, "stopped because W&B's service has ended (killed, or out of memory)")


@contextlib.contextmanager
def _interrupted_with_service() -> Iterator[None]:
    """Turn the errors that W&B raises when its service has ended into ServiceLost, and others into UserError."""
    try:
        yield
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"W&B: {message} (wandb.mode=offline needs neither an account nor a network)") from error
    except (ConnectionError, MailboxClosedError, HandleAbandonedError) as error:
        with contextlib.suppress(Exception):
            wandb.teardown()  # which fails as well, and would otherwise do so with a traceback at the program's end
        raise ServiceLost from error


class LogIncomplete(UserError):
    """W&B has ended without having written all that was logged."""


class Tracker:
    """The W&B log of one run, or of one attempt at it.

    Its methods raise ServiceLost when W&B's service has ended. Leaving it as a context without an error raises
    LogIncomplete if the log is not whole.

    Args:
        directory: the run's folder. Its name, the run's id, is also W&B's id, under which a resumed run continues.
        name: the run's human-readable name.
        config: logged as the run's configuration; its `attempt` is what the parts of the log are ordered by.
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
        self.directory, self._is_on = directory, mode != "disabled"
        self.rows, self._logged = KeptRows(), 0  # of the run, and the number of those that this process has logged
        with _interrupted_with_service(), wrong_settings_named():
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
        """Log values with the current `global_step`, by which the parts of a resumed run are joined."""
        row = {"global_step": self.step, **values}
        if not any(isinstance(value, wandb.Image) for value in values.values()):  # a run that logs again draws again
            self.rows.append(row)  # before it is logged, as W&B may be found gone
        self._write(row)

    def log_image(self, key: str, file: Path) -> None:
        """Log an image file with the current `global_step`."""
        self.log({key: wandb.Image(str(file))})

    def resume(self, step: int, rows: KeptRows, lineage: Lineage) -> None:
        """Continue at a step, and log those rows of a checkpoint again that the log lacks.

        The parts of a log are joined by step: if the step goes back, what was logged beyond it no longer counts. So
        from the first missing row on, all are logged again, and at least the last one.
        """
        self.step, self.rows = step, rows
        if self._is_on and lineage.attempts:
            with _interrupted_with_service():
                facts = {ATTEMPT: lineage.attempts[-1]["attempt"], "attempts": lineage.attempts}
                self.run.config.update(facts, allow_val_change=True)
        if len(rows) and self._is_on:
            for row in itertools.islice(rows, self._first_lacking(), None):
                self._write(row)

    def _first_lacking(self) -> int:
        """Return the index of the first row that is not in the log, at most that of the last row."""
        parts = read_parts(self.directory)
        damaged = [part for part in parts if part.damage and part.file.stat().st_size > len(HEADER)]
        if damaged and self.rows.from_the_start:  # a log with a damaged part is damaged, whatever else it has
            logger.warning("%s; logging again what it holds", "; ".join(part.damage[0] for part in damaged))
            set_parts_aside(self.directory, [part.file.parent for part in damaged])
            parts = [part for part in parts if part not in damaged]
        logged = joined_rows(parts)
        for number, row in enumerate(self.rows):
            if not row.keys() <= logged.get(row["global_step"], {}).keys():
                return min(number, len(self.rows) - 1)
        return len(self.rows) - 1

    def _write(self, row: dict[str, Any]) -> None:
        with _interrupted_with_service():
            self.run.log(row)
        self._logged += 1

    def _check(self) -> None:
        """Raise LogIncomplete unless all that this process has logged is on disk, with the log's end."""
        file = Path(self.run.settings.sync_file)
        give_up = time.monotonic() + FLUSH_S
        while (problem := self._lack(file)) and time.monotonic() < give_up:
            time.sleep(0.05)
        if problem:
            raise LogIncomplete(
                f"W&B has not written the whole log: {problem}. If the disk is full, or a quota is used up, make room. "
                "Then add retry=true, and what is missing is logged again"
            )

    def _lack(self, file: Path) -> str:
        """Return what this process's part of the log lacks, in words; "" if nothing."""
        try:
            if problem := check_log(file):
                return problem
            records = sum(record.HasField("history") for record in read_log(file, lambda damage: None))
        except OSError as error:
            return f"{file}: {error.strerror}"
        return f"{file} has {records} of {self._logged} rows" if records < self._logged else ""

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
        if error is None and self._is_on:
            self._check()


def environment(device: torch.device) -> dict[str, Any]:
    """Return where a run takes place: code, versions, host and device."""
    gpu = device.type == "cuda"
    return {
        **code_version(),
        "python": platform.python_version(),
        "versions": package_versions(),
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if gpu else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
    }
