"""Upload a run that was logged offline to W&B.

`wandb sync` (0.31) alone does not handle the segments of a resumed run, even all in one call: rows that two segments
contain arrive twice, everything after a segment without its last bytes is lost, nothing arrives if one segment is
empty, the exit code is 0 even so, and a second call appends everything again. Logging again with `wandb.init` and
`log` keeps `_timestamp`, but not `_runtime`, system metrics, or the host. So the segments are joined
here into the log of an uninterrupted run, with `global_step` as `_step`, and `wandb sync` uploads that in place of what
the server has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import HistoryItem, Record, SummaryItem

from src.runs.log_parts import attempt_in, part_files, part_order
from src.runs.state import read_run
from src.runs.wandb_log import join_rows, key_levels, read_log, write_log
from src.runs.wandb_variables import OVERRULED
from src.utils.errors import UserError
from src.utils.files import DamagedFile, read_json, write_json

MARKER = "uploaded.json"

STEP, RUNTIME = ("global_step",), ("_runtime",)

Row = dict[tuple[str, ...], str]  # JSON by key


@dataclass
class _Segment:
    """The records of one W&B file, except those that are computed anew from the joined rows."""

    header: list[Record] = field(default_factory=list)
    run: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)


def find_offline_runs(outputs: Path) -> dict[str, Path]:
    """Return the folders of all runs in a folder of outputs that were logged offline, by run id."""
    return {file.parents[2].name: file.parents[2] for file in sorted(outputs.glob("*/wandb/offline-run-*/*.wandb"))}


def upload_run(folder: Path, project: str | None, entity: str | None, api: wandb.Api) -> str:
    """Upload a run unless it is unchanged since it was uploaded, and return what was done in a few words.

    Args:
        folder: the run's folder.
        project, entity: where to; None for the logged ones. Without a logged entity, it is the API key's owner.

    Raises:
        UserError: a log cannot be read, or not everything has arrived.
    """
    files = part_files(folder)
    state: dict[str, Any] = {
        "server": api.settings["base_url"],
        "finished": read_run(folder).summary is not None,
        "segments": {file.parent.name: file.stat().st_size for file in files},
    }
    before = _read_marker(folder / MARKER)
    if before is not None:
        target = {"project": project or before["project"], "entity": entity or before["entity"]}
        if before == {**state, **target}:
            return f"unchanged since it was uploaded to {before['entity']}/{before['project']}"

    segments = [segment for segment in map(_read_segment, files) if segment.run]
    if not segments:
        raise UserError(f"no log of it can be read: {', '.join(map(str, files))}")
    logged = segments[-1].run[-1].run
    state |= {"project": project or logged.project, "entity": entity or logged.entity or api.default_entity}
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary, f"offline-run-{folder.name}", f"run-{folder.name}.wandb")
        log.parent.mkdir()
        write_log(log, _join_segments(segments, exit_code=0 if state["finished"] else 1))
        for media in (file.parent / "files" for file in files):
            if media.is_dir():
                shutil.copytree(media, log.parent / "files", ignore_dangling_symlinks=True, dirs_exist_ok=True)
        address = _wandb_sync(log, state["project"], state["entity"])
    write_json(folder / MARKER, state)
    return f"uploaded to {address or '/'.join([state['entity'], state['project'], folder.name])}"


def _read_marker(file: Path) -> dict[str, Any] | None:
    """Return what the last upload has noted; None if there was none, or its note is damaged."""
    try:
        content = read_json(file)
    except DamagedFile:
        return None
    return content if isinstance(content, dict) and content.keys() >= {"project", "entity"} else None


def _read_segment(file: Path) -> _Segment:
    """Return the records of a W&B file; raise a UserError if it is damaged."""

    def refuse(damage: str) -> None:
        raise UserError(f"{damage}; move its folder away to upload the run without it")

    segment = _Segment()
    for record in read_log(file, refuse):
        match record.WhichOneof("record_type"):
            case "history":
                row = {key_levels(item): item.value_json for item in record.history.item}
                if STEP in row:
                    segment.rows.append(row)
            case "header":
                segment.header.append(record)
            case "run":
                segment.run.append(record)
            case "summary" | "exit" | "final" | "footer" | "request":
                pass
            case _:
                segment.others.append(record)
    return segment


def _join_segments(segments: list[_Segment], exit_code: int) -> Iterator[Record]:
    """Yield the records of one uninterrupted run, made of those of its segments."""
    segments = sorted(segments, key=_order)
    run = segments[-1].run[-1]
    run.run.start_time.CopyFrom(segments[0].run[0].run.start_time)
    run.run.ClearField("resume")  # or the server would keep its rows and append these

    yield from segments[-1].header
    yield run
    for segment in segments:
        yield from segment.others
    summary: Row = {}
    for step, row in _join_rows([segment.rows for segment in segments]).items():
        record = Record()
        record.history.step.num = step
        record.history.item.extend(_items(HistoryItem, {**row, ("_step",): json.dumps(step)}))
        yield record
        summary |= row
    record = Record()
    seconds = int(json.loads(summary.get(RUNTIME, "0")))
    record.summary.update.extend(_items(SummaryItem, {**summary, ("_wandb", "runtime"): json.dumps(seconds)}))
    yield record
    yield Record(exit={"exit_code": exit_code, "runtime": seconds})


def _order(segment: _Segment) -> tuple[int, int]:
    attempt = None
    for record in [*segment.run, *segment.others]:
        if record.HasField("run") or record.HasField("config"):
            attempt = attempt_in((record.run if record.HasField("run") else record).config.update, attempt)
    return part_order(attempt, segment.run[0].run.start_time.ToNanoseconds())


def _join_rows(segments: list[list[Row]]) -> dict[int, Row]:
    """Return the rows by step, with the runtime of a later segment added to that of the earlier ones."""
    joined: dict[int, Row] = {}
    for segment in segments:
        rows = [(int(json.loads(row[STEP])), row) for row in segment]
        kept = [row for step, row in joined.items() if step <= rows[0][0]] if rows else []
        earlier = max((json.loads(row.get(RUNTIME, "0")) for row in kept), default=0)
        for _, row in rows:
            row[RUNTIME] = json.dumps(earlier + json.loads(row.get(RUNTIME, "0")))
        joined = join_rows([*joined.items(), *rows])
    return joined


def _items(kind: type, row: Row) -> list[Any]:
    return [kind(nested_key=key, value_json=value) for key, value in row.items()]


def _wandb_sync(log: Path, project: str, entity: str) -> str | None:
    """Upload a log with the files beside it by `wandb sync`, and return the address that it prints.

    Raises:
        UserError: with the errors that `wandb sync` prints, or notes in its own log, if not everything has arrived.
    """
    # Meant for runs as they are logged, these would make it another upload, or hide its errors.
    unset = {*OVERRULED, "WANDB_SILENT", "WANDB_QUIET"}
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    for kind in ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER"):
        environment.setdefault(f"WANDB_X_{kind}_RETRY_MAX", "5")  # a minute; by default it is many, without a word
    temporary = log.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--project", project, "--entity", entity, str(log)],
        env=environment | {"WANDB_DIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    output = done.stdout + done.stderr
    errors = re.findall(r"(?:ERROR|^Error:) (.*)", output, re.MULTILINE) + _errors_noted(temporary)
    if errors or done.returncode or not log.with_name(f"{log.name}.synced").exists():
        lines = dict.fromkeys(" ".join(error.split()) for error in errors or [output])
        raise UserError(f"not all has arrived: {'; '.join(lines)}")
    address = re.search(r"https?://\S+/runs/\S+", output)
    return address[0] if address else None


def _errors_noted(folder: Path) -> list[str]:
    """Return the errors of uploading in the logs of `wandb sync`, which it does not print."""
    notes = [json.loads(line) for file in folder.rglob("debug-sync*.log") for line in file.open()]
    kinds = ("filestream", "runfiles", "file transfer", "PUT ")  # the last of a file that was tried several times
    return [note["msg"] for note in notes if "ERROR" in note["level"] and note["msg"].startswith(kinds)]
