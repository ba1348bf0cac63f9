"""What artefacts are put together from: a section for each setting, the numbers of tables, and what is missing."""

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from analysis.artefacts.artefact import Absent, Measured, Missing, Published, Section
from analysis.artefacts.statistics import difference, estimate
from analysis.reading.runs import Run, Runs
from analysis.reading.settings import Setting, settings
from src.utils import paths

PAPER = paths.ANALYSIS / "paper"
METRICS = ["AP", "AP50", "AP75"]


def in_each_setting(
    runs: Runs, section: Callable[[Setting], Section], detectors: Sequence[str] = ("retinanet", "ssd")
) -> list[Section]:
    """The sections of all settings with these detectors that have a run of it; an empty one if none has."""
    found = [section(setting) for setting in settings(runs.counting) if setting.detector in detectors]
    return [made for made in found if made.run_ids] or [section(Setting(("recipe=mini",)))]


def published(table: str) -> pd.DataFrame:
    """A table of the paper's numbers, as analysis/paper/ has it."""
    return pd.read_csv(PAPER / f"{table}.csv")


def values_of(runs: Iterable[Run], metric: str | Callable[[Run], float]) -> dict[str, float]:
    """A metric's last value, or what a function finds, in each run that has it, by the runs' ids."""
    find = metric if callable(metric) else lambda run: run.last(metric)
    found = {run.run_id: find(run) for run in runs}
    return {run_id: value for run_id, value in found.items() if not math.isnan(value)}


def by_seed(runs: Sequence[Run], metric: str | Callable[[Run], float]) -> dict[int, float]:
    """A metric's value in each run that has it, by the runs' seeds, of which each has one run."""
    values = values_of(runs, metric)
    return {run.config["seed"]: values[run.run_id] for run in runs if run.run_id in values}


def measured(runs: Iterable[Run], metric: str | Callable[[Run], float], digits: int = 1) -> Measured | Absent:
    """The mean of a metric over the runs of several seeds."""
    values = values_of(runs, metric)
    return Measured(estimate(list(values.values())), tuple(values), digits) if values else Absent()


def lead(a: Sequence[Run], b: Sequence[Run], metric: str, digits: int = 1) -> Measured | Absent:
    """By how much the runs `a` are ahead of the runs `b`, with the interval of the difference."""
    of_a, of_b = values_of(a, metric), values_of(b, metric)
    if not of_a or not of_b:
        return Absent()
    found = difference(by_seed(a, metric), by_seed(b, metric))
    return Measured(found.estimate, (*of_a, *of_b), digits, signed=True)


def published_lead(a: float, b: float, where: str) -> Published:
    """The difference of two of the paper's numbers, which have one decimal."""
    return Published(round(a - b, 1), where, signed=True)


def less(a: Measured | Absent, b: Published) -> Measured | Absent:
    """A measured number less one of the paper's: for leads, the difference of differences."""
    if isinstance(a, Absent):
        return a
    shifted = a.estimate.__class__(a.estimate.mean - b.value, a.estimate.half_width, a.estimate.count)
    return Measured(shifted, a.run_ids, a.digits, signed=True)


def mark_best(cells: Sequence) -> list:
    """The cells with the greatest of ours and the greatest of the paper's marked, if there are two to compare."""
    marked = list(cells)
    for kind, value in ((Measured, lambda c: c.estimate.mean), (Published, lambda c: c.value)):
        places = [place for place, cell in enumerate(cells) if isinstance(cell, kind)]
        if len(places) > 1:
            greatest = max(round(value(cells[place]), cells[place].digits) for place in places)
            for place in places:
                best = round(value(cells[place]), cells[place].digits) == greatest
                marked[place] = kind(**{**vars(cells[place]), "best": best})
    return marked


def missing_runs(setting: Setting, sweep: str, cells: dict[str, list[Run]]) -> list[Missing]:
    """What is missing of the runs of a sweep in a setting, with the command that makes it.

    Args:
        cells: the runs that there are, one a seed, by what they show.
    """
    seeds = sorted({run.config["seed"] for runs in cells.values() for run in runs}) or [0]
    lacking = {name: [s for s in seeds if s not in {r.config["seed"] for r in runs}] for name, runs in cells.items()}
    words = [
        name if len(absent) == len(seeds) else f"{name} (seed {', '.join(map(str, absent))})"
        for name, absent in lacking.items()
        if absent
    ]
    wanted = sorted({seed for absent in lacking.values() for seed in absent})
    return [Missing(", ".join(words), setting.command(sweep, wanted))] if words else []
