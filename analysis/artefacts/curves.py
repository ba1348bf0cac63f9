"""Curves over training, and values over a knob, of several seeds: their means and intervals as tidy data, and drawn."""

from collections.abc import Iterable

import pandas as pd

from analysis.artefacts.statistics import estimate
from analysis.artefacts.style import COLOURS, Axes
from analysis.reading.runs import Run

MARKERS = {"ap": "o", "focal": "s", "ohem": "^", "auc": "D", "none": "x"}
DASHES = {
    "focal": (0, (5, 1.5)),
    "ohem": (0, (1, 1)),
    "auc": (0, (4, 1, 1, 1)),
    "structured_hinge": (0, (4, 1, 1, 1)),
    "approximate_gradient": (0, (5, 1.5)),
    "none": (0, (2, 2)),
}


def line_of(name: str) -> dict:
    """The look of the line of a loss or a method: its colour, and a dash and a marker to tell it by without colours."""
    look = {"color": COLOURS.get(name, COLOURS["ap"]), "linestyle": DASHES.get(name, "-"), "linewidth": 1.5}
    return look | {"marker": MARKERS.get(name, ""), "markersize": 3.5}


def over_seeds(frame: pd.DataFrame, group: str, x: str, y: str) -> pd.DataFrame:
    """The mean over seeds at each x, with its 95% interval where there are several.

    Args:
        frame: a row for each value of a run, with columns `group`, `seed`, `x` and `y`.

    Returns:
        Columns `group`, `x`, mean, low, high and seeds; low and high are NaN for one seed.
    """
    rows = []
    for (name, place), values in frame.groupby([group, x], sort=False, observed=True)[y]:
        found = estimate(values.tolist())
        low, high = found.mean - found.half_width, found.mean + found.half_width
        rows.append({group: name, x: place, "mean": found.mean, "low": low, "high": high, "seeds": found.count})
    return pd.DataFrame(rows, columns=[group, x, "mean", "low", "high", "seeds"])


def draw_over_seeds(ax: Axes, data: pd.DataFrame, group: str, x: str, titles: dict[str, str], **style) -> None:
    """A line for each group through its means, its interval shaded; the axis suits the means, not wide intervals."""
    for name in [name for name in titles if (data[group] == name).any()]:
        mine = data[data[group] == name].sort_values(x)
        look = line_of(name) | style
        seeds = int(mine["seeds"].max())
        label = f"{titles[name]} (1 seed)" if seeds == 1 else f"{titles[name]} ({seeds} seeds)"
        ax.plot(mine[x], mine["mean"], label=label, **look)
        ax.fill_between(mine[x], mine["low"], mine["high"], color=look["color"], alpha=0.15, linewidth=0)
    if len(data):
        low, high = float(data["mean"].min()), float(data["mean"].max())
        room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_ylim(low - room, high + room)
    ax.legend(fontsize=7, frameon=False)


def epochs_of(run: Run) -> float:
    """The steps of an epoch."""
    epochs = run.series("epoch")
    return float(epochs.index.max() / (epochs.max() + 1)) if len(epochs) else float("nan")


def smoothed(values: pd.Series, parts: int, how: str = "mean") -> pd.DataFrame:
    """Values by step as means, or medians, which a few slow steps do not move, over equal parts of the steps.

    Returns:
        Columns `step`, the middle of the part, and `value`.
    """
    steps = float(values.index.max()) if len(values) else 1.0
    part = ((values.index - 1) * parts / steps).astype(int).to_numpy()
    grouped = values.groupby(part).agg(how)
    return pd.DataFrame({"step": (grouped.index + 0.5) * steps / parts, "value": grouped.to_numpy()})


def listed(words: Iterable[str]) -> str:
    """Words in a sentence."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def where_run(runs: Iterable[Run]) -> str:
    """On which devices, with how many threads, runs took their time."""
    places = dict.fromkeys(
        f"{run.config.get('environment.device', 'an unknown device')} ({run.config.get('environment.threads')} threads)"
        for run in runs
    )
    return f"Measured on {listed(places)}."
