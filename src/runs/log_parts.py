"""The W&B log of a run: the parts that its attempts wrote, their order, and whether the log is complete."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.runs.wandb_log import join_rows, key_levels, read_log

ATTEMPT = "attempt"  # the key under which a part's configuration has the number of its attempt
PATTERN = "wandb/*run-*/run-*.wandb"  # of the parts in a run's folder


def part_files(directory: Path) -> list[Path]:
    """Return the files of a run's log."""
    return sorted(directory.glob(PATTERN))


def part_order(attempt: Any, started: int) -> tuple[int, int]:
    """Return a key that sorts the parts of a log by attempt; those of earlier versions come first, by their clocks.

    Args:
        attempt: as the part's configuration has it; None without.
        started: nanoseconds since 1970, by the clock of the machine that wrote the part.
    """
    return attempt if isinstance(attempt, int) else 0, started


def note_parts(directory: Path) -> dict[str, int]:
    """Return the sizes of the files of a run's log, for its summary, so that losses are noticed without reading."""
    return {file.relative_to(directory).as_posix(): file.stat().st_size for file in part_files(directory)}


def missing_log(directory: Path, noted: dict[str, int] | None) -> str:
    """Return what a finished run's log lacks, in words; "" if nothing.

    Args:
        noted: what :func:`note_parts` returned when the run finished; None for a run that noted nothing.

    Raises:
        OSError: the log cannot be looked at.
    """
    if not noted:
        return "" if next(directory.glob(PATTERN), None) else "it has no log"
    for name, size in noted.items():
        try:
            if os.stat(directory / name).st_size < size:
                return f"{directory / name} was cut off"
        except FileNotFoundError:
            return f"{directory / name} is gone"
    return ""


@dataclass
class Part:
    """What one file of a log holds."""

    file: Path
    attempt: int | None = None
    started: int = 0
    rows: list[tuple[int, dict[str, None]]] = field(default_factory=list)  # global step, and the keys of its values
    damage: list[str] = field(default_factory=list)


def read_part(file: Path) -> Part:
    """Read the steps and keys of the rows in one file of a log."""
    part, texts = Part(file), dict[str, str]()  # one object for each key, as there may be millions of rows
    try:
        for record in read_log(file, part.damage.append):
            match record.WhichOneof("record_type"):
                case "run":
                    part.started = record.run.start_time.ToNanoseconds()
                    part.attempt = attempt_in(record.run.config.update, part.attempt)
                case "config":
                    part.attempt = attempt_in(record.config.update, part.attempt)
                case "history":
                    items = {"/".join(key_levels(item)): item.value_json for item in record.history.item}
                    if step := items.get("global_step"):
                        row = dict.fromkeys(texts.setdefault(key, key) for key in items)
                        part.rows.append((int(json.loads(step)), row))
    except OSError as error:
        part.damage.append(f"{file} cannot be read: {error.strerror}")
    return part


def attempt_in(items: Iterable[Any], before: int | None) -> int | None:
    """Return the number of the attempt among items of a logged configuration; `before` if it is not there."""
    for item in items:
        if key_levels(item) == (ATTEMPT,):
            return int(json.loads(item.value_json))
    return before


def read_parts(directory: Path) -> list[Part]:
    """Read all parts of a run's log, in the order of their attempts."""
    parts = [read_part(file) for file in part_files(directory)]
    return sorted(parts, key=lambda part: part_order(part.attempt, part.started))


def joined_rows(parts: list[Part]) -> dict[int, dict[str, None]]:
    """Return the keys of a log's rows by global step."""
    return join_rows(row for part in parts for row in part.rows)
