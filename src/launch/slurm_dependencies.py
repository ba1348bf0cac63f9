"""Job dependencies: jobs of runs that need other runs wait in the queue until these have finished."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from src.launch.compose import Job
from src.runs.slurm_queue import HIDDEN, Queue
from src.runs.state import RunFolder, State


def job_of(found: RunFolder, queue: Queue) -> str | None:
    """Return the id of the queued or running job that will finish a run; None if there is none."""
    if found.state == State.RUNNING:
        job = (found.lock or {}).get("job")
        return job if job in queue else None
    is_queued = found.state in (State.SUBMITTED, State.WAITING) and found.reason != HIDDEN
    return found.submitted["job"] if found.submitted and is_queued else None


def reason_in_needed(job: Job, left_out: Mapping[Path, tuple[str, RunFolder]], queue: Queue) -> str | None:
    """Return why a run must not be submitted because a run it needs will not finish; None if it may be submitted.

    Args:
        job: with absolute folders.
        left_out: the earlier runs that are not submitted, with the reason and the state of their folders.
    """
    for directory in job.needs:
        if directory not in left_out:
            continue
        reason, found = left_out[directory]
        if job_of(found, queue) or (found.summary is not None and reason.startswith("finished")):
            continue
        if found.state == State.RUNNING:
            return "need a run on which a process outside SLURM works; give the command again when it has finished"
        return f"need a run that {reason}" if found.state == State.FAILED else f"need a run that is left out: {reason}"
    return None


def in_groups(jobs: Iterable[Job], is_awaited: Callable[[Path], bool]) -> list[tuple[list[Path], list[Job]]]:
    """Group runs that wait for the same runs; each group comes with their folders, and after their groups.

    Args:
        jobs: each after those that it needs.
        is_awaited: whether the run in this folder has not finished.
    """
    groups: dict[tuple[Path, ...], list[Job]] = {}
    for job in jobs:
        groups.setdefault(tuple(sorted(filter(is_awaited, job.needs))), []).append(job)
    return [(list(awaited), group) for awaited, group in groups.items()]


def dependency(after: Iterable[str], own: str | None) -> dict[str, str]:
    """Return sbatch's options for a job that starts once others have succeeded, and is cancelled if one fails.

    A requeued job has not ended yet.

    Args:
        after: the ids of the others.
        own: the preset's own dependency, if it has one.
    """
    jobs = sorted(set(after))
    if not jobs:
        return {}
    return {"dependency": ",".join([f"afterok:{':'.join(jobs)}", *filter(None, [own])]), "kill-on-invalid-dep": "yes"}
