"""The rules by which runs support or contradict what the paper claims.

A rule is a function of a setting. The functions here make rules of what is compared: the claims are data.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED, Absent, Verdict
from analysis.artefacts.number_format import to_text
from analysis.artefacts.statistics import Difference, difference, p_values_of_bound
from analysis.artefacts.table_cells import Metric, by_seed, measured, values_of
from analysis.reading.runs import Run
from analysis.reading.settings import LOSS_TITLES, PAPER_LOSSES, Setting
from src.utils.text import listed

LEVEL = 0.05
NO_TEST = "No test, as it takes two seeds of each."
Rule = Callable[[Setting], Verdict | None]  # None: no run of the setting shows anything about the claim


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A claim of the paper, and the rule that decides it in a setting."""

    name: str
    text: str
    where: str  # in the paper
    artefact: str  # whose sweep makes its runs
    verdict: Rule
    detector: str | None = None  # the only one that the claim is about
    data: str | None = None  # the only data set that the claim is about
    condition: Callable[[Setting], bool] = lambda setting: True  # further ones on the settings that it is about
    words: tuple[str, ...] = ("recipe=mini",)  # of a setting in which its runs can be made
    seeds: int = 2  # how many it takes at least

    def is_about(self, setting: Setting) -> bool:
        """Return whether the claim is about a setting's detector, data and other options."""
        fits = self.detector in (None, setting.detector) and self.data in (None, setting.data)
        return fits and self.condition(setting)


@dataclass(frozen=True)
class RunGroup:
    """Runs that are compared with others."""

    name: str  # what they have in common, in a sentence: "δ = 1"
    runs: Callable[[Setting], list[Run]]


def selected(name: str, **changes: object) -> RunGroup:
    """Return the group of the runs that differ from the standard values in these alone."""
    return RunGroup(name, lambda setting: setting.select(**changes))


def compare(
    *,
    what: str,
    metric: Metric,
    first: RunGroup,
    others: Sequence[RunGroup],
    allowance: float = 0.0,
    least: bool = False,
    digits: int = 1,
) -> Rule:
    """Return the rule whether a metric's mean over seeds is greater with `first` than with each of the others.

    Supported if the one-sided test of `difference` holds at 5% against each of the others (intersection–union);
    contradicted if the opposite holds against one of them at 5%, by Bonferroni over them. A single seed decides
    nothing.

    Args:
        what: the metric's name in a sentence.
        allowance: `first` may be behind by this much, or has to be ahead by this much if it is negative.
        least: the claim is that `first` has the least.
    """
    sign = -1 if least else 1

    def verdict(setting: Setting) -> Verdict | None:
        runs = {group.name: group.runs(setting) for group in (first, *others)}
        values = {name: values_of(members, metric) for name, members in runs.items()}
        if not values[first.name] or not any(values[other.name] for other in others):
            return None
        signed = {
            name: {seed: sign * value for seed, value in by_seed(members, metric).items()}
            for name, members in runs.items()
        }
        leader = {seed: value + allowance for seed, value in signed[first.name].items()}
        tests = {other.name: difference(leader, signed[other.name]) for other in others}
        supported = all(test.p_greater < LEVEL for test in tests.values())
        contradicted = any(test.p_less < LEVEL / len(others) for test in tests.values())
        numbers, test = _means(what, runs, metric, digits), _test_sentence(tests, allowance)
        return decide(setting, supported, contradicted, numbers=numbers, test=test, run_ids=values.values())

    return verdict


def compare_losses(
    *,
    what: str,
    metric: Metric,
    first: str = "ap",
    others: Iterable[str] | None = None,
    allowance: float = 0.0,
    least: bool = False,
    digits: int = 1,
) -> Rule:
    """Return the rule of :func:`compare` for a loss and other losses, by default all others of the paper."""
    names = [loss for loss in PAPER_LOSSES if loss != first] if others is None else others
    groups = {loss: selected(LOSS_TITLES[loss], loss=loss) for loss in (first, *names)}
    rest = [groups[loss] for loss in names]
    return compare(
        what=what, metric=metric, first=groups[first], others=rest, allowance=allowance, least=least, digits=digits
    )


@dataclass(frozen=True)
class Bound:
    """A group of runs whose mean of a metric has to be above a bound, or with `least` below it."""

    group: RunGroup
    metric: Metric
    least: bool = False


def against_bound(what: str, bound: float, parts: Callable[[Setting], Sequence[Bound]], digits: int = 2) -> Rule:
    """Return the rule whether means over seeds are on their sides of a bound.

    By Student's t-test: supported if each holds at 5% (intersection–union); contradicted if the opposite of one holds
    at 5%, by Bonferroni over them. A single seed decides nothing.

    Args:
        what: the metrics' name in a sentence.
        parts: of a setting; those without any run do not count, but as something that is not supported.
    """

    def verdict(setting: Setting) -> Verdict | None:
        bounds = parts(setting)
        runs = [part.group.runs(setting) for part in bounds]
        values = [values_of(members, part.metric) for members, part in zip(runs, bounds, strict=True)]
        if not any(values):
            return None
        supports, contradicts, means, tests = [], [], [], []
        for part, members, of_part in zip(bounds, runs, values, strict=True):
            p_above, p_below = p_values_of_bound(list(of_part.values()), bound)
            supports.append(p_below if part.least else p_above)
            contradicts.append(p_above if part.least else p_below)
            means.append(f"{to_text(measured(members, part.metric, digits))} with {part.group.name}")
            tests += [] if math.isnan(p_above) else [f"{_p(supports[-1])} with {part.group.name}"]
        supported = all(p < LEVEL for p in supports)
        contradicted = any(p < LEVEL / len(bounds) for p in contradicts)
        numbers = f"{what} {', '.join(means)}; the bound is {bound:g}."
        test = "No test, as it takes two seeds."
        if tests:
            test = f"Student's t-test, one-sided, against {bound:g}: {', '.join(tests)}."
        return decide(setting, supported, contradicted, numbers=numbers, test=test, run_ids=values)

    return verdict


def equal(*, what: str, metric: Metric, groups: tuple[RunGroup, RunGroup], margin: float) -> Rule:
    """Return the rule whether the means of two groups differ by less than a margin: two one-sided tests at 5%."""

    def verdict(setting: Setting) -> Verdict | None:
        runs = {group.name: group.runs(setting) for group in groups}
        values = [values_of(members, metric) for members in runs.values()]
        if not any(values):
            return None
        a, b = (by_seed(members, metric) for members in runs.values())
        over, under = (difference({seed: x + shift for seed, x in a.items()}, b) for shift in (margin, -margin))
        p_equal = max(over.p_greater, under.p_less)
        contradicted = over.p_less < LEVEL / 2 or under.p_greater < LEVEL / 2
        cells = [f"{to_text(measured(members, metric, digits=2))} with {name}" for name, members in runs.items()]
        numbers = f"{what} {', '.join(cells)}; the margin is {margin:g}."
        test = NO_TEST if math.isnan(over.p_greater) else f"{over.test}, one-sided both ways: {_p(p_equal)}."
        return decide(setting, p_equal < LEVEL, contradicted, numbers=numbers, test=test, run_ids=values)

    return verdict


def decide(
    setting: Setting,
    supported: bool,
    contradicted: bool,
    *,
    numbers: str,
    test: str,
    run_ids: Iterable[Iterable[str]],
    is_open: bool = True,
) -> Verdict:
    """Return the verdict of a rule in a setting.

    Args:
        run_ids: of the runs that decided it, in groups.
        is_open: whether more runs could decide it, as further seeds can by a test.
    """
    outcome = SUPPORTED if supported else CONTRADICTED if contradicted else UNDECIDED
    ids = dict.fromkeys(run_id for group in run_ids for run_id in group)
    return Verdict(setting.overrides, outcome, numbers, test, list(ids), is_open)


def kinds_of(tests: Iterable[Difference]) -> str:
    """Return the names of the tests that were done, each once."""
    return " and ".join(sorted({test.test for test in tests if not math.isnan(test.p_greater)}))


def _means(what: str, runs: Mapping[str, list[Run]], metric: Metric, digits: int) -> str:
    cells = {name: measured(members, metric, digits) for name, members in runs.items()}
    means = [f"{to_text(cell)} with {name}" for name, cell in cells.items() if not isinstance(cell, Absent)]
    absent = [name for name, cell in cells.items() if isinstance(cell, Absent)]
    lacks = {"run": [name for name in absent if not runs[name]], "number": [name for name in absent if runs[name]]}
    parts = [f"no {lack} with {listed(names)}" for lack, names in lacks.items() if names]
    return "; ".join([f"{what} {', '.join(means)}", *parts]) + "."


def _test_sentence(tests: Mapping[str, Difference], allowance: float) -> str:
    p_values = [
        f"{_p(test.p_greater)} against {name}" for name, test in tests.items() if not math.isnan(test.p_greater)
    ]
    if not p_values:
        return NO_TEST
    margin = f", with {abs(allowance):g} {'allowed' if allowance > 0 else 'required'}" if allowance else ""
    return f"{kinds_of(tests.values())}, one-sided{margin}: {', '.join(p_values)}."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
