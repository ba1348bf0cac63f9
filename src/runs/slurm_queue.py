"""Ask SLURM which jobs wait or run, and how it is configured."""

import functools
import os
import pwd
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from src.utils.errors import UserError

TIMEOUT_S = 60.0  # seconds; clients would wait forever for a controller that is down
HIDDEN = "SLURM does not show the jobs of others"  # the reason of a state that depends on one


@dataclass(frozen=True)
class QueuedJob:
    """A job, or a task of an array, that waits or runs."""

    pending: bool
    reason: str = ""  # why it waits: Priority, Resources, Dependency, …
    comment: str = ""  # that it was submitted with

    @property
    def waits_for_another(self) -> bool:
        """Whether it may start only when another job has ended."""
        return self.pending and self.reason.startswith("Dependency")


Queue = dict[str, QueuedJob]  # by id, tasks of arrays as 12_3


def ask_queue(users: Iterable[int] = (), timeout_s: float = TIMEOUT_S) -> Queue:
    """Return the pending and running jobs of users, given by user id; by default one's own.

    Raises:
        UserError: there is no SLURM here, or it does not answer.
    """
    known = {user for user in users if _is_known(user)}  # squeue refuses others
    listed = ",".join(str(user) for user in sorted(known or {os.getuid()}))
    command = ["squeue", f"--user={listed}", "--noheader", "--array", "--format=%i|%t|%r|%k"]
    # The comment of a job that is not this project's may have several lines.
    lines = re.findall(r"^([^|\n]+)\|(\w+)\|([^|\n]*)\|(.*)$", _call(command, timeout_s), re.MULTILINE)
    return {job: QueuedJob(state == "PD", reason, comment) for job, state, reason, comment in lines}


@functools.cache
def hides_others() -> bool:
    """Return whether SLURM shows users their own jobs alone, so that the queue lacks those of others."""
    private = re.search(r"^PrivateData\s*=\s*(\S*)", slurm_configuration(), re.MULTILINE)
    return private is not None and "jobs" in private[1].split(",")


def slurm_configuration() -> str:
    """Return how SLURM is configured, a line NAME = VALUE each; "" if there is no SLURM here, or it does not answer."""
    try:
        return _call(["scontrol", "show", "config"])
    except UserError:
        return ""


def cancel_pending(jobs: Iterable[str]) -> None:
    """Cancel those of one's jobs that have not started.

    Raises:
        UserError: SLURM refuses it, or does not answer.
    """
    listed = list(jobs)
    for start in range(0, len(listed), 200):  # command lines have a limited length
        _call(["scancel", "--state=PENDING", *listed[start : start + 200]])


def _is_known(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _call(command: list[str], timeout_s: float = TIMEOUT_S) -> str:
    # Variables such as SQUEUE_STATES would hide some jobs.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SQUEUE_", "SCANCEL_"))}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=True
        )
    except FileNotFoundError:
        raise UserError(f"there is no {command[0]} here: give the command on a machine of the SLURM cluster") from None
    except subprocess.TimeoutExpired:
        raise UserError("SLURM's controller does not answer") from None
    except subprocess.CalledProcessError as error:
        reason = "; ".join(error.stderr.strip().splitlines())
        raise UserError(f"{' '.join(command[:8])}: {reason}") from None
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started: {error.strerror}") from None
    return done.stdout
