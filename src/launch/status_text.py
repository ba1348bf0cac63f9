"""The texts of `python -m src.status`: a table of sweeps with their runs' states, and the description of one run."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from src.launch.sweep_records import SweepRecord, run_command
from src.runs.run_lock import read_lock
from src.runs.state import State, state
from src.utils.files import read_json

COLUMNS = [State.FINISHED, State.RUNNING, State.SUBMITTED, State.INTERRUPTED, State.FAILED, State.MISSING]
TO_LAUNCH = {State.INTERRUPTED, State.FAILED, State.MISSING}


def describe_sweeps(sweeps: list[tuple[str, SweepRecord]], outputs: Path) -> str:
    """Return a table with the number of runs in each state, the commands that launch the rest, and why runs failed.

    Args:
        sweeps: each with its label.
    """
    states = {name: state(outputs / name) for _, record in sweeps for name in record.runs}
    rows = [["", "runs", *COLUMNS]]
    rows += [_counts(label or "sweep", [states[name] for name in record.runs]) for label, record in sweeps]
    rows.append(_counts("all runs", list(states.values())))
    lines = _align(rows)
    commands = []
    for _, record in sweeps:
        to_launch = TO_LAUNCH & {states[name] for name in record.runs}
        if to_launch:
            commands.append(f"  {record.command}{' retry=true' if State.FAILED in to_launch else ''}")
    if commands:
        lines += ["", "To launch what is missing, interrupted or failed:", *commands]
    failed = sorted(name for name, run_state in states.items() if run_state == State.FAILED)
    if failed:
        lines += ["", "Failed (details: python -m src.status ID):"]
        lines += [f"  {name}  {read_json(outputs / name / 'failed.json')['error']}" for name in failed]
    return "\n".join(lines)


def _counts(label: str, states: list[State]) -> list[str]:
    counts = Counter(states)
    return [label, str(len(states)), *(str(counts[column] or "–") for column in COLUMNS)]


def _align(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for label, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([label.ljust(widths[0]), *aligned]))
    return lines


def describe_run(run_id: str, outputs: Path, sweeps: list[SweepRecord]) -> str:
    """Return what is known of one run: its state, results, sweeps, command, job, process, files, and why it failed.

    Args:
        sweeps: in which to look for the run.
    """
    directory = outputs / run_id
    run_state = state(directory)
    sweeps = [record for record in sweeps if run_id in record.runs]
    submitted = read_json(directory / "submitted.json")
    lines = [f"{run_id}  {run_state}", *_describe_results(directory)]
    lines += [f"  part of     {record.command}" for record in sweeps]
    command = _command(run_id, sweeps, submitted)
    if command is not None:
        lines += [f"  command     {command}"]
    if run_state == State.MISSING and not sweeps:
        lines += [f"  there is no {directory}, and no sweep contains this run"]
    if submitted is not None:
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(submitted["time"]))
        lines += [f"  submitted   {date} as job {submitted['job']}, with the code in {submitted['code']}"]
        lines += [f"  SLURM's log {submitted['log']}"]
    lines += _describe_process(directory) + _describe_files(directory)
    if run_state == State.FAILED:
        failure = read_json(directory / "failed.json")
        lines += [f"  failed      {failure['error']}", "", failure["traceback"].rstrip()]
    return "\n".join(lines)


def _describe_results(directory: Path) -> list[str]:
    summary = read_json(directory / "summary.json")
    if summary is None:
        return []
    metrics = summary["metrics"]
    shown = ", ".join(f"{key} {metrics[key]:.4g}" for key in ("AP", "AP50", "ap_loss") if key in metrics)
    return [f"  {summary['name']}", f"  {shown} after {summary['seconds']:.0f} s; {directory / 'summary.json'}"]


def _command(run_id: str, sweeps: list[SweepRecord], submitted: dict[str, Any] | None) -> str | None:
    """Return the command that makes a run, from its sweep or from the note of its submission."""
    if sweeps:
        return run_command(sweeps[0].program, sweeps[0].runs[run_id])
    if submitted is None:
        return None
    overrides = submitted["overrides"]
    if isinstance(overrides, str):  # version 0.1 wrote one text, in which values may have spaces
        overrides = re.split(r" (?=[\w.+~@/]+=)", overrides)
    return run_command(submitted.get("program", "src.run"), overrides)


def _describe_process(directory: Path) -> list[str]:
    lock = read_lock(directory) if directory.is_dir() else None
    if lock is None:
        return []
    role = "is running it" if lock["alive"] else "was the last to run it"
    job = f", SLURM job {lock['job']}" if lock.get("job") else ""
    return [f"  process     {lock.get('pid')} on {lock.get('host')}{job} {role}"]


def _describe_files(directory: Path) -> list[str]:
    lines = []
    for name, label in (("checkpoint.pt", "checkpoint"), ("run.log", "log"), ("config.yaml", "config")):
        file = directory / name
        if file.exists():
            modified = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.stat().st_mtime))
            lines.append(f"  {label.ljust(11)} {file}, {modified}")
    return lines
