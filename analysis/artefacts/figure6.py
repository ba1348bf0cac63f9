"""Fig. 6: AP over training with each loss, of RetinaNet (a) and of SSD (b)."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, legend_above, over_seeds, steps_of_epoch
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import compares, missing_losses, run_ids_of, sections_by_setting
from analysis.reading.runs import Runs
from analysis.reading.settings import LOSS_TITLES, Setting
from src.utils.text import listed

TITLE = "Fig. 6: AP over training"
PARTS = {"retinanet": "(a)", "ssd": "(b)"}
CAPTION = (
    "AP on the test split at the evaluations during training. Lines are means over seeds. Where there are several, "
    "their 95% interval by Student's t is shaded; with two seeds it is wide."
)


def build(runs: Runs) -> Artefact:
    """Build a panel for each setting that has a run of it; those of SSD come last."""
    others = sections_by_setting(runs, _section, "ssd".__ne__)
    ssd = sections_by_setting(runs, _section, "ssd".__eq__, words=("recipe=mini", "model=ssd"))
    return Artefact("figure6", TITLE, CAPTION, [*others, *ssd])


def _section(setting: Setting) -> Section:
    groups = setting.by_loss()
    rows = [
        {"loss": loss, "seed": run.config["seed"], "epoch": round(step / steps_of_epoch(run), 3), "AP": ap}
        for loss, runs in groups.items()
        for run in runs
        for step, ap in run.series("AP").items()
    ]
    data = over_seeds(pd.DataFrame(rows, columns=["loss", "seed", "epoch", "AP"]), "loss", "epoch", "AP")
    missing = missing_losses(setting, "figure6", groups)
    name = f"{PARTS.get(setting.detector, '')} {setting.detector_title}, {setting.data_title}".strip()
    panels = [Panel("training", name, partial(_draw, data), data, _alt(data))] if len(data) else []
    run_ids = run_ids_of(groups.values())
    has_lines = compares(groups.values()) and data["epoch"].nunique() > 1
    return Section(setting.overrides, [], panels, missing, run_ids, compares=has_lines)


def _draw(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "loss", "epoch", LOSS_TITLES)
    legend_above(ax)
    label(ax, "epoch", "AP (%)")
    ax.set_xlim(left=0)


def _alt(data: pd.DataFrame) -> str:
    ends = data.sort_values("epoch").groupby("loss").last()["mean"]
    words = [f"{LOSS_TITLES[loss]} {ends[loss]:.1f}" for loss in LOSS_TITLES if loss in ends]
    return f"AP against epoch, a line for each loss. At the end: {listed(words)}."
