"""Fig. 8: AP-loss over training with each way to optimise it (a), and its final value over imbalance (b)."""

from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Missing, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, epochs_of, line_of, listed, over_seeds, smoothed
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import missing_runs, run_ids_of, sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import METHOD_TITLES, Setting, ablation_values

TITLE = "Fig. 8: optimising AP-loss"
CAPTION = (
    "AP-loss 1 − AP of the training batches, with the box loss off. (a) Over training, on all anchors, averaged over "
    "fiftieths of the steps. (b) At the end, the mean of the last tenth of the steps, by the number of an RPN's "
    "proposals that are ranked in each image; dashed where training started from a snapshot trained with fewer "
    "proposals. Shaded: the 95% interval over seeds, by Student's t."
)
PARTS, LAST = 50, 0.1


def build(runs: Runs) -> Artefact:
    """Build two panels for each setting that has a run of it."""
    return Artefact("figure8", TITLE, CAPTION, sections_by_setting(runs, _section))


def final_ap_loss(run: Run) -> float:
    """Return the mean AP-loss of the last tenth of the steps; NaN if none was logged."""
    values = run.series("ap_loss")
    return float(values[values.index > (1 - LAST) * values.index.max()].mean()) if len(values) else float("nan")


def _section(setting: Setting) -> Section:
    groups = {method: setting.select(method=method, box_loss=False) for method in METHOD_TITLES}
    with_proposals = [run for run in setting.runs if ablation_values(run.config)["proposals"] is not None]
    panels = [panel for panel in (_training(groups), _imbalance(with_proposals)) if len(panel.data)]
    missing = missing_runs(setting, "figure8", {METHOD_TITLES[method]: runs for method, runs in groups.items()})
    if not with_proposals:
        missing.append(Missing("panel (b), with an RPN's proposals", None))
    return Section(setting.overrides, [], panels, missing, run_ids_of([*groups.values(), with_proposals]))


def _training(groups: dict[str, list[Run]]) -> Panel:
    rows = [
        {"method": method, "seed": run.config["seed"], "epoch": round(step / epochs_of(run), 3), "ap_loss": value}
        for method, runs in groups.items()
        for run in runs
        for step, value in smoothed(run.series("ap_loss"), PARTS).itertuples(index=False)
    ]
    frame = pd.DataFrame(rows, columns=["method", "seed", "epoch", "ap_loss"])
    data = over_seeds(frame, "method", "epoch", "ap_loss")
    ends = data.sort_values("epoch").groupby("method")["mean"].last() if len(data) else {}
    words = [f"{METHOD_TITLES[method]} {ends[method]:.2f}" for method in METHOD_TITLES if method in ends]
    alt = f"AP-loss against epoch, a line for each method. At the end: {listed(words)}."
    return Panel("training", "(a) over training", partial(_draw_training, data), data, alt)


def _draw_training(data: pd.DataFrame, ax: Axes) -> None:
    draw_over_seeds(ax, data, "method", "epoch", METHOD_TITLES, marker="")
    label(ax, "epoch", "AP-loss")
    ax.set_ylim(0, 1.02)
    ax.set_xlim(left=0)


def _imbalance(runs: list[Run]) -> Panel:
    rows = []
    for run in runs:
        values = ablation_values(run.config)
        rows.append(
            {
                "method": values["method"],
                "snapshot": values["snapshot"],
                "proposals": int(values["proposals"]),
                "seed": run.config["seed"],
                "ap_loss": final_ap_loss(run),
            }
        )
    frame = pd.DataFrame(rows, columns=["method", "snapshot", "proposals", "seed", "ap_loss"]).dropna()
    parts = [
        over_seeds(part, "method", "proposals", "ap_loss").assign(snapshot=snapshot)
        for snapshot, part in frame.groupby("snapshot")
    ]
    data = pd.concat(parts, ignore_index=True) if parts else over_seeds(frame, "method", "proposals", "ap_loss")
    words = [
        f"{METHOD_TITLES[row.method]} {row.mean:.2f} with {row.proposals} proposals"
        for row in data.sort_values("proposals").groupby("method").last().reset_index().itertuples()
    ]
    alt = f"Final AP-loss against the number of proposals, a line for each method. {listed(words)}."
    return Panel("imbalance", "(b) by the number of proposals", partial(_draw_imbalance, data), data, alt)


def _draw_imbalance(data: pd.DataFrame, ax: Axes) -> None:
    for name in [name for name in METHOD_TITLES if (data.method == name).any()]:
        points = data[data.method == name].sort_values("proposals")
        look = line_of(name)
        from_scratch = points[~points.snapshot.astype(bool)]
        ax.plot(from_scratch.proposals, from_scratch["mean"], label=METHOD_TITLES[name], **look | {"linestyle": "-"})
        interval = from_scratch.low, from_scratch.high
        ax.fill_between(from_scratch.proposals, *interval, color=look["color"], alpha=0.15, linewidth=0)
        # The dashed line starts at the most proposals without a snapshot.
        dashed = pd.concat([from_scratch.tail(1), points[points.snapshot.astype(bool)]])
        if len(dashed) > 1:
            ax.plot(dashed.proposals, dashed["mean"], **look | {"linestyle": (0, (3, 2))})
    ax.set_xscale("log", base=2)
    ticks = sorted(data.proposals.unique())
    ax.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45)
    ax.minorticks_off()
    label(ax, "proposals an image", "final AP-loss")
    ax.set_ylim(0, 1.02)
    ax.legend(fontsize=7, frameon=False)
