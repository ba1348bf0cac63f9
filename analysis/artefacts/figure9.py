"""Fig. 9: the memory that training takes with each loss, by batch size."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, listed, over_seeds, where_run
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import in_each_setting, missing_runs
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 9: memory by batch size"
CAPTION = (
    "The most memory that training takes before its first evaluation: on a GPU that of tensors, on a CPU all that is "
    "resident of the process, with Python and the libraries. What a loss costs is its distance from the detector "
    "without a loss."
)
WITH_NONE = {"none": "no loss", **LOSS_TITLES}
BATCH_SIZES = (1, 2, 4, 8)


def build(runs: Runs) -> Artefact:
    """A panel in each setting that has a run of it."""
    return Artefact("figure9", TITLE, CAPTION, in_each_setting(runs, _section))


def peak_memory(run: Run) -> float:
    """The most memory in use before the first evaluation, in MiB; NaN if it was not logged."""
    memory, evaluations = run.series("peak_memory"), run.series("AP")
    before = memory[memory.index <= evaluations.index.min()] if len(evaluations) else memory
    return float(before.max()) if len(before) else float("nan")


def _section(setting: Setting) -> Section:
    at = {(loss, size): setting.select(loss=loss, batch_size=size) for loss in WITH_NONE for size in BATCH_SIZES}
    at = {key: [run for run in runs if peak_memory(run) == peak_memory(run)] for key, runs in at.items()}
    rows = [
        {"loss": loss, "batch_size": size, "seed": run.config["seed"], "memory": peak_memory(run) / 1024}
        for (loss, size), found in at.items()
        for run in found
    ]
    frame = pd.DataFrame(rows, columns=["loss", "batch_size", "seed", "memory"])
    data = over_seeds(frame, "loss", "batch_size", "memory")
    wanted = {f"{LOSS_TITLES[loss]} at {size}": found for (loss, size), found in at.items() if loss in LOSS_TITLES}
    missing = missing_runs(setting, "figure9", wanted)
    shown = [run for found in at.values() for run in found]
    panels = [Panel("memory", setting.data, partial(_draw, data), data, _alt(data))] if shown else []
    notes = [where_run(shown)] if shown else []
    return Section(setting.overrides, [], panels, missing, [run.run_id for run in shown], notes)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "loss", "batch_size", WITH_NONE)
    ax.set_ylim(bottom=0)
    ax.set_xticks(BATCH_SIZES)
    label(ax, "batch size", "memory (GiB)")


def _alt(data: pd.DataFrame) -> str:
    most = data[data.batch_size == data.batch_size.max()].set_index("loss")["mean"]
    words = [f"{WITH_NONE[loss]} {value:.2f} GiB" for loss, value in most.items()]
    return f"Memory against batch size, a line for each loss. At batch size {data.batch_size.max()}: {listed(words)}."
