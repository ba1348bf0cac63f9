"""Runs as they were logged with W&B, the same from local files and from a server."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.runs.wandb_log import join_rows

FINISHED, FAILED, UNFINISHED, DAMAGED = "finished", "failed", "unfinished", "damaged"
LEFT_OUT = "left_out"  # set in the place of a logged image's path where an archive has left it out
NO_IDENTITY = (
    "its log does not state what the run is, as an earlier version wrote it; give the run's command again, without "
    "slurm=: a finished run is not trained again, it only logs what it is"
)
FOREIGN = "it is not a run of this project"

_NO_ROWS = np.empty(0, np.intp)


@dataclass(frozen=True)
class Run:
    """One run, joined from all the parts in which it was logged."""

    run_id: str
    config: dict[str, Any]  # as logged, with dots between the levels: schedule.epochs
    values: pd.DataFrame  # all numbers logged: global_step, key and value, in the order of steps and in each of keys
    state: str  # finished, failed, unfinished or damaged
    reason: str = ""  # why it is not finished
    objects: dict[str, Any] = field(default_factory=dict)  # what was logged last under each key that holds no number
    started: str = ""  # date and time of the first part
    resumed: bool = False
    source: str = ""  # the folder of its log, or its address

    @property
    def finished(self) -> bool:
        """Whether it came to its end, and all of its log could be read."""
        return self.state == FINISHED

    @property
    def has_identity(self) -> bool:
        """Whether its log states what it is; that of another project's run or of an earlier version does not."""
        return "command.canonical" in self.config and any(key.startswith("identity.") for key in self.config)

    @cached_property
    def _row_numbers(self) -> dict[str, np.ndarray]:
        return dict(self.values.groupby("key", observed=True, sort=False).indices)

    @property
    def keys(self) -> list[str]:
        """The keys under which numbers were logged, in the order of their first."""
        return list(self._row_numbers)

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray]:  # pandas takes ten times as long to give some rows
        return self.values["global_step"].to_numpy(), self.values["value"].to_numpy()

    def series(self, key: str) -> pd.Series:
        """Return the values logged under this key, by global step; empty if there are none."""
        rows = self._row_numbers.get(key, _NO_ROWS)
        steps, values = self._columns
        return pd.Series(values[rows], index=pd.Index(steps[rows], name="global_step"), name=key)

    def last(self, key: str) -> float:
        """Return the last number logged under this key, NaN if there is none."""
        values = self._columns[1][self._row_numbers.get(key, _NO_ROWS)]
        values = values[~np.isnan(values)]
        return float(values[-1]) if len(values) else float("nan")

    def image(self, key: str) -> Path | None:
        """Return the file of the image that was logged last under this key; None if there is none."""
        logged = self.objects.get(key)
        path = logged.get("path") if isinstance(logged, dict) else None
        return Path(path) if path and Path(path).is_file() else None

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row a global step, a column for each key; NaN where nothing was logged."""
        wide = self.values.pivot(index="global_step", columns="key", values="value")
        return wide.reset_index().rename_axis(columns=None)


@dataclass(frozen=True)
class Runs:
    """The runs of a folder or a server, and what could not be read there."""

    all: list[Run]
    unreadable: list[str] = field(default_factory=list)  # a line each, which names the file
    unfinished_too: bool = False

    def counts(self, run: Run) -> bool:
        """Return whether a run may be part of tables and figures: it has finished, or all runs may."""
        return (run.finished or self.unfinished_too) and run.has_identity

    def joined(self, newer: "Runs") -> "Runs":
        """Return these runs and newer ones. Of a run that both have, the newer counts unless only the older can."""
        runs = {run.run_id: run for run in self.all}
        for run in newer.all:
            if newer.counts(run) or not (run.run_id in runs and self.counts(runs[run.run_id])):
                runs[run.run_id] = run
        by_id = sorted(runs.values(), key=lambda run: run.run_id)
        logged_since = [run.source for run in newer.counting if run.source]
        lines = [line for line in self.unreadable if not any(source in line for source in logged_since)]
        return Runs(by_id, list(dict.fromkeys([*lines, *newer.unreadable])), newer.unfinished_too)

    @property
    def counting(self) -> list[Run]:
        """The runs that tables and figures use."""
        return [run for run in self.all if self.counts(run)]

    @property
    def left_out(self) -> list[Run]:
        """The others, each with its reason."""
        return [run for run in self.all if not self.counts(run)]

    @property
    def table(self) -> pd.DataFrame:
        """The runs as one tidy table: a row each, with state, last metrics over all classes, and configuration."""
        rows = []
        for run in self.all:
            about = {name: getattr(run, name) for name in ("run_id", "state", "reason", "started", "resumed", "source")}
            keys = [key for key in sorted(run._row_numbers) if key.startswith(("AP", "AR", "VOC")) and "/" not in key]
            rows.append(about | {key: run.last(key) for key in keys} | run.config)
        return pd.DataFrame(rows)


def make_run(
    run_id: str, config: dict[str, Any], rows: list[dict[str, Any]], state: str, reason: str = "", **about: Any
) -> Run:
    """Make a run of its configuration, nested as it was logged, and its rows in the order of logging.

    Rows without a whole `global_step` are not this project's and are left out. What is no number is kept as an object.
    Reports are for others to see, so they name no one's home.
    """
    steps: list[int] = []
    keys: list[int] = []
    numbers: list[float] = []
    names: dict[str, int] = {}
    objects: dict[str, Any] = {}
    stepped = [(int(row["global_step"]), row) for row in rows if _is_step(row.get("global_step"))]
    for step, row in join_rows(stepped).items():
        for key, value in flatten(row).items():
            number = _number(value)
            if number is None:
                objects[key] = value
            elif key != "global_step" and not key.startswith("_"):
                steps.append(step)
                keys.append(names.setdefault(key, len(names)))
                numbers.append(number)
    order = np.lexsort((keys, steps))
    values = pd.DataFrame(
        {
            "global_step": np.array(steps, dtype=np.int64)[order],
            "key": pd.Categorical.from_codes(np.array(keys, dtype=np.int32)[order], list(names)),
            "value": np.array(numbers, dtype=np.float64)[order],
        }
    )
    run = Run(run_id, _without_home(flatten(config)), values, state, reason, objects, **about)
    if run.has_identity or (reason and not config):  # of one that was killed at its start nothing is known
        return run
    lack = NO_IDENTITY if _is_of_this_project(config) else FOREIGN
    return replace(run, reason="; ".join(filter(None, [reason, lack])))


def _is_of_this_project(config: dict[str, Any]) -> bool:
    return config.keys() >= {"recipe", "loss", "batch_size", "seed"} or config.keys() >= {"problem", "method"}


def _is_step(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 2**63 and value == int(value)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration with dots between its levels, without W&B's own part; media stay together."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and "_type" not in value and key != "_wandb":
            flat.update(flatten(value, f"{prefix}{key}."))
        elif key != "_wandb":
            flat[f"{prefix}{key}"] = value
    return flat


# How W&B's server and its tools write the numbers that JSON lacks.
_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf, "+Inf": np.inf, "-Inf": -np.inf, "Inf": np.inf}


def _without_home(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose folder of data is named without the home of whoever ran it: "~/.cache/x"."""
    roots = {key: config[key] for key in ("dataset.root", "data.root") if isinstance(config.get(key), str)}
    return config | {key: re.sub(r"^(/root|/home/[^/]+|/Users/[^/]+)(?=/)", "~", root) for key, root in roots.items()}


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    return _WORDS.get(value) if isinstance(value, str) else None
