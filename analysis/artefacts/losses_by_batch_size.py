"""What Figs. 9 and 11 share: a quantity of training with each loss, against batch size."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Panel, Section
from analysis.artefacts.curves import draw_over_seeds, legend_above, over_seeds
from analysis.artefacts.machines import on_one_machine, where_run
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import missing_runs, run_ids_of
from analysis.reading.runs import Run
from analysis.reading.settings import PAPER_LOSSES, Setting
from src.utils.text import listed

BATCH_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Quantity:
    """What a run's value is called and how it is written."""

    name: str  # of the panel and its data's column
    axis: str
    unit: str
    digits: int
    value: Callable[[Run], float]  # in this unit; NaN if the run has not logged it


def losses_by_batch_size(setting: Setting, sweep: str, quantity: Quantity, titles: Mapping[str, str]) -> Section:
    """Return the section with a line for each loss.

    Args:
        sweep: that makes the runs.
        titles: of the lines, by loss.
    """
    measured = {
        (loss, size): [run for run in setting.select(loss=loss, batch_size=size) if not math.isnan(quantity.value(run))]
        for loss in titles
        for size in BATCH_SIZES
    }
    on_best, others = on_one_machine(measured.values())
    groups = dict(zip(measured, on_best, strict=True))
    rows = [
        {"loss": loss, "batch_size": size, "seed": run.config["seed"], quantity.name: quantity.value(run)}
        for (loss, size), runs in groups.items()
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=["loss", "batch_size", "seed", quantity.name])
    data = over_seeds(frame, "loss", "batch_size", quantity.name)
    # Runs on another machine exist: the command skips them.
    existing = {
        f"{titles[loss]} at {size}": setting.select(loss=loss, batch_size=size)
        for loss, size in groups
        if loss in PAPER_LOSSES
    }
    missing = missing_runs(setting, sweep, existing)
    shown = [run for runs in groups.values() for run in runs]
    if not shown:
        return Section(setting.overrides, missing=missing)
    draw = partial(_draw, data, quantity.axis, titles)
    panel = Panel(quantity.name, setting.data_title, draw, data, _alt(data, quantity, titles))
    losses, sizes = map(set, zip(*(key for key, runs in groups.items() if runs), strict=True))
    compares = len(losses) > 1 and len(sizes) > 1
    return Section(setting.overrides, [], [panel], missing, run_ids_of([shown]), [where_run(shown, others)], compares)


def _draw(data: pd.DataFrame, axis: str, titles: Mapping[str, str], ax: Axes) -> None:
    draw_over_seeds(ax, data, "loss", "batch_size", titles)
    if (data["mean"] >= 0).all():  # a difference may be negative
        ax.set_ylim(bottom=0)
    legend_above(ax)
    ax.set_xticks(BATCH_SIZES)
    label(ax, "batch size", axis)


def _alt(data: pd.DataFrame, quantity: Quantity, titles: Mapping[str, str]) -> str:
    largest = data[data.batch_size == data.batch_size.max()]
    means = largest.set_index("loss")["mean"]
    words = [f"{titles[loss]} {value:.{quantity.digits}f} {quantity.unit}" for loss, value in means.items()]
    return (
        f"{quantity.name.capitalize()} against batch size, a line for each loss. "
        f"At batch size {data.batch_size.max()}: {listed(words)}."
    )
