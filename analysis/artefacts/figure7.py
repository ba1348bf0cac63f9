"""Fig. 7: the score of anchors against their IoU with the ground truth, in a detector trained with each loss."""

from functools import partial

import numpy as np
import pandas as pd

from analysis.artefacts.artefact import Artefact, Panel, Section
from analysis.artefacts.style import INK, Axes, label
from analysis.artefacts.table_cells import in_each_setting, missing_runs
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting

TITLE = "Fig. 7: scores of anchors against their IoU"
CAPTION = (
    "All anchors of the test images by IoU with the matched ground truth and by score for its class, at the end of "
    "training: the darker, the more, on a logarithmic scale that is the same in all panels; white holds none. Left of "
    "the dashed line at IoU 0.4 are the negatives. Seeds are added up."
)
NEGATIVE_IOU, HIGH_SCORE = 0.4, 0.5


def build(runs: Runs) -> Artefact:
    """Four panels in each setting that has a run of it."""
    return Artefact("figure7", TITLE, CAPTION, in_each_setting(runs, _section))


def counts_of(run: Run) -> np.ndarray | None:
    """The test anchors that a run has counted, by IoU (rows) and score; None if it has not."""
    counts = np.array(run.objects.get("anchor_scores", []), dtype=np.int64)
    return counts if counts.ndim == 2 and counts.sum() else None


def _section(setting: Setting) -> Section:
    at = {loss: [run for run in setting.select(loss=loss) if counts_of(run) is not None] for loss in LOSS_TITLES}
    sums = {loss: sum(counts_of(run) for run in found) for loss, found in at.items() if found}
    most = max((int(counts.max()) for counts in sums.values()), default=1)
    panels = [_panel(loss, counts, most, len(at[loss])) for loss, counts in sums.items()]
    missing = missing_runs(setting, "figure7", {LOSS_TITLES[loss]: found for loss, found in at.items()})
    run_ids = [run.run_id for found in at.values() for run in found]
    return Section(setting.overrides, [], panels, missing, run_ids)


def _panel(loss: str, counts: np.ndarray, most: int, seeds: int) -> Panel:
    bins = len(counts)
    iou, score = (np.indices(counts.shape).reshape(2, -1) / bins).round(4)
    data = pd.DataFrame({"iou": iou, "score": score, "anchors": counts.ravel()}).query("anchors > 0")
    data = data.reset_index(drop=True)
    negatives = data[data.iou < NEGATIVE_IOU].anchors.sum()
    high = data[(data.iou < NEGATIVE_IOU) & (data.score >= HIGH_SCORE)].anchors.sum()
    positives = data[data.iou >= 0.5]
    mean = (positives.anchors * (positives.score + 0.5 / bins)).sum() / max(positives.anchors.sum(), 1)
    alt = (
        f"{LOSS_TITLES[loss]}: of {negatives:,} negative anchors {high:,} score at least {HIGH_SCORE}; anchors with IoU of "
        f"0.5 and more score {mean:.2f} in the mean."
    )
    title = f"{LOSS_TITLES[loss]}, {seeds} seed{'s' * (seeds > 1)}"
    return Panel(f"scores-{loss}", title, partial(_draw, data, bins, most), data, alt)


def _draw(data: pd.DataFrame, bins: int, most: int, ax: Axes) -> None:
    from matplotlib.colors import LogNorm

    image = np.full((bins, bins), np.nan)
    image[(data.score * bins).round().astype(int), (data.iou * bins).round().astype(int)] = data.anchors
    ax.imshow(
        image,
        origin="lower",
        extent=(0, 1, 0, 1),
        aspect="auto",
        cmap="viridis_r",
        norm=LogNorm(1, max(most, 2)),
        interpolation="nearest",
    )
    ax.axvline(NEGATIVE_IOU, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    label(ax, "IoU with the ground truth", "score")
    ax.grid(False)
