"""Runs as their W&B logs tell them, the same from local files and from a server."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from src.runs.wandb_log import join_rows

FINISHED, FAILED, UNFINISHED, DAMAGED = "finished", "failed", "unfinished", "damaged"


@dataclass(frozen=True)
class Run:
    """One run, joined from all the parts in which it was logged."""

    run_id: str
    config: dict[str, Any]  # as logged, with dots between the levels: schedule.epochs
    values: pd.DataFrame  # every number logged: global_step, key and value, in the order of steps
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

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        return dict(self.values.groupby("key", observed=True, sort=False).indices)

    def series(self, key: str) -> pd.Series:
        """The values logged under this key, by global step; empty if there are none."""
        found = self.values.iloc[self._places.get(key, [])]
        return pd.Series(found["value"].to_numpy(), index=pd.Index(found["global_step"], name="global_step"), name=key)

    def last(self, key: str) -> float:
        """The last value logged under this key, NaN if there is none."""
        values = self.series(key).dropna()
        return float(values.iloc[-1]) if len(values) else float("nan")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row a global step, a column for each key; NaN where nothing was logged."""
        wide = self.values.pivot(index="global_step", columns="key", values="value")
        return wide.reset_index().rename_axis(columns=None)


@dataclass(frozen=True)
class Runs:
    """The runs of one place, and what could not be read there."""

    all: list[Run]
    unreadable: list[str] = field(default_factory=list)  # a line each, which names the file
    unfinished_too: bool = False

    @property
    def counting(self) -> list[Run]:
        """Those that tables and figures are made of: the finished ones, unless all were asked for."""
        return [run for run in self.all if run.finished or self.unfinished_too]

    @property
    def left_out(self) -> list[Run]:
        """The others, each with its reason."""
        return [] if self.unfinished_too else [run for run in self.all if not run.finished]

    @property
    def table(self) -> pd.DataFrame:
        """The runs as one tidy table: a row each, with state, last metrics over all classes, and configuration."""
        rows = []
        for run in self.all:
            about = {name: getattr(run, name) for name in ("run_id", "state", "reason", "started", "resumed", "source")}
            keys = [key for key in sorted(run._places) if key.startswith(("AP", "AR", "VOC")) and "/" not in key]
            rows.append(about | {key: run.last(key) for key in keys} | run.config)
        return pd.DataFrame(rows)

    @property
    def histories(self) -> pd.DataFrame:
        """The histories as one tidy table: columns run_id, global_step, key and value, a row for each number logged."""
        if not self.all:
            return pd.DataFrame(columns=["run_id", "global_step", "key", "value"])
        frames = [run.values.assign(key=run.values["key"].astype(str)) for run in self.all]
        names = np.repeat([run.run_id for run in self.all], [len(frame) for frame in frames])
        histories = pd.concat(frames, ignore_index=True)
        histories.insert(0, "run_id", pd.Categorical(names))
        return histories.astype({"key": "category"})


def make_run(
    run_id: str, config: dict[str, Any], rows: list[dict[str, Any]], state: str, reason: str = "", **about: Any
) -> Run:
    """A run from its configuration, nested as it was logged, and its rows in the order of logging.

    Rows without `global_step` are not this project's and are left out. What is no number is kept as an object.
    """
    steps, keys, numbers, objects, names = [], [], [], {}, {}
    stepped = [(int(row["global_step"]), row) for row in rows if _is_step(row.get("global_step"))]
    for step, row in join_rows(stepped).items():
        for key, value in flatten(row).items():
            number = _number(value)
            if number is None:
                objects[key] = value
            elif key != "global_step" and key[0] != "_":
                steps.append(step)
                keys.append(names.setdefault(key, len(names)))
                numbers.append(number)
    values = pd.DataFrame(
        {
            "global_step": np.array(steps, dtype=np.int64),
            "key": pd.Categorical.from_codes(np.array(keys, dtype=np.int32), list(names)),
            "value": np.array(numbers, dtype=np.float64),
        }
    )
    return Run(run_id, flatten(config), values, state, reason, objects, **about)


def _is_step(value: Any) -> bool:
    return isinstance(value, int | float) and value == int(value)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with dots between the levels, without W&B's own part; its media stay together."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict) and "_type" not in value and key != "_wandb":
            flat.update(flatten(value, f"{prefix}{key}."))
        elif key != "_wandb":
            flat[f"{prefix}{key}"] = value
    return flat


# How W&B's server and its tools write the numbers that JSON lacks.
_WORDS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf, "+Inf": np.inf, "-Inf": -np.inf, "Inf": np.inf}


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        return float(value)
    return _WORDS.get(value) if isinstance(value, str) else None
