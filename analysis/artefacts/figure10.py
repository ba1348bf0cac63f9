"""Fig. 10: the time of AP-loss and of the whole iteration over training."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, over_seeds, smoothed
from analysis.artefacts.machines import on_one_machine, where_run
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import missing_runs, run_ids_of, sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import Setting

TITLE = "Fig. 10: time over training"
CAPTION = (
    "Seconds of AP-loss, forward and backward, and of the whole iteration at batch size 8: medians over each "
    "hundredth of the steps. A run with schedule.steps has only the first steps of a training."
)
TIMES = {"loss_seconds": "AP-loss", "iteration_seconds": "iteration"}
PARTS = 100


def build(runs: Runs) -> Artefact:
    """Build two panels, as the times differ in size, for each setting that has a run of it."""
    return Artefact("figure10", TITLE, CAPTION, sections_by_setting(runs, _section, whole_trainings=False))


def _section(setting: Setting) -> Section:
    measured = [run for run in setting.select() if all(run.series(key).notna().any() for key in TIMES)]
    (runs,), others = on_one_machine([measured])
    missing = missing_runs(setting, "figure10", {"AP-loss": runs})
    panels = [_panel(key, runs) for key in TIMES] if runs else []
    notes = [where_run(runs, others)] if runs else []
    return Section(setting.overrides, [], panels, missing, run_ids_of([runs]), notes)


def _panel(key: str, runs: list[Run]) -> Panel:
    rows = [
        {"time": key, "seed": run.config["seed"], "step": step, "seconds": value}
        for run in runs
        for step, value in smoothed(run.series(key), PARTS, "median").itertuples(index=False)
    ]
    data = over_seeds(pd.DataFrame(rows, columns=["time", "seed", "step", "seconds"]), "time", "step", "seconds")
    first, last = data["mean"].iloc[0], data["mean"].iloc[-1]
    alt = f"Seconds of the {TIMES[key]} against step: {first:.3g} at the beginning, {last:.3g} at the end."
    return Panel(key, TIMES[key], partial(_draw, data), data, alt)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "time", "step", TIMES, marker="")
    ax.legend()
    ax.set_ylim(bottom=0)
    ax.set_xlim(left=0)
    label(ax, "step", "seconds")
