"""The rules by which runs support or contradict what the paper says."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED, Absent, Verdict
from analysis.artefacts.curves import listed
from analysis.artefacts.number_format import to_text
from analysis.artefacts.statistics import Difference, above, difference
from analysis.artefacts.table_cells import by_seed, measured, values_of
from analysis.reading.runs import Run
from analysis.reading.settings import Setting

LEVEL = 0.05
Group = tuple[str, list[Run]]  # what runs have in common, and the runs: ("δ = 1", …)
Metric = str | Callable[[Run], float]


@dataclass(frozen=True)
class Statement:
    """A claim of the paper, and the function that judges it in one setting."""

    name: str
    text: str
    where: str
    artefact: str  # whose sweep makes its runs
    judge: Callable[[Setting], Verdict | None]  # None: no run of the setting has anything to say
    overrides: str = "recipe=mini"  # of a setting in which its runs can be made
    lacking: str = ""  # the code that is not here yet, without which there are no runs
    seeds: int = 2  # how many it takes at least


def compare(
    setting: Setting,
    what: str,
    metric: Metric,
    first: Group,
    others: list[Group],
    allowance: float = 0.0,
    least: bool = False,
    digits: int = 1,
) -> Verdict | None:
    """Whether a metric's mean over seeds is greater with `first` than with each of the others.

    Supported if the one-sided test of `difference` says so at 5% of each of the others (intersection–union);
    contradicted if it says the opposite of one of them at 5% by Bonferroni over them. A single seed decides nothing.

    Args:
        what: the metric's name in a sentence.
        allowance: `first` may be behind by so much, or has to be ahead by so much if it is negative.
        least: the claim is that `first` has the least.
    """
    groups = [first, *others]
    found = {name: values_of(runs, metric) for name, runs in groups}
    if not found[first[0]] or not any(found[name] for name, _ in others):
        return None
    sign = -1 if least else 1
    seeded = {name: {seed: sign * value for seed, value in by_seed(runs, metric).items()} for name, runs in groups}
    mine = {seed: value + allowance for seed, value in seeded[first[0]].items()}
    tests = {name: difference(mine, seeded[name]) for name, _ in others}
    supported = all(test.p_greater < LEVEL for test in tests.values())
    contradicted = any(test.p_less < LEVEL / len(others) for test in tests.values())
    cells = {name: measured(runs, metric, digits) for name, runs in groups}
    there = [f"{to_text(cell)} with {name}" for name, cell in cells.items() if not isinstance(cell, Absent)]
    absent = [name for name, cell in cells.items() if isinstance(cell, Absent)]
    numbers = f"{what} {', '.join(there)}" + (f"; no run with {listed(absent)}" if absent else "") + "."
    ps = [f"{_p(test.p_greater)} against {name}" for name, test in tests.items() if not math.isnan(test.p_greater)]
    by = f", {abs(allowance):g} {'allowed' if allowance > 0 else 'asked for'}" if allowance else ""
    test = "No test, as it takes two seeds of each."
    if ps:
        test = f"{kinds(tests.values())}, one-sided{by}: {', '.join(ps)}."
    return _verdict(setting, supported, contradicted, numbers, test, found.values())


def against(
    setting: Setting, what: str, metric: Metric, runs: list[Run], bound: float, least: bool = False, digits: int = 2
) -> Verdict | None:
    """Whether a metric's mean over seeds is above a bound, or with `least` below it, by Student's t-test at 5%."""
    found = values_of(runs, metric)
    if not found:
        return None
    p_above, p_below = above(list(found.values()), bound)
    if least:
        p_above, p_below = p_below, p_above
    numbers = f"{what} {to_text(measured(runs, metric, digits))}; the bound is {bound:g}."
    test = "No test, as it takes two seeds."
    if not math.isnan(p_above):
        test = f"Student's t-test, one-sided, against {bound:g}: {_p(p_above)}."
    return _verdict(setting, p_above < LEVEL, p_below < LEVEL, numbers, test, [found])


def equal(setting: Setting, what: str, metric: Metric, groups: list[Group], margin: float, digits: int = 2):
    """Whether a metric's mean differs by less than a margin between two groups: two one-sided tests at 5%."""
    found = {name: values_of(runs, metric) for name, runs in groups}
    if not any(found.values()):
        return None
    a, b = (by_seed(runs, metric) for _, runs in groups)
    over, under = (difference({seed: x + by for seed, x in a.items()}, b) for by in (margin, -margin))
    supported = max(over.p_greater, under.p_less) < LEVEL
    contradicted = over.p_less < LEVEL / 2 or under.p_greater < LEVEL / 2
    cells = {name: to_text(measured(runs, metric, digits)) for name, runs in groups}
    numbers = f"{what} {', '.join(f'{text} with {name}' for name, text in cells.items())}; the margin is {margin:g}."
    test = "No test, as it takes two seeds of each."
    if not math.isnan(over.p_greater):
        test = f"{over.test}, one-sided both ways: {_p(max(over.p_greater, under.p_less))}."
    return _verdict(setting, supported, contradicted, numbers, test, found.values())


def in_each_run(
    setting: Setting, what: str, metric: Metric, runs: list[Run], bound: float, contrary: float, digits: int = 2
) -> Verdict | None:
    """Whether a metric is at most a bound in each run; contradicted if it is above `contrary` in each.

    For times and memory, of which one run has a thousand steps. Runs on different machines may well disagree.
    """
    found = values_of(runs, metric)
    if not found:
        return None
    values = list(found.values())
    numbers = f"{what} {', '.join(f'{value:.{digits}f}' for value in values)}; at most {bound:g} would support it."
    test = f"A bound in each of {len(values)} run{'s' * (len(values) > 1)}, no test; above {contrary:g} contradicts."
    return _verdict(setting, max(values) <= bound, min(values) > contrary, numbers, test, [found])


def by_batch_size(
    setting: Setting,
    what: str,
    metric: Metric,
    groups: dict[int, list[Run]],
    fit: Callable[[np.ndarray, np.ndarray], float],
    bound: float,
    contrary: float,
) -> Verdict | None:
    """Whether what is fitted to a metric over batch sizes is at most a bound; above `contrary` it is contradicted.

    Of the machines with runs of three batch sizes and more that with most runs is looked at, as times and memory of
    different ones do not compare.
    """
    machines: dict[str, dict[int, list[Run]]] = {}
    for size, runs in groups.items():
        for run in runs:
            machines.setdefault(machine(run), {}).setdefault(size, []).append(run)
    if not machines:
        return None
    at = max(machines.values(), key=lambda sizes: (len(sizes), sum(map(len, sizes.values()))))
    found = {size: values_of(runs, metric) for size, runs in at.items()}
    found = {size: values for size, values in sorted(found.items()) if values}
    means = {size: float(np.mean(list(values.values()))) for size, values in found.items()}
    shown = {size: f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}" for size, mean in means.items()}
    numbers = ", ".join(f"{mean} at batch size {size}" for size, mean in shown.items())
    if len(means) < 3:
        too_few = "It takes three batch sizes on one machine."
        return _verdict(setting, False, False, f"{numbers}.", too_few, found.values())
    value = fit(np.array(list(means)), np.array(list(means.values())))
    numbers = f"{numbers}: {what} {value:.2f}, where at most {bound:g} would support it."
    test = f"A fit to means over runs on one machine, no test; above {contrary:g} contradicts."
    return _verdict(setting, value <= bound, value > contrary, numbers, test, found.values())


def machine(run: Run) -> str:
    """What has to be the same for times and memory to compare."""
    return f"{run.config.get('environment.device')} {run.config.get('environment.threads')}"


def on_one_machine(groups: list[Group]) -> list[Group]:
    """Of the runs of several groups those on that machine which most groups have runs on."""
    count: dict[str, set[str]] = {}
    for name, runs in groups:
        for run in runs:
            count.setdefault(machine(run), set()).add(name)
    best = max(count, key=lambda place: len(count[place]), default="")
    return [(name, [run for run in runs if machine(run) == best]) for name, runs in groups]


def exponent(sizes: np.ndarray, values: np.ndarray) -> float:
    """k of values ∝ sizesᵏ, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def residual(sizes: np.ndarray, values: np.ndarray) -> float:
    """The share of the variance that is left about a line, 1 − R²."""
    if np.ptp(values) == 0:
        return 0.0
    line = np.polyval(np.polyfit(sizes, values, 1), sizes)
    return float(((values - line) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def kinds(tests: Iterable[Difference]) -> str:
    """What tests have been done, each kind once."""
    return " and ".join(sorted({test.test for test in tests if not math.isnan(test.p_greater)}))


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _verdict(
    setting: Setting, supported: bool, contradicted: bool, numbers: str, test: str, found: Iterable[dict[str, float]]
) -> Verdict:
    outcome = SUPPORTED if supported else CONTRADICTED if contradicted else UNDECIDED
    run_ids = dict.fromkeys(run_id for values in found for run_id in values)
    return Verdict(setting.overrides, outcome, numbers, test, list(run_ids))
