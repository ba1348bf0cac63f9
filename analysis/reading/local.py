"""Reads runs from the W&B files that they have written to this machine's disk."""

import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.reading.runs import DAMAGED, FAILED, FINISHED, UNFINISHED, Run, Runs, make_run
from src.runs.log_parts import ATTEMPT, PATTERN, part_order
from src.runs.state import RunFolder, State, read_run
from src.runs.wandb_log import HEADER, key_levels, read_log
from src.utils.quoting import override

HOW = "to log it again"
FEW = 8  # runs that are read faster than processes start


@dataclass
class _Part:
    """What one W&B file holds of a run."""

    file: Path
    started: int = 0  # nanoseconds since 1970
    run_id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None
    empty: bool = False
    damage: list[str] = field(default_factory=list)


def local_files(outputs: Path) -> dict[str, list[Path]]:
    """Return the W&B files under a folder of outputs by the folders of the runs that they belong to."""
    files: dict[str, list[Path]] = {}
    for file in sorted(outputs.glob(f"*/{PATTERN}")):
        files.setdefault(str(file.parents[2]), []).append(file)
    return files


def marks_of(outputs: Path) -> dict[str, str]:
    """Return, by the runs' folders, a mark that changes when their W&B files do: names, sizes and times."""
    marks = {}
    for folder, files in local_files(outputs).items():
        states = [(file.name, os.stat(file)) for file in files if file.is_file()]
        marks[folder] = " ".join(f"{name}:{state.st_size}:{state.st_mtime_ns}" for name, state in states)
    return marks


def read_local(outputs: Path, known: dict[str, Run] | None = None) -> Runs:
    """Read all runs that have a W&B file under a folder of outputs, in the order of their ids.

    A run that has finished, but whose log is not whole, is named with the command by which it logs again.

    Args:
        known: runs by their folders that need not be read again.
    """
    known = known or {}
    files = local_files(outputs)
    new = [folder for folder in files if folder not in known]
    runs = [known[folder] for folder in files if folder in known]
    unreadable: list[str] = []
    for run, lines in _read_all([files[folder] for folder in new]):
        runs += [run] if run else []
        unreadable += lines
    runs, lines = _check_folders(outputs, runs)
    unreadable += lines
    by_id: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.finished, run.started, Path(run.source).name == run.run_id)):
        if run.run_id in by_id:
            unreadable.append(f"{by_id[run.run_id].source} is another copy of run {run.run_id}; left out")
        by_id[run.run_id] = run
    return Runs(sorted(by_id.values(), key=lambda run: run.run_id), unreadable)


def _check_folders(outputs: Path, runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Compare runs with what their folders say of them.

    Returns:
        The runs, those of which the log is not whole with what to type; and a line for each folder of a finished run
        without any log, and for each damaged file.
    """
    logged = {run.source: run for run in runs}
    lines = []
    for folder in sorted(path for path in outputs.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = read_run(folder)
        lines += found.damage
        if found.summary is None:
            continue
        run = logged.get(str(folder))
        if run is None:
            lines.append(f"{folder} has finished, but {found.reason or 'no run is in its log'}; {_how_to_log(found)}")
        elif found.state == State.UNLOGGED:
            logged[run.source] = replace(run, state=DAMAGED, reason=f"{found.reason}; {_how_to_log(found)}")
        elif not run.finished and HOW not in run.reason:
            logged[run.source] = replace(run, reason=f"{run.reason}; {_how_to_log(found)}")
    return list(logged.values()), lines


def _how_to_log(found: RunFolder) -> str:
    """Return what to type for a finished run whose log is not whole."""
    command = (found.summary or {}).get("command")
    words = command["canonical"] if isinstance(command, dict) and "canonical" in command else "give its command"
    folder = str(found.directory.parent)
    outputs = f" {override('outputs', folder)}" if folder != "outputs" else ""
    retry = "" if found.state == State.UNLOGGED and found.has_checkpoint else " retry=true"
    return f"{HOW}: {words}{outputs}{retry}"


def _read_all(parts: list[list[Path]]) -> Iterable[tuple[Run | None, list[str]]]:
    if len(parts) <= FEW:
        return map(read_files, parts)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(read_files, parts, chunksize=4)
        return list(tqdm(results, "read", total=len(parts), unit="run", disable=None, leave=False))


def read_files(files: list[Path]) -> tuple[Run | None, list[str]]:
    """Read the run that was logged in these files.

    Returns:
        The run, None if no file holds one, and a line for each file that holds none.
    """
    parts = [_read_part(file) for file in files]
    lines = [
        f"{part.damage[0] if part.damage else f'{part.file} holds no run'}; left out"
        for part in parts
        if not part.run_id
    ]
    # Of a file with nothing but its header, nothing was ever written; of others something is lost.
    damage = [line for part in parts if part.run_id or not part.empty for line in part.damage]
    readable = sorted((part for part in parts if part.run_id), key=_order)
    if not readable:
        return None, lines
    last = readable[-1]
    ends = {None: (UNFINISHED, "its log has no end"), 0: (FINISHED, "")}
    state, reason = ends.get(last.exit_code, (FAILED, f"ended with exit code {last.exit_code}"))
    if damage:
        state, reason = DAMAGED, "; ".join(damage)
    run = make_run(
        last.run_id,
        # A later part may add to what the run is known to be, and nothing else.
        {key: value for part in readable for key, value in part.config.items()},
        [row for part in readable for row in part.rows],
        state,
        reason,
        started=datetime.fromtimestamp(readable[0].started // 10**9, UTC).isoformat(),
        resumed=len([part for part in readable if part.rows]) > 1,
        source=str(last.file.parents[2]),
    )
    return run, lines


def _order(part: _Part) -> tuple[int, int]:
    return part_order(part.config.get(ATTEMPT), part.started)


def _read_part(file: Path) -> _Part:
    try:
        log = file.read_bytes()
    except OSError as error:
        return _Part(file, damage=[f"{file} cannot be read: {error.strerror}"])
    part = _Part(file, empty=len(log) <= len(HEADER))
    for record in read_log(file, part.damage.append):
        match record.WhichOneof("record_type"):
            case "run":
                part.run_id, part.started = record.run.run_id, record.run.start_time.ToNanoseconds()
                _update(part.config, record.run.config.update)
            case "config":
                _update(part.config, record.config.update)
            case "history":
                row: dict[str, Any] = {}
                _update(row, record.history.item)
                part.rows.append({key: _with_path(value, file) for key, value in row.items()})
            case "exit":
                part.exit_code = record.exit.exit_code
    return part


def _update(config: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        *groups, key = key_levels(item)
        group = config
        for name in groups:
            group = group.setdefault(name, {})
        group[key] = json.loads(item.value_json)


def _with_path(value: Any, file: Path) -> Any:
    """Return what was logged; an image's path then leads to the image, which lies beside the log."""
    if isinstance(value, dict) and value.get("_type") == "image-file":
        return value | {"path": str(file.parent / "files" / value["path"])}
    return value
