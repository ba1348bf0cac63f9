"""Fig. 6: AP over training with each loss, of RetinaNet (a) and of SSD (b)."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Missing, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, epochs_of, listed, over_seeds
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table2 import NAMES
from analysis.artefacts.table_cells import in_each_setting, missing_runs
from analysis.reading.runs import Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 6: AP over training"
CAPTION = (
    "AP on the test split at the evaluations during training. Lines are means over seeds, shaded where there are "
    "several: their 95% interval by Student's t, which with two seeds is wide."
)


def build(runs: Runs) -> Artefact:
    """A panel in each setting that has a run of it; those of RetinaNet come first."""
    found = sorted(in_each_setting(runs, _section), key=lambda section: "model=ssd" in section.setting)
    if not any("model=ssd" in section.setting for section in found):
        found[-1].missing.append(Missing("panel (b), SSD", None))
    return Artefact("figure6", TITLE, CAPTION, found)


def _section(setting: Setting) -> Section:
    at = {loss: setting.select(loss=loss) for loss in LOSS_TITLES}
    rows = [
        {"loss": loss, "seed": run.config["seed"], "epoch": round(step / epochs_of(run), 3), "AP": ap}
        for loss, found in at.items()
        for run in found
        for step, ap in run.series("AP").items()
    ]
    data = over_seeds(pd.DataFrame(rows, columns=["loss", "seed", "epoch", "AP"]), "loss", "epoch", "AP")
    missing = missing_runs(setting, "figure6", {LOSS_TITLES[loss]: found for loss, found in at.items()})
    run_ids = [run.run_id for found in at.values() for run in found]
    name = f"({'b' if setting.detector == 'ssd' else 'a'}) {NAMES[setting.detector]}, {setting.data}"
    panels = [Panel("training", name, partial(_draw, data), data, _alt(data))] if len(data) else []
    return Section(setting.overrides, [], panels, missing, run_ids)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "loss", "epoch", LOSS_TITLES)
    label(ax, "epoch", "AP (%)")
    ax.set_xlim(left=0)


def _alt(data: pd.DataFrame) -> str:
    ends = data.sort_values("epoch").groupby("loss").last()["mean"]
    words = [f"{LOSS_TITLES[loss]} {ends[loss]:.1f}" for loss in LOSS_TITLES if loss in ends]
    return f"AP against epoch, a line for each loss. At the end: {listed(words)}."
