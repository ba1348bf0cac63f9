"""What a SLURM job runs: the configuration and code frozen when it was submitted."""

import importlib
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.runs.run_lock import slurm_job
from src.utils import paths

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenRun:
    """A run as it was submitted, called by submitit.

    This module imports little, so that a job can be stopped and requeued soon after its start.
    """

    module: str  # that has the function run(config): src.run or src.linear
    config: dict[str, Any]  # resolved
    directory: str  # the run's folder
    code: str  # the folder with the copy of the code
    working_directory: str  # relative paths in the configuration start here
    name: str  # of the job

    def __call__(self) -> None:
        """Run what was submitted, with its output in the run's folder."""
        _check_code(Path(self.code))
        os.chdir(self.working_directory)
        rank = os.environ.get("SLURM_PROCID", "0")
        _redirect_output(Path(self.directory, "run.log" if rank == "0" else f"run.{rank}.log"))
        if rank == "0":
            _name_job(self.name)
        requeue: Any = signal.getsignal(signal.SIGUSR2)  # submitit's handler

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
        """Return what submitit is to call after a requeue: this run again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _check_code(submitted: Path) -> None:
    """Raise a RuntimeError unless this is the submitted code, whatever its path on this machine."""
    node = os.environ.get("SLURMD_NODENAME")
    if not submitted.is_dir():
        raise RuntimeError(f"{node} has no {submitted}: all nodes must see the folder of outputs")
    if not submitted.samefile(paths.ROOT):
        raise RuntimeError(f"on {node} this is {__file__}, not the submitted code in {submitted}")


def _redirect_output(file: Path) -> None:
    """Append everything that this process and its libraries print to a file."""
    stream = open(file, "a", buffering=1)  # noqa: SIM115
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("submitit").propagate = False  # it prints its messages itself
    job, restarts = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_RESTART_COUNT", 0)
    print(f"--- SLURM job {job} on {os.environ.get('SLURMD_NODENAME')}, restarted {restarts} times")


def _name_job(name: str) -> None:
    """Give this job the run's name; the tasks of an array are submitted under one name."""
    command = ["scontrol", "update", f"JobId={slurm_job()}", f"JobName={name}"]
    try:
        subprocess.run(command, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("The SLURM job could not be given the name of its run: %s", error)
