"""What a SLURM job does: the run that was frozen when it was submitted."""

import importlib
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.utils import paths

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenRun:
    """A run as it was submitted, for submitit to call.

    This module imports little, so that a job that has hardly begun can already be stopped and started again.
    """

    module: str  # whose run(config) it is, "src.run"
    config: dict[str, Any]  # resolved
    directory: str  # the run's
    code: str  # the folder of the code as it was
    folder: str  # to work in, where relative paths in the configuration begin
    name: str

    def __call__(self) -> None:
        if Path(self.code) != paths.ROOT:
            raise RuntimeError(f"this is {__file__}, not the code that was submitted, {self.code}")
        os.chdir(self.folder)
        first = os.environ.get("SLURM_PROCID", "0") == "0"
        _log_to(Path(self.directory, "run.log" if first else f"run.{os.environ['SLURM_PROCID']}.log"))
        if first:
            _name_job(self.name)
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's

        from omegaconf import OmegaConf

        from src.utils.signals import Interrupted

        try:
            importlib.import_module(self.module).run(OmegaConf.create(self.config))
        except Interrupted as stop:
            logger.warning("%s", stop)
            if stop.signum == signal.SIGUSR2:
                requeue(signal.SIGUSR2, None)
            raise SystemExit(128 + stop.signum) from None

    def checkpoint(self) -> Any:
        """What submitit is to call when the job is started again: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _log_to(file: Path) -> None:
    """Sends all that this process and its libraries print to a file."""
    stream = open(file, "a", buffering=1)  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("submitit").propagate = False  # it prints what it says itself
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", 0)
    print(f"--- SLURM job {job} on {os.environ.get('SLURMD_NODENAME')}, restarted {restarts} times")


def _name_job(name: str) -> None:
    """Tells SLURM which run this is; the tasks of an array are submitted under one name."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    command = ["scontrol", "update", f"JobId={job}", f"JobName={name}"]
    try:
        subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("SLURM could not be told the name of this run: %s", error)
