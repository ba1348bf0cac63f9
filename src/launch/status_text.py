"""The texts of `python -m src.status`: a table of sweeps with their runs' states, and the description of one run."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from src.config.needs import RUN_ID
from src.launch.sweep_records import SweepRecord, run_command
from src.runs.lineage import lineage_changes
from src.runs.run_lock import read_lock
from src.runs.state import RunFolder, State, read_runs
from src.utils.quoting import override
from src.utils.text import listed

ALWAYS_SHOWN = (State.FINISHED, State.RUNNING, State.SUBMITTED, State.INTERRUPTED, State.FAILED, State.MISSING)
TO_LAUNCH = (State.MISSING, State.INTERRUPTED, State.GONE, State.DAMAGED)
DONE = (State.FINISHED, State.UNLOGGED)
NO_LOG = "wandb.mode=disabled"
METRICS = {"AP": 1, "AP50": 1, "minimal_perturbation": 1, "ap_loss": 3}  # shown of a finished run, with their decimals


def describe_sweeps(sweeps: list[tuple[str, SweepRecord]], outputs: Path, *, others_too: bool = False) -> str:
    """Return a table with the number of runs in each state, what to type for the rest, and why runs failed.

    Args:
        sweeps: each with its label.
        others_too: whether to count runs that have begun but belong to no sweep.
    """
    others = _folders_of_others(sweeps, outputs) if others_too else []
    names = dict.fromkeys([*(name for _, record in sweeps for name in record.runs), *others])
    folders, no_queue = read_runs(outputs / name for name in names)
    runs = {name: folders[outputs / name] for name in names}
    states = {name: run.state for name, run in runs.items()}
    columns = [state for state in State if state in ALWAYS_SHOWN or state in states.values()]
    rows = [["", "runs", *columns]]
    rows += [_counts(label or "sweep", [states[name] for name in record.runs], columns) for label, record in sweeps]
    rows += [_counts("other runs", [states[name] for name in others], columns)] if others else []
    rows.append(_counts("all runs", list(states.values()), columns))
    lines = _align(rows)
    if no_queue:
        lines += ["", f"Whether jobs are still queued is not known: {no_queue}"]
    lines += _commands("To launch what is {states}", TO_LAUNCH, sweeps, states)
    lines += _commands("To retry what failed", (State.FAILED,), sweeps, states, words=["retry=true"])
    lines += _commands("To log again what finished without a log", (State.UNLOGGED,), sweeps, states, but=NO_LOG)
    unfinished = {name: _command(name, [], runs[name]) for name in others if states[name] in (*TO_LAUNCH, State.FAILED)}
    retry = {State.FAILED: " retry=true"}
    commands = [f"  {command}{retry.get(states[name], '')}" for name, command in unfinished.items() if command]
    lines += ["", "Other runs that have not finished:", *commands] if commands else []
    lines += _awaited(sweeps, states)
    lines += _list("Failed (details: python -m src.status ID)", runs, State.FAILED)
    lines += _list("Gone from the queue", runs, State.GONE)
    lines += _list("Finished without a log", runs, State.UNLOGGED)
    damage = [f"  {line}" for run in runs.values() for line in run.damage]
    return "\n".join([*lines, *(["", "Damaged files:", *damage] if damage else [])])


def _folders_of_others(sweeps: list[tuple[str, SweepRecord]], outputs: Path) -> list[str]:
    """Return the runs that have begun but belong to no sweep."""
    known = {name for _, record in sweeps for name in record.runs}
    begun = (folder.name for folder in sorted(outputs.glob("*")) if (folder / "config.yaml").is_file())
    return [name for name in begun if RUN_ID.fullmatch(name) and name not in known]


def _commands(
    title: str,
    remedied: tuple[State, ...],
    sweeps: list[tuple[str, SweepRecord]],
    states: dict[str, State],
    *,
    words: Sequence[str] = (),
    but: str = "",
) -> list[str]:
    """Return the commands of the sweeps that have runs in these states, with `words` added and `but` removed."""
    commands, present = [], set()
    for _, record in sweeps:
        if own := {states[name] for name in record.runs} & set(remedied):
            present |= own
            arguments = [word for word in record.arguments if word != but]
            arguments += [word for word in words if word not in arguments]
            commands.append(f"  {replace(record, arguments=arguments).command}")
    named = listed([str(state) for state in remedied if state in present], "or")
    return ["", f"{title.format(states=named)}:", *commands] if commands else []


def _awaited(sweeps: list[tuple[str, SweepRecord]], states: dict[str, State]) -> list[str]:
    """Return the unfinished runs that others wait for, each with those others."""
    waiting: dict[str, set[str]] = {}
    for _, record in sweeps:
        for name in [name for name in record.needs if states[name] not in (*DONE, State.RUNNING)]:
            for needed in [needed for needed in record.needs[name] if states.get(needed) not in DONE]:
                waiting.setdefault(needed, set()).add(name)
    lines = [
        f"  {needed}  {states.get(needed, 'not known')}; needed by {', '.join(sorted(names))}"
        for needed, names in sorted(waiting.items())
    ]
    return ["", "Waited for by others:", *lines] if lines else []


def _list(title: str, runs: dict[str, RunFolder], state: State) -> list[str]:
    """Return the reasons of the runs in a state."""
    lines = [f"  {name}  {run.reason}" for name, run in sorted(runs.items()) if run.state == state]
    return ["", f"{title}:", *lines] if lines else []


def _counts(label: str, states: list[State], columns: list[State]) -> list[str]:
    counts = Counter(states)
    return [label, str(len(states)), *(str(counts[column] or "–") for column in columns)]


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
    folders, no_queue = read_runs([directory])
    run = folders[directory]
    sweeps = [record for record in sweeps if run_id in record.runs]
    lines = [f"{run_id}  {run.state}", *_describe_results(run)]
    if run.reason and run.failure is None:
        lines += [f"  why         {run.reason}"]
    lines += [f"  damage      {line}" for line in run.damage if line != run.reason]
    needed, _ = read_runs(outputs / other for record in sweeps for other in record.needs.get(run_id, []))
    lines += [f"  needs       {folder.name}, which is {other.state}" for folder, other in needed.items()]
    lines += [f"  part of     {record.command}" for record in sweeps]
    command = _command(run_id, sweeps, run)
    if command is not None:
        lines += [f"  command     {command}{' retry=true' if run.state == State.FAILED else ''}"]
    if run.state == State.MISSING and not sweeps:
        lines += [f"  there is no run in {directory}, and no sweep contains this run"]
    lines += [*_describe_job(run), *([f"  queue       {no_queue}"] if no_queue else [])]
    lines += _describe_process(run) + _describe_files(directory)
    if run.state == State.FAILED and run.failure is not None:
        lines += [f"  failed      {run.failure['error']}", "", str(run.failure.get("traceback", "")).rstrip()]
    return "\n".join(lines)


def _describe_results(run: RunFolder) -> list[str]:
    if run.summary is None:
        return []
    metrics, seconds = run.summary["metrics"], run.summary.get("seconds")
    numbers = [(key, metrics.get(key), digits) for key, digits in METRICS.items()]
    shown = ", ".join(f"{key} {value:.{digits}f}" for key, value, digits in numbers if isinstance(value, int | float))
    took = f"after {seconds:.0f} s" if isinstance(seconds, int | float) else ""
    results = " ".join(filter(None, [shown, took]))
    where = "; ".join(filter(None, [results, str(run.directory / "summary.json")]))
    lines = [f"  {run.summary.get('name', '')}", f"  {where}"]
    return lines + [f"  versions    {line}" for line in lineage_changes(run.summary.get("attempts"))]


def _command(run_id: str, sweeps: list[SweepRecord], run: RunFolder) -> str | None:
    """Return the command that makes a run, from its sweep, the note of its submission, or its configuration."""
    if sweeps:
        return run_command(sweeps[0].program, sweeps[0].runs[run_id])
    overrides = (run.submitted or {}).get("overrides")
    if overrides is None:
        command = _logged_command(run)
        place = run.directory.parent
        elsewhere = f" {override('outputs', str(place))}" if place != Path("outputs") else ""
        return f"{command}{elsewhere}" if command else None
    if isinstance(overrides, str):  # version 0.1 wrote one text, in which values may have spaces
        overrides = re.split(r" (?=[\w.+~@/]+=)", overrides)
    return run_command((run.submitted or {}).get("program", "src.run"), overrides)


def _logged_command(run: RunFolder) -> str | None:
    """Return the canonical command in a run's summary or configuration; None if neither can be read."""
    try:
        kept = run.summary or yaml.safe_load((run.directory / "config.yaml").read_bytes())
        return str(kept["command"]["canonical"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None


def _describe_job(run: RunFolder) -> list[str]:
    note = run.submitted
    if note is None:
        return []
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(_number(note.get("time"))))
    lines = [f"  submitted   {date} as job {note['job']}, with the code in {note.get('code')}"]
    return [*lines, f"  SLURM's log {note.get('log')}"]


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0


def _describe_process(run: RunFolder) -> list[str]:
    lock = run.lock or (read_lock(run.directory) if run.summary is not None else None)
    if lock is None:
        return []
    role = "is running it" if run.state == State.RUNNING else "was the last to run it"
    job = f", SLURM job {lock['job']}" if lock.get("job") else ""
    return [f"  process     {lock.get('pid')} on {lock.get('host')}{job} {role}"]


def _describe_files(directory: Path) -> list[str]:
    lines = []
    for name, label in (("checkpoint.pt", "checkpoint"), ("run.log", "log"), ("config.yaml", "config")):
        file = directory / name
        try:
            modified = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.stat().st_mtime))
        except OSError:
            continue
        lines.append(f"  {label.ljust(11)} {file}, {modified}")
    return lines
