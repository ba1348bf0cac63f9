"""Uploads runs that were logged offline to W&B, from a machine that reaches it: `python -m src.sync`.

What `wandb sync` (0.31) makes of the segments of a resumed run, all in one call: rows that two segments have arrive
twice, all after a segment without its last bytes is left out, nothing arrives if one segment is empty, the exit code is
0 even so, and a second call appends everything once more. What is logged anew by `wandb.init` and `log` keeps
`_timestamp`, but not `_runtime`, system metrics, or where it ran. So the segments are joined here into the log of a
run without interruption, with `global_step` as `_step`, and `wandb sync` uploads that in place of what there is.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from tqdm import tqdm
from wandb.proto.wandb_internal_pb2 import HistoryItem, Record, SummaryItem

from src.runs.wandb_log import join_rows, read_log, write_log
from src.utils.errors import UserError
from src.utils.files import read_json, write_json

SECONDS_TO_ANSWER = 10  # of each try
RETRIES = 2
SECONDS_BETWEEN = 2
MARKER = "uploaded.json"

STEP, RUNTIME = ("global_step",), ("_runtime",)

Row = dict[tuple[str, ...], str]  # JSON by key


@dataclass
class _Segment:
    """What one W&B file holds of a run, but for what the joined rows tell."""

    header: list[Record] = field(default_factory=list)
    run: list[Record] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)


def sync(outputs: Path, only: list[str], project: str | None, entity: str | None, unfinished: bool) -> bool:
    """Uploads the runs in a folder of outputs that have changed since they were uploaded, with a line about each.

    Args:
        only: ids of the runs to upload; all if empty.
        project, entity: where to; None for what was logged, and there for that of the API key's owner.
        unfinished: whether to upload also runs without a summary.

    Returns:
        Whether all of them have arrived.

    Raises:
        UserError: there is no such run, no API key, or no server that takes it.
    """
    found = {file.parents[2].name: file.parents[2] for file in sorted(outputs.glob("*/wandb/offline-run-*/*.wandb"))}
    if missing := [run_id for run_id in only if run_id not in found]:
        raise UserError(f"no run {', '.join(missing)} logged offline in {outputs}")
    if not found:
        raise UserError(f"no run logged offline in {outputs}")
    api = connect()
    arrived = True
    for folder in (bar := tqdm([found[run_id] for run_id in only or found], "upload", unit="run", disable=None)):
        try:
            if unfinished or (folder / "summary.json").exists():
                outcome = _sync_run(folder, project, entity, api)
            else:
                outcome = "not finished; --all uploads what there is"
        except (UserError, OSError) as error:
            outcome, arrived = f"error: {error}", False
        bar.write(f"{folder.name}: {outcome}")
    return arrived


def connect() -> wandb.Api:
    """W&B's client for the server and the key of this machine's settings.

    Raises:
        UserError: there is no key, or no server that takes it and answers, even if asked again.
    """
    # By default, W&B's service retries for minutes. It must be the first to give up: a process that has given up a
    # request waits for the service as it exits, at times for ever (0.31).
    wandb.setup(
        wandb.Settings(
            x_graphql_timeout_seconds=SECONDS_TO_ANSWER,
            x_graphql_retry_max=RETRIES,
            x_graphql_retry_wait_min_seconds=SECONDS_BETWEEN,
            x_graphql_retry_wait_max_seconds=SECONDS_BETWEEN,
        )
    )
    try:
        return wandb.Api(timeout=2 * (RETRIES + 1) * (SECONDS_TO_ANSWER + SECONDS_BETWEEN))
    except wandb.errors.UsageError as error:
        raise UserError(f"{error} A key is at https://wandb.ai/authorize; WANDB_API_KEY takes it, too") from None
    except wandb.Error as error:
        raise UserError(
            "W&B cannot be reached, or does not take this key: run this where it can be, on a cluster's login node "
            f"perhaps, or after `wandb login --relogin`. {error}"
        ) from None


def _sync_run(folder: Path, project: str | None, entity: str | None, api: wandb.Api) -> str:
    """Uploads a run unless that has been done, and returns what is to be said of it."""
    files = sorted(folder.glob("wandb/*run-*/run-*.wandb"))
    state = {
        "server": api.settings["base_url"],
        "finished": (folder / "summary.json").exists(),
        "segments": {file.parent.name: file.stat().st_size for file in files},
    }
    before = read_json(folder / MARKER)
    if before is not None:
        asked = {"project": project or before["project"], "entity": entity or before["entity"]}
        if before == {**state, **asked}:
            return f"unchanged since it was uploaded to {before['entity']}/{before['project']}"

    segments = [segment for segment in map(_read_segment, files) if segment.run]
    if not segments:
        raise UserError(f"no log of it can be read: {', '.join(map(str, files))}")
    logged = segments[-1].run[-1].run
    state |= {"project": project or logged.project, "entity": entity or logged.entity or api.default_entity}
    joined = _join(segments, exit_code=0 if state["finished"] else 1)
    where = _upload(folder.name, joined, [file.parent / "files" for file in files], state["project"], state["entity"])
    write_json(folder / MARKER, state)
    return f"uploaded to {where}"


def _read_segment(file: Path) -> _Segment:
    def refuse(damage: str) -> None:
        raise UserError(f"{damage}; move its folder away to upload the run without it")

    segment = _Segment()
    for record in read_log(file, refuse):
        match record.WhichOneof("record_type"):
            case "history":
                row = {tuple(item.nested_key) or (item.key,): item.value_json for item in record.history.item}
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


def _join(segments: list[_Segment], exit_code: int) -> Iterator[Record]:
    """The log of one run without interruption, made of those of its segments."""
    segments = sorted(segments, key=lambda segment: segment.run[0].run.start_time.ToNanoseconds())
    run = segments[-1].run[-1]
    run.run.start_time.CopyFrom(segments[0].run[0].run.start_time)
    run.run.ClearField("resume")  # or the server's rows would stay, and these come after them

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


def _join_rows(parts: list[list[Row]]) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for part in parts:
        later = [(int(json.loads(row[STEP])), row) for row in part]
        kept = [row for step, row in rows.items() if step <= later[0][0]] if later else []
        earlier = max((json.loads(row.get(RUNTIME, "0")) for row in kept), default=0)
        for _, row in later:
            row[RUNTIME] = json.dumps(earlier + json.loads(row.get(RUNTIME, "0")))
        rows = join_rows([*rows.items(), *later])
    return rows


def _items(kind: type, row: Row) -> list[Any]:
    return [kind(nested_key=key, value_json=value) for key, value in row.items()]


def _upload(run_id: str, records: Iterable[Record], files: list[Path], project: str, entity: str) -> str:
    """Has `wandb sync` upload a log with the folders of files of its segments, and returns the run's address.

    Raises:
        UserError: with what `wandb sync` says, or notes in its log, of what has not arrived.
    """
    with tempfile.TemporaryDirectory() as temporary:
        log = Path(temporary, f"offline-run-{run_id}", f"run-{run_id}.wandb")
        log.parent.mkdir()
        write_log(log, records)
        for folder in filter(Path.is_dir, files):
            shutil.copytree(folder, log.parent / "files", ignore_dangling_symlinks=True, dirs_exist_ok=True)
        # Meant for runs as they are logged, these would make it another upload, or hide its errors.
        unset = {f"WANDB_{name}" for name in ("MODE", "RESUME", "RUN_ID", "SILENT", "QUIET")}
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        environment.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "4")  # half a minute; by default it is many
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", "--project", project, "--entity", entity, str(log)],
            env=environment | {"WANDB_DIR": temporary},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        errors = re.findall(r"(?:ERROR|^Error:) (.*)", said, re.MULTILINE)
        notes = [json.loads(line) for file in Path(temporary).rglob("debug-sync*.log") for line in file.open()]
        kinds = ("filestream", "runfiles", "file transfer")
        errors += [note["msg"] for note in notes if "ERROR" in note["level"] and note["msg"].startswith(kinds)]
        if errors or done.returncode or not log.with_name(f"{log.name}.synced").exists():
            raise UserError(f"not all has arrived: {'; '.join(dict.fromkeys(errors)) or said.strip()}")
        address = re.search(r"https?://\S+/runs/\S+", said)
    return address[0] if address else f"{entity}/{project}/{run_id}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.sync", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids of the runs to upload (default: all)")
    parser.add_argument("--outputs", type=Path, default="outputs", help="where the runs are (default: %(default)s)")
    parser.add_argument("--project", help="default: as logged")
    parser.add_argument("--entity", help="user or team (default: as logged, or the API key's owner)")
    parser.add_argument("--all", action="store_true", help="also runs that have not finished, as failed ones")
    arguments = parser.parse_args()
    try:
        arrived = sync(arguments.outputs, arguments.runs, arguments.project, arguments.entity, arguments.all)
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on") from None
    sys.exit(0 if arrived else 1)


if __name__ == "__main__":
    main()
