"""Means and intervals over seeds of curves over training, and of values over a quantity, as tidy data and drawn."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
import pandas as pd

from analysis.artefacts.statistics import estimate
from analysis.artefacts.style import COLOURS, SKY, Axes
from analysis.reading.runs import Run
from src.utils.text import counted

MARKERS = {"ap": "o", "focal": "s", "ohem": "^", "auc": "D", "none": "x"}
DASHES = {
    "focal": (0, (5, 1.5)),
    "ohem": (0, (1, 1)),
    "auc": (0, (4, 1, 1, 1)),
    "structured_hinge": (0, (4, 1, 1, 1)),
    "approximate_gradient": (0, (5, 1.5)),
    "none": (0, (2, 2)),
}


def line_of(name: str) -> dict[str, Any]:
    """Return the look of the line of a loss or a method: colour, and dash and marker for those who see no colours.

    All of a user's own look alike, but like none of the paper's.
    """
    look: dict[str, Any] = {
        "color": COLOURS.get(name, SKY),
        "linestyle": DASHES.get(name, "-" if name in COLOURS else (0, (8, 2))),
        "linewidth": 1.5,
    }
    return look | {"marker": MARKERS.get(name, ""), "markersize": 3.5}


def over_seeds(frame: pd.DataFrame, group: str, x: str, y: str) -> pd.DataFrame:
    """Return the mean over seeds at each x, with its 95% interval where there are several.

    Values that are not finite are left out, as tables leave them out: of a test split without objects the AP is NaN.

    Args:
        frame: a row for each value of a run, with columns `group`, `seed`, `x` and `y`.

    Returns:
        Columns `group`, `x`, mean, low, high and seeds; low and high are NaN for one seed.
    """
    rows = []
    finite = frame[np.isfinite(frame[y].astype(float))]
    for (name, position), values in finite.groupby([group, x], sort=False, observed=True)[y]:
        mean, half_width, count = astuple(estimate(values.tolist()))
        interval = {"low": mean - half_width, "high": mean + half_width}
        rows.append({group: name, x: position, "mean": mean, **interval, "seeds": count})
    return pd.DataFrame(rows, columns=[group, x, "mean", "low", "high", "seeds"])


def draw_over_seeds(ax: Axes, data: pd.DataFrame, group: str, x: str, titles: Mapping[str, str], **style: Any) -> None:
    """Draw a line through the means of each group, its interval shaded; the axis fits the means, not wide intervals."""
    for name in [name for name in titles if (data[group] == name).any()]:
        points = data[data[group] == name].sort_values(x)
        look = line_of(name) | style
        seeds = int(points["seeds"].max())
        label = f"{titles[name]} ({counted(seeds, 'seed')})"
        ax.plot(points[x], points["mean"], label=label, **look)
        ax.fill_between(points[x], points["low"], points["high"], color=look["color"], alpha=0.15, linewidth=0)
    if len(data):
        low, high = float(data["mean"].min()), float(data["mean"].max())
        room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - room, high + room)


def legend_above(ax: Axes) -> None:
    """Make room for the legend above the lines, as its own must not be taken for some of the data's."""
    low, high = ax.get_ylim()
    ax.set_ylim(top=high + 0.3 * (high - low))
    ax.legend(loc="upper left", ncols=2, handlelength=2, columnspacing=0.8, borderaxespad=0.2)


def steps_of_epoch(run: Run) -> float:
    """Return the number of steps of an epoch; of a run that ended within an epoch, of those before."""
    epochs = run.series("epoch")
    before_last = epochs.index[epochs < epochs.max()]
    return float(before_last.max() / epochs.max()) if len(before_last) else float(epochs.index.max())


def smoothed(values: pd.Series, parts: int, how: str = "mean") -> pd.DataFrame:
    """Average values by step over equal parts of the steps; the median ignores a few slow steps.

    Returns:
        Columns `step`, the middle of the part, and `value`.
    """
    steps = float(values.index.max()) if len(values) else 1.0
    part = ((values.index - 1) * parts / steps).astype(int).to_numpy()
    grouped = values.groupby(part).agg(how)
    return pd.DataFrame({"step": (grouped.index + 0.5) * steps / parts, "value": grouped.to_numpy()})
