"""Submit jobs to SLURM as arrays that it accepts, and report its refusals in one line."""

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from submitit.core.utils import FailedJobError

from src.runs.slurm_queue import slurm_configuration
from src.utils.errors import UserError
from src.utils.text import counted

T = TypeVar("T")
USUAL_LIMIT = 1001  # SLURM's default MaxArraySize
DAY_S = 24 * 3600

# What sbatch says, and what to check. If several entries match a message, the first is used.
ADVICE = {
    r"partition name|partition specified|partition not available": "hydra.launcher.partition; `sinfo -s` lists them",
    r"account\b": "hydra.launcher.account; `sacctmgr show associations user=$USER` lists yours",
    r"qos spec|Invalid qos": "hydra.launcher.qos; `sacctmgr show associations user=$USER` lists yours",
    r"time limit|--time|time spec|Wall": "hydra.launcher.timeout_min; `sinfo` shows each partition's limit",
    r"[Mm]emory|--mem": "hydra.launcher.mem_gb",
    r"gres|GRES|--gpus": "hydra.launcher.gpus_per_node; for GPUs of one type, null there and "
    "hydra.launcher.gres=gpu:a100:1; `sinfo -o '%P %G'` shows each partition's GPUs",
    r"feature": "hydra.launcher.constraint; `sinfo -o '%P %f'` shows each partition's features",
    r"node configuration|Node count|CPU|Cpu": "hydra.launcher.cpus_per_task, gpus_per_node, mem_gb and constraint",
    r"option": "hydra.launcher.additional_parameters, which has options of sbatch without their dashes",
}
ARRAY = r"array spec"
LIMIT = r"submit limit|MaxSubmit|SubmitJob|violates accounting|MaxJobCount|temporarily unable to accept"
# A limit that one job exceeds, by the name that sbatch gives before a text that is the same for all limits.
LIMIT_OF_JOB = r"\b(QOS|Assoc)(?!\w*Submit)\w+"
CONTROLLER = r"contact slurm controller|Connection refused|timed out|Zero Bytes|backup controller"


class Refused(UserError):
    """SLURM refuses a job.

    Args:
        reason: sbatch's message.
    """

    def __init__(self, reason: str):
        limit = re.search(LIMIT_OF_JOB, reason)
        said = limit[0] if limit else reason
        advice = next((f"; see {keys}" for pattern, keys in ADVICE.items() if re.search(pattern, said)), "")
        super().__init__(f"SLURM refuses this job: {reason}{'' if self.depends_on_number(reason) else advice}")
        self.reason, self.fewer_may_pass = reason, self.depends_on_number(reason)

    @staticmethod
    def depends_on_number(reason: str) -> bool:
        """Return whether SLURM might accept a smaller array, or the same one later."""
        return not re.search(LIMIT_OF_JOB, reason) and re.search(f"{ARRAY}|{LIMIT}", reason) is not None


def largest_array() -> int:
    """Return how many tasks an array may have, as SLURM is configured; 1 where there are no arrays."""
    text = slurm_configuration()
    limits = [int(number) for number in re.findall(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)] or [USUAL_LIMIT]
    limits += [int(number) + 1 for number in re.findall(r"\bmax_array_tasks=(\d+)", text)]
    return max(min(limits) - 1, 1)


def submit_in_arrays(jobs: Sequence[T], submit: Callable[[Sequence[T]], None]) -> None:
    """Submit jobs in as few arrays as SLURM accepts, in smaller ones if it refuses an array for its size.

    Args:
        submit: submits one array; raises Refused.

    Raises:
        UserError: SLURM refuses the next job, even on its own; the message says how many it has accepted.
    """
    done, largest = 0, largest_array() if len(jobs) > 1 else 1
    while done < len(jobs):
        part = jobs[done : done + largest]
        try:
            submit(part)
        except Refused as refused:
            if refused.fewer_may_pass and len(part) > 1:
                largest = len(part) // 2
                continue
            if not done and not refused.fewer_may_pass:
                raise
            raise UserError(
                f"{counted(done, 'run')} of {len(jobs)} submitted, then {refused}. The same command submits the others "
                "once there is room in the queue"
            ) from None
        done += len(part)


def remove_leftovers(folder: Path) -> None:
    """Remove submitit's files of jobs that SLURM has not accepted, after a day.

    Args:
        folder: of all jobs.
    """
    for file in [*folder.glob("*.pkl"), *folder.glob(".submission_file_*.sh")]:
        with contextlib.suppress(OSError):  # another process has done so, or it is another user's
            # Of an accepted job's script, a link is left there, which `scontrol show job` names.
            if not file.is_symlink() and time.time() - file.stat().st_mtime > DAY_S:
                file.unlink()


@contextlib.contextmanager
def one_line_refusals() -> Iterator[None]:
    """Turn errors of submitit and sbatch into a UserError, such as Refused, and hide what submitit prints."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    except FailedJobError as error:
        prefixes = r"^sbatch: ((error|fatal): )?|Batch job submission failed: |Unable to allocate resources: "
        lines = [re.sub(prefixes, "", line).strip() for line in str(error).splitlines()]
        reason = "; ".join(dict.fromkeys(line for line in lines if line and "Try" not in line))
        if re.search(CONTROLLER, reason):
            raise UserError(
                f"SLURM's controller does not answer: {reason}. It may have taken the jobs all the same: look with "
                "`squeue --me` before you give the command again"
            ) from None
        raise Refused(reason or "sbatch has failed without a word") from None
    except FileNotFoundError as error:
        if error.filename != "sbatch":
            raise
        raise UserError("there is no sbatch here: submit from a machine of the SLURM cluster") from None


# Variables of torchrun, of Python, and of a surrounding job, which would contradict a new job's own.
OF_THIS_SHELL = re.compile(
    r"SLURM_(?!CONF|CLUSTERS$|JWT$).*|SBATCH_(ARRAY_INX|WAIT|OPEN_MODE|SIGNAL|JOB_NAME|(NO_)?REQUEUE)|PYTHONSAFEPATH|"
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|TORCHELASTIC_.*"
)
OTHER_NAMES = {
    "timelimit": "timeout_min",
    "mem_per_node": "mem_gb",
    "gpus": "gpus_per_node",
    "gpus_per_task": "gpus_per_node",
}


@contextlib.contextmanager
def environment_of_jobs(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Unset the environment variables that would silently override the preset.

    Jobs inherit the environment, and sbatch prefers a variable such as SBATCH_PARTITION to what a script says.

    Args:
        parameters: of the launcher.
    """
    contradicting = {}
    for name, value in os.environ.items():
        option = name.removeprefix("SBATCH_").lower()
        wanted = parameters.get(OTHER_NAMES.get(option, option)) if name.startswith("SBATCH_") else None
        if wanted is not None and str(wanted) != value:
            contradicting[name] = value
    for name, value in contradicting.items():
        print(f"{name}={value} is left out: the preset decides", file=sys.stderr)
    removed = {name: value for name, value in os.environ.items() if OF_THIS_SHELL.fullmatch(name)} | contradicting
    for name in removed:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(removed)
