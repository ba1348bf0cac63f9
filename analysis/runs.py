"""Runs as their W&B logs tell them: configuration, history, and whether they came to an end."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run, joined from all the parts in which it was logged."""

    run_id: str
    config: dict[str, Any]  # as logged, with dots between the levels: schedule.epochs
    history: pd.DataFrame  # one row a global_step, in their order
    finished: bool

    def last(self, key: str) -> float:
        """The last value logged under this key, NaN if there is none."""
        values = self.history[key].dropna() if key in self.history else []
        return float(values.iloc[-1]) if len(values) else float("nan")


@dataclass
class _Part:
    """What one W&B file holds of a run."""

    started: str = ""
    run_id: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def read_runs(outputs: Path) -> list[Run]:
    """All runs that have a local W&B file under a folder of outputs, in the order of their ids.

    A file without a readable beginning is named in a warning and left out.
    """
    parts: dict[str, list[_Part]] = {}
    files = sorted(outputs.glob("*/wandb/*run-*/run-*.wandb"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each file is read by a process of its own
        read = list(pool.map(_read_part, files))
    for file, part in zip(files, read, strict=True):
        if part.run_id:
            parts.setdefault(part.run_id, []).append(part)
        else:
            logger.warning("%s holds no run that can be read; left out", file)
    return [_join(run_id, found) for run_id, found in sorted(parts.items())]


def _join(run_id: str, parts: list[_Part]) -> Run:
    # A run that was killed and resumed has logged some steps twice; the later part is the one that went on.
    parts = sorted(parts, key=lambda part: part.started)
    rows: dict[int, dict] = {}
    for part in parts:
        begun = min((row["global_step"] for row in part.rows), default=None)
        if begun is not None:
            rows = {step: row for step, row in rows.items() if step <= begun}
        for row in part.rows:
            rows.setdefault(row["global_step"], {}).update(row)
    history = pd.DataFrame([rows[step] for step in sorted(rows)])
    return Run(run_id, parts[-1].config, history, parts[-1].exit_code == 0)


def _read_part(file: Path) -> _Part:
    part = _Part()
    for record in _records(file):
        kind = record.get("type")
        content = record.get(kind, {})
        if kind == "run":
            part.run_id = content["run_id"]
            part.started = content.get("start_time", "")
            part.config = _flatten(content.get("config", {}).get("update", {}))
        elif kind == "history" and "global_step" in content["item"]:
            part.rows.append({key: _number(value) for key, value in content["item"].items() if not key.startswith("_")})
        elif kind == "exit":
            part.exit_code = content.get("exit_code", 0)
    return part


def _records(file: Path) -> Iterator[dict[str, Any]]:
    """The file's records up to the first that is damaged, as W&B's own reader gives them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            break
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        logger.warning("%s could not be read to its end: %s", file, reason[0])


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _number(value: Any) -> Any:
    # W&B's reader writes the numbers that JSON lacks as strings.
    return float(value) if value in ("NaN", "Infinity", "-Infinity", "+Inf", "-Inf", "Inf") else value
