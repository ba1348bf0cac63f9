"""Fig. 8: AP-loss over training with each way to optimise it (a), and its final value over imbalance (b)."""

from collections import Counter
from functools import partial

import pandas as pd

from analysis.artefacts.artefact import Artefact, Missing, Panel, Section
from analysis.artefacts.curves import draw_over_seeds, line_of, over_seeds, smoothed, steps_of_epoch
from analysis.artefacts.style import Axes, label
from analysis.artefacts.table_cells import missing_runs, run_ids_of, sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import METHOD_TITLES, PAPER_METHODS, STANDARD, Setting, ablation_values
from src.utils.text import counted, listed

TITLE = "Fig. 8: optimising AP-loss"
CAPTION = (
    "AP-loss 1 − AP of the training batches, with the box loss off. (a) Over training, on all anchors, averaged over "
    "fiftieths of the steps. (b) At the end, the mean of the last tenth of the steps, by the number of an RPN's "
    "proposals that are ranked in each image beside all positive anchors, on an axis of their share of all anchors. A "
    "training has converged if it ends at 0.9 or less of the AP-loss with which those without a snapshot begin. A "
    "cross marks one that has not; a dashed line leads to one that does from a snapshot, trained with fewer proposals. "
    "Shaded: the 95% interval over seeds, by Student's t."
)
PARTS, LAST, FIRST = 50, 0.1, 0.02
CONVERGED = 0.9


def build(runs: Runs) -> Artefact:
    """Build two panels for each setting that has a run of it."""
    return Artefact("figure8", TITLE, CAPTION, sections_by_setting(runs, _section))


def final_ap_loss(run: Run) -> float:
    """Return the mean AP-loss of the last tenth of the steps; NaN if none was logged."""
    values = run.series("ap_loss")
    return float(values[values.index > (1 - LAST) * values.index.max()].mean()) if len(values) else float("nan")


def first_ap_loss(run: Run) -> float:
    """Return the mean AP-loss of the first fiftieth of the steps; NaN if none was logged."""
    values = run.series("ap_loss")
    start = values[values.index <= FIRST * values.index.max()] if len(values) else values
    return float((start if len(start) else values.head(1)).mean()) if len(values) else float("nan")


def share_of_anchors(run: Run) -> float:
    """Return which share of an image's anchors a run's proposals are."""
    proposals = ablation_values(run.config)["proposals"]
    return 1.0 if proposals is None else min(1.0, proposals / run.config["anchors"])


def on_proposals(setting: Setting) -> list[Run]:
    """Return the runs of AP-loss without the loss of boxes, on any number of proposals and on all anchors.

    Proposals are of RPNs trained for equally long, and snapshots are trained in the same way: as those of most runs. Of
    snapshots given by their ids, which do not say how they were trained, a seed has to have only one.
    """
    runs = _without_box_loss(setting)
    for key in ("rpn_epochs", "snapshot"):
        counts = Counter(ablation_values(run.config)[key] for run in runs)
        usual = max(counts.keys() - {None}, key=lambda value: (counts[value], str(value)), default=None)
        runs = [run for run in runs if ablation_values(run.config)[key] in (None, usual)]
    repeats = Counter(map(_level_and_seed, runs))
    return [run for run in runs if repeats[_level_and_seed(run)] == 1]


def _level_and_seed(run: Run) -> tuple[str, int]:
    return _level(run), run.config["seed"]


def _without_box_loss(setting: Setting) -> list[Run]:
    standard = STANDARD | {"box_loss": False}
    varied = ("method", "proposals", "rpn_epochs", "snapshot")
    return [
        run
        for run in setting.runs
        if all(standard[key] == value for key, value in ablation_values(run.config).items() if key not in varied)
    ]


def _section(setting: Setting) -> Section:
    groups = {method: setting.select(method=method, box_loss=False) for method in METHOD_TITLES}
    by_proposals = on_proposals(setting)
    others = len(_without_box_loss(setting)) - len(by_proposals)
    why = "with another RPN or snapshot than most, or of one seed from several snapshots"
    notes = [f"Not shown: {counted(others, 'run')} {why}."] if others else []
    if all(ablation_values(run.config)["proposals"] is None for run in by_proposals):
        by_proposals = []
    panels = [panel for panel in (_training(groups), _imbalance(by_proposals)) if len(panel.data)]
    wanted = {METHOD_TITLES[method]: list(groups[method]) for method in PAPER_METHODS}
    for run in by_proposals:
        wanted.setdefault(_level(run), []).append(run)
    missing = missing_runs(setting, "figure8", wanted)
    if not by_proposals and not missing:
        missing.append(Missing("panel (b), on an RPN's proposals", setting.command("figure8", setting.seeds)))
    return Section(setting.overrides, [], panels, missing, run_ids_of([*groups.values(), by_proposals]), notes)


def _level(run: Run) -> str:
    """Return the name of a run's point in panel (b), or of its line in panel (a)."""
    values = ablation_values(run.config)
    words = [METHOD_TITLES[values["method"]]]
    words += [f"with {values['proposals']} proposals"] * (values["proposals"] is not None)
    return " ".join([*words, *["from a snapshot"] * (values["snapshot"] is not None)])


def _training(groups: dict[str, list[Run]]) -> Panel:
    rows = [
        {"method": method, "seed": run.config["seed"], "epoch": round(step / steps_of_epoch(run), 3), "ap_loss": value}
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
    ax.legend()
    label(ax, "epoch", "AP-loss")
    ax.set_ylim(0, 1.02)
    ax.set_xlim(left=0)


def _imbalance(runs: list[Run]) -> Panel:
    rows = [
        {
            "method": ablation_values(run.config)["method"],
            "snapshot": ablation_values(run.config)["snapshot"] is not None,
            "proposals": str(ablation_values(run.config)["proposals"] or "all"),
            "share": share_of_anchors(run),
            "seed": run.config["seed"],
            "ap_loss": final_ap_loss(run),
            "start": first_ap_loss(run),
        }
        for run in runs
    ]
    frame = pd.DataFrame(rows, columns=["method", "snapshot", "proposals", "share", "seed", "ap_loss", "start"])
    starts = frame[~frame.snapshot.astype(bool)].groupby("share").start.mean()
    parts = [
        over_seeds(part, "method", "share", "ap_loss").assign(proposals=proposals, snapshot=snapshot)
        for (snapshot, proposals), part in frame.dropna().groupby(["snapshot", "proposals"])
    ]
    none = over_seeds(frame, "method", "share", "ap_loss").assign(proposals="", snapshot=False)
    data = pd.concat(parts, ignore_index=True) if parts else none
    # Also of what started from a snapshot: its own first AP-loss is that of a trained detector.
    data["converged"] = data["mean"] <= CONVERGED * data.share.map(starts)
    words = [
        f"{METHOD_TITLES[row.method]} {row.mean:.2f} with {row.proposals} proposals"
        for row in _cold(data).sort_values("share").groupby("method").last().reset_index().itertuples()
    ]
    alt = f"Final AP-loss against the number of proposals, a line for each method. {listed(words)}."
    return Panel("imbalance", "(b) by the number of proposals", partial(_draw_imbalance, data), data, alt)


def _cold(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points of trainings without a snapshot."""
    return points[~points.snapshot.astype(bool)]


def _draw_imbalance(data: pd.DataFrame, ax: Axes) -> None:
    for name in [name for name in METHOD_TITLES if (data.method == name).any()]:
        points = data[data.method == name].sort_values("share")
        look = line_of(name)
        cold, warm = _cold(points), points[points.snapshot.astype(bool)]
        solid, stuck = cold.where(cold.converged), cold[~cold.converged]  # a line ends where a training is stuck
        ax.plot(cold.share, solid["mean"], label=METHOD_TITLES[name], **look | {"linestyle": "-", "marker": "."})
        ax.fill_between(cold.share, solid.low, solid.high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(stuck.share, stuck["mean"], linestyle="", marker="x", markersize=4, color=look["color"])
        rescued = cold.share.map(warm[warm.converged & warm.share.isin(stuck.share)].set_index("share")["mean"])
        if rescued.notna().any():
            beside = cold.converged & (rescued.shift(-1).notna() | rescued.shift(1).notna())
            dashed = rescued.where(~beside, cold["mean"])  # from and to where no snapshot is needed
            ax.plot(cold.share, dashed, **look | {"linestyle": (0, (3, 2)), "marker": "."})
    ax.set_xscale("log", base=2)
    ticks = data.drop_duplicates("share").sort_values("share")
    ax.set_xticks(ticks.share.tolist(), ticks.proposals.tolist(), rotation=45)
    ax.minorticks_off()
    label(ax, "proposals per image", "final AP-loss")
    ax.set_ylim(0, 1.02)
    ax.legend()
