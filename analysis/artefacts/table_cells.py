"""Builds what artefacts consist of: a section for each setting, the cells and rows of tables, and what is missing."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.artefacts.artefact import Absent, Cell, Measured, Missing, Published, Section
from analysis.artefacts.statistics import difference, estimate
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import LOSS_TITLES, PAPER_LOSSES, Setting, is_whole_training, settings

METRICS = ["AP", "AP50", "AP75"]
NOT_PUBLISHED = NO_NUMBER = Absent("–")
Metric = str | Callable[[Run], float]  # a key of the log, whose last value counts, or a function


def sections_by_setting(
    runs: Runs,
    section: Callable[[Setting], Section],
    has: Callable[[str], bool] = lambda detector: True,
    *,
    whole_trainings: bool = True,
    words: tuple[str, ...] = ("recipe=mini",),
) -> list[Section]:
    """Return the sections of all settings that have a run of it; an empty one if none has.

    Args:
        has: whether it shows a detector.
        whole_trainings: whether trainings of so many steps, which test nothing, are left out.
        words: of the empty one.
    """
    counting = [run for run in runs.counting if is_whole_training(run) or not whole_trainings]
    sections = [section(setting) for setting in settings(counting) if has(setting.detector)]
    return [one for one in sections if one.run_ids] or [section(Setting(words))]


def values_of(runs: Iterable[Run], metric: Metric) -> dict[str, float]:
    """Return a metric's value in each run that has it, by the runs' ids."""
    value = metric if callable(metric) else lambda run: run.last(metric)
    values = {run.run_id: value(run) for run in runs}
    return {run_id: value for run_id, value in values.items() if not math.isnan(value)}


def by_seed(runs: Sequence[Run], metric: Metric) -> dict[int, float]:
    """Return a metric's value in each run that has it, by seed; there is one run for each seed."""
    values = values_of(runs, metric)
    return {run.config["seed"]: values[run.run_id] for run in runs if run.run_id in values}


def logged_by_class(runs: Iterable[Run], metric: str) -> list[str]:
    """Return the classes for which runs have logged a metric, as `metric/class`, in alphabetical order."""
    return sorted({key.partition("/")[2] for run in runs for key in run.keys if key.startswith(f"{metric}/")})


def run_ids_of(groups: Iterable[Iterable[Run]]) -> list[str]:
    """Return the ids of the runs in several groups, each once."""
    return list(dict.fromkeys(run.run_id for runs in groups for run in runs))


def compares(groups: Iterable[Sequence[Run]]) -> bool:
    """Return whether at least two groups have runs; equal ones count once, as do the standard rows of Table 1."""
    return len({tuple(run.run_id for run in runs) for runs in groups if runs}) > 1


def measured(runs: Iterable[Run], metric: Metric, digits: int = 1) -> Measured | Absent:
    """Return the mean of a metric over the runs of several seeds; a dash if there are runs, but none has it.

    So AP of small objects is a dash where the test images have none.
    """
    runs = list(runs)
    values = values_of(runs, metric)
    if not values:
        return NO_NUMBER if runs else Absent()
    return Measured(estimate(list(values.values())), tuple(values), digits)


def difference_cell(first: Sequence[Run], second: Sequence[Run], metric: Metric) -> Measured | Absent:
    """Return by how much the first runs are ahead of the second, with the interval of the difference."""
    run_ids = (*values_of(first, metric), *values_of(second, metric))
    values = by_seed(first, metric), by_seed(second, metric)
    if not all(values):
        return NO_NUMBER if first and second else Absent()
    return Measured(difference(*values).estimate, run_ids, signed=True)


def published(value: float, where: str, signed: bool = False) -> Published | Absent:
    """Return a number of the paper, which has one decimal; a dash where it has none."""
    return NOT_PUBLISHED if math.isnan(value) else Published(round(float(value), 1), where, signed=signed)


def minus(ours: Measured | Absent, paper: Published | Absent) -> Measured | Absent:
    """Return a measured number minus the paper's; the numbers may be differences themselves."""
    if isinstance(ours, Absent):
        return ours
    if isinstance(paper, Absent):
        return paper
    return replace(ours, estimate=replace(ours.estimate, mean=ours.estimate.mean - paper.value), signed=True)


def difference_cells(
    first: Sequence[Run], second: Sequence[Run], metric: Metric, *, paper: tuple[float, float], where: str
) -> list[Cell]:
    """Return by how much the first runs are ahead of the second: ours, the paper's, and ours minus the paper's.

    Args:
        paper: the paper's two numbers.
        where: they are published.
    """
    ours = difference_cell(first, second, metric)
    theirs = published(paper[0] - paper[1], where, signed=True)
    return [ours, theirs, minus(ours, theirs)]


def ours_and_paper_cells(
    groups: Iterable[Sequence[Run]], metric: Metric, *, paper: Iterable[float], where: str
) -> list[list[Cell]]:
    """Return a metric's comparable cells, ours and the paper's, each with its best marked."""
    ours = [measured(runs, metric) for runs in groups]
    return [mark_best(ours), mark_best([published(value, where) for value in paper])]


def ours_and_paper_rows(
    groups: Mapping[str, Sequence[Run]], paper: pd.DataFrame, where: str, pair: Callable[[str], tuple[str, str]]
) -> list[list[Cell]]:
    """Return a row for each group: its name, METRICS of ours and of the paper, and :func:`difference_cells` of AP.

    Args:
        groups: runs by the names of the rows.
        paper: the paper's METRICS by the names of its rows.
        where: they are published.
        pair: returns by a row's name the names of the two rows that its differences compare; equal ones are none.
    """
    paper = paper.reindex(list(groups))
    columns = [ours_and_paper_cells(groups.values(), metric, paper=paper[metric], where=where) for metric in METRICS]
    rows: list[list[Cell]] = []
    for number, name in enumerate(groups):
        first, second = pair(name)
        differences: list[Cell] = ["–"] * 3
        if first != second:
            papers = paper["AP"][first], paper["AP"][second]
            differences = difference_cells(groups[first], groups[second], "AP", paper=papers, where=where)
        ours, theirs = ([column[kind][number] for column in columns] for kind in (0, 1))
        rows.append([name, *ours, *theirs, *differences])
    return rows


def ours_and_paper_columns(rows: str, differences: str) -> list[tuple[str, str]]:
    """Return the columns of :func:`ours_and_paper_rows`: the headings of the rows' names and of their differences."""
    numbers = [(group, metric) for group in ("ours", "paper") for metric in METRICS]
    return [("", rows), *numbers, *((differences, name) for name in ("ours", "paper", "difference"))]


def mark_best(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells, those with the greatest number marked as the best if there are two numbers to compare."""
    values = {number: _rounded(cell) for number, cell in enumerate(cells) if isinstance(cell, Measured | Published)}
    best = [number for number, value in values.items() if len(values) > 1 and value == max(values.values())]
    return [
        replace(cell, best=True) if isinstance(cell, Measured | Published) and number in best else cell
        for number, cell in enumerate(cells)
    ]


def _rounded(cell: Measured | Published) -> float:
    return round(cell.value if isinstance(cell, Published) else cell.estimate.mean, cell.digits)


def missing_runs(setting: Setting, sweep: str, groups: Mapping[str, Sequence[Run]]) -> list[Missing]:
    """Return which runs of a sweep a setting lacks, with the command that makes them.

    Args:
        groups: the runs that exist, one a seed, by what they show.
    """
    seeds = sorted({run.config["seed"] for runs in groups.values() for run in runs}) or [0]
    absent = {name: sorted({*seeds} - {run.config["seed"] for run in runs}) for name, runs in groups.items()}
    words = [
        name if lacking == seeds else f"{name} (seed {', '.join(map(str, lacking))})"
        for name, lacking in absent.items()
        if lacking
    ]
    lacking = {seed for seeds_of_group in absent.values() for seed in seeds_of_group}
    return [Missing(", ".join(words), setting.command(sweep, lacking))] if words else []


def missing_losses(setting: Setting, sweep: str, groups: Mapping[str, Sequence[Run]]) -> list[Missing]:
    """Return which runs of a sweep a setting lacks, of groups by loss: only the paper's losses are in sweeps."""
    return missing_runs(setting, sweep, {LOSS_TITLES[loss]: groups[loss] for loss in PAPER_LOSSES if loss in groups})
