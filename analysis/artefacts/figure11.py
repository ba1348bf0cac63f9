"""Fig. 11: the time of each loss by batch size, over the last epoch."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, listed, over_seeds, where_run
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import in_each_setting, missing_runs
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 11: time by batch size"
CAPTION = "Milliseconds of each loss, forward and backward: the mean over the last epoch, by batch size."
BATCH_SIZES = (1, 2, 4, 8)


def build(runs: Runs) -> Artefact:
    """A panel in each setting that has a run of it."""
    return Artefact("figure11", TITLE, CAPTION, in_each_setting(runs, _section))


def last_epoch(run: Run, key: str) -> float:
    """The mean of a value over the steps of the last epoch; NaN if it was not logged."""
    epochs, values = run.series("epoch"), run.series(key)
    return float(values[values.index.isin(epochs.index[epochs == epochs.max()])].mean())


def _section(setting: Setting) -> Section:
    at = {(loss, size): setting.select(loss=loss, batch_size=size) for loss in LOSS_TITLES for size in BATCH_SIZES}
    at = {key: [run for run in runs if len(run.series("loss_seconds"))] for key, runs in at.items()}
    rows = [
        {"loss": loss, "batch_size": size, "seed": run.config["seed"], "time": 1000 * last_epoch(run, "loss_seconds")}
        for (loss, size), found in at.items()
        for run in found
    ]
    frame = pd.DataFrame(rows, columns=["loss", "batch_size", "seed", "time"])
    data = over_seeds(frame, "loss", "batch_size", "time")
    missing = missing_runs(setting, "figure11", {f"{LOSS_TITLES[loss]} at {size}": f for (loss, size), f in at.items()})
    shown = [run for found in at.values() for run in found]
    panels = [Panel("time", setting.data, partial(_draw, data), data, _alt(data))] if shown else []
    notes = [where_run(shown)] if shown else []
    return Section(setting.overrides, [], panels, missing, [run.run_id for run in shown], notes)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "loss", "batch_size", LOSS_TITLES)
    ax.set_ylim(bottom=0)
    ax.set_xticks(BATCH_SIZES)
    label(ax, "batch size", "milliseconds")


def _alt(data: pd.DataFrame) -> str:
    most = data[data.batch_size == data.batch_size.max()].set_index("loss")["mean"]
    words = [f"{LOSS_TITLES[loss]} {value:.1f} ms" for loss, value in most.items()]
    return f"Time against batch size, a line for each loss. At batch size {data.batch_size.max()}: {listed(words)}."
