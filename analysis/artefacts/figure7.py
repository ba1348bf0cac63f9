"""Fig. 7: the score of anchors against their IoU with the ground truth, in a detector trained with each loss."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from analysis.artefacts.artefact import Artefact, Cell, Panel, Section, Table
from analysis.artefacts.style import INK, Axes, label
from analysis.artefacts.table_cells import compares, measured, missing_losses, run_ids_of, sections_by_setting
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, Setting
from src.utils.text import counted

TITLE = "Fig. 7: scores of anchors against their IoU"
CAPTION = (
    "All anchors of the test images by IoU with the matched ground truth and by score for its class, at the end of "
    "training. Darker means more anchors, on a logarithmic scale that all panels share; white means none. Left of the "
    "dashed line, at IoU 0.5 with SSD and 0.4 otherwise, are the negatives. The counts are sums over seeds. Losses "
    "differ in how high all scores are; the last column of the table does not depend on that."
)
POSITIVE_IOU, HIGH_SCORE = 0.5, 0.5


def build(runs: Runs) -> Artefact:
    """Build four panels and a table for each setting that has a run of it."""
    return Artefact("figure7", TITLE, CAPTION, sections_by_setting(runs, _section))


def counts_of(run: Run) -> np.ndarray | None:
    """Return the test anchors that a run has counted, by IoU (rows) and score; None if it has not."""
    counts = np.array(run.objects.get("anchor_scores", []), dtype=np.int64)
    return counts if counts.ndim == 2 and counts.sum() else None


def count_negatives(counts: np.ndarray, detector: str) -> tuple[int, int]:
    """Return how many anchors are negatives, and how many of these have a high score."""
    edges = _edges(counts)
    negatives = counts[edges < negative_iou(detector)]
    return int(negatives.sum()), int(negatives[:, edges >= HIGH_SCORE].sum())


def negative_iou(detector: str) -> float:
    """Return the IoU below which anchors are negatives; a detector of a user's own matches as RetinaNet does."""
    return 0.5 if detector == "ssd" else 0.4


def _detector(run: Run) -> str:
    return str(run.config.get("model.name", "retinanet"))


def high_negatives(run: Run) -> float:
    """Return how many of a million negatives have a high score; NaN without counts."""
    counts = counts_of(run)
    if counts is None:
        return math.nan
    negatives, high = count_negatives(counts, _detector(run))
    return 1e6 * high / max(negatives, 1)


def outscoring_negatives(run: Run) -> float:
    """Return how many of a million negatives score above the median positive; NaN without counts or positives.

    Within a bin of scores anchors count as evenly spread.
    """
    counts = counts_of(run)
    if counts is None or not (positives := _positives(counts)).any():
        return math.nan
    negatives = counts[_edges(counts) < negative_iou(_detector(run))].sum(axis=0)
    up_to = positives.cumsum()
    half = up_to[-1] / 2
    middle = int(np.searchsorted(up_to, half))
    above = negatives[middle + 1 :].sum() + negatives[middle] * (up_to[middle] - half) / positives[middle]
    return float(1e6 * above / max(negatives.sum(), 1))


def positive_score(run: Run) -> float:
    """Return the mean score of positives; NaN without counts."""
    counts = counts_of(run)
    return math.nan if counts is None else mean_positive_score(counts)


def mean_positive_score(counts: np.ndarray) -> float:
    """Return the mean score of the positives; 0 without any."""
    positives = _positives(counts)
    return float((positives * (_edges(counts) + 0.5 / len(counts))).sum() / max(positives.sum(), 1))


def _positives(counts: np.ndarray) -> np.ndarray:
    """Return the number of positives, anchors with an IoU of at least POSITIVE_IOU, in each bin of scores."""
    return counts[_edges(counts) >= POSITIVE_IOU].sum(axis=0)


def _edges(counts: np.ndarray) -> np.ndarray:
    """Return the lower edges of the bins of IoU, which are those of scores too."""
    return (np.arange(len(counts)) / len(counts)).round(4)


def _section(setting: Setting) -> Section:
    selected = setting.by_loss()
    groups = {loss: [run for run in runs if counts_of(run) is not None] for loss, runs in selected.items()}
    arrays = {loss: [array for run in runs if (array := counts_of(run)) is not None] for loss, runs in groups.items()}
    sums = {loss: np.sum(of_loss, axis=0) for loss, of_loss in arrays.items() if of_loss}
    most = max((int(counts.max()) for counts in sums.values()), default=1)
    panels = [_panel(setting.detector, loss, counts, most, len(groups[loss])) for loss, counts in sums.items()]
    missing = missing_losses(setting, "figure7", groups)
    tables = [_table(groups)] if sums else []
    run_ids = run_ids_of(groups.values())
    return Section(setting.overrides, tables, panels, missing, run_ids, compares=compares(groups.values()))


def _table(groups: Mapping[str, list[Run]]) -> Table:
    """Return a table of the scores of positives and negatives with each loss."""
    group = "of a million negatives"
    columns = [("", "Training loss"), ("", "mean score of positives"), (group, f"score at least {HIGH_SCORE}")]
    columns.append((group, "score above the median positive"))
    metrics = ((positive_score, 2), (high_negatives, 0), (outscoring_negatives, 0))
    rows: list[list[Cell]] = [
        [LOSS_TITLES[loss], *(measured(runs, metric, digits) for metric, digits in metrics)]
        for loss, runs in groups.items()
    ]
    return Table("scores", "Scores of positives and negatives", columns, rows)


def _panel(detector: str, loss: str, counts: np.ndarray, most: int, seeds: int) -> Panel:
    iou, score = (values.ravel() for values in np.meshgrid(_edges(counts), _edges(counts), indexing="ij"))
    data = pd.DataFrame({"iou": iou, "score": score, "anchors": counts.ravel()}).query("anchors > 0")
    data = data.reset_index(drop=True)
    negatives, high = count_negatives(counts, detector)
    alt = (
        f"{LOSS_TITLES[loss]}: of {negatives:,} negative anchors {high:,} score at least {HIGH_SCORE}; the mean score "
        f"of anchors with an IoU of at least {POSITIVE_IOU} is {mean_positive_score(counts):.2f}."
    )
    title = f"{LOSS_TITLES[loss]}, {counted(seeds, 'seed')}"
    return Panel(f"scores-{loss}", title, partial(_draw, data, len(counts), most, negative_iou(detector)), data, alt)


def _draw(data: pd.DataFrame, bins: int, most: int, boundary: float, ax: Axes) -> None:
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
    ax.axvline(boundary, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    label(ax, "IoU with the ground truth", "score")
    ax.grid(False)
