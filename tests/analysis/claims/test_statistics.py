"""The statistics behind the verdicts, by hand and by their formulas."""

import math

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from analysis.artefacts.artefact import CONTRADICTED, SUPPORTED, UNDECIDED
from analysis.artefacts.figure8 import final_ap_loss, first_ap_loss
from analysis.artefacts.statistics import PAIRED, WELCH, Estimate, difference, estimate, p_values_of_bound
from analysis.claims.cost_rules import exponent, residual
from analysis.claims.costs import mean_to_final, time_left
from analysis.claims.optimisation import share_left
from analysis.claims.rules import Bound, RunGroup, against_bound, compare, equal
from analysis.reading.runs import make_run
from analysis.reading.settings import Setting


def test_differences_by_hand():
    # Of seeds 0, 1 and 2 the differences are 1, 3 and 5: s = 2, t = 3·√3 / 2 = 2.598 with two degrees of freedom, where
    # Student's t for 95% is 4.30265. The order in which runs are found does not count.
    paired = difference({0: 11.0, 1: 23.0, 2: 35.0}, {2: 30.0, 0: 10.0, 1: 20.0})
    assert paired.test == PAIRED and paired.mean == 3.0 and paired.counts == (3, 3)
    assert paired.half_width == pytest.approx(4.30265 * 2 / 3**0.5, abs=1e-4)
    assert (paired.p_greater, paired.p_less) == pytest.approx((0.06083, 0.93917), abs=1e-4)
    # Of other seeds both variances are 2, Welch's degrees of freedom are 2 and the error is √(2/2 + 2/2).
    welch = difference({0: 27.0, 1: 29.0}, {0: 30.0, 2: 32.0})
    assert welch.test == WELCH and (welch.mean, welch.counts) == (-3.0, (2, 2))
    assert welch.half_width == pytest.approx(4.30265 * 2**0.5, abs=1e-4)
    for one in (difference({0: 1.0}, {0: 2.0}), difference({0: 1.0}, {0: 2.0, 1: 3.0})):
        assert one.half_width != one.half_width and one.p_greater != one.p_greater
    several = difference({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0, 2: 3.0})
    assert several.estimate == Estimate(several.mean, several.half_width, 2)
    same = difference({0: 5.0, 1: 6.0}, {0: 4.0, 1: 5.0})
    assert (same.mean, same.half_width, same.p_greater, same.p_less) == (1.0, 0.0, 0.0, 1.0)


def test_statistics_by_hand():
    # Mean 3, s = 1, n = 3: half the width is t(0.975, 2) / √3.
    assert estimate([2.0, 3.0, 4.0]) == Estimate(3.0, pytest.approx(4.30265 / 3**0.5, abs=1e-4), 3)
    # Against 1: t = 2·√3 = 3.4641, of which Student's t with two degrees leaves 0.0371.
    assert p_values_of_bound([2.0, 3.0, 4.0], 1.0) == pytest.approx((0.03709, 0.96291), abs=1e-5)
    assert p_values_of_bound([2.0, 2.0], 1.0) == (0.0, 1.0)
    sizes = np.array([1.0, 2.0, 4.0])
    assert exponent(sizes, 3 * sizes**2) == pytest.approx(2) and residual(sizes, 5 + 2 * sizes) == pytest.approx(0)
    # Through (1, 0), (2, 1), (4, 0): the covariance squared over both variances is 1/28, what the line explains.
    assert residual(sizes, np.array([0.0, 1.0, 0.0])) == pytest.approx(27 / 28)


def test_t_tests_agree_with_their_formulas():
    draw = np.random.default_rng(0)
    for count in (2, 3, 7):
        x, y = draw.normal(30, 1, count), draw.normal(29, 2, count)
        paired = difference(dict(enumerate(x)), dict(enumerate(y)))
        t = np.mean(x - y) / (np.std(x - y, ddof=1) / count**0.5)
        assert paired.p_less == pytest.approx(stdtr(count - 1, t), rel=1e-9)
        assert paired.half_width == pytest.approx(stdtrit(count - 1, 0.975) * np.mean(x - y) / t, rel=1e-9)
        parts = [np.var(values, ddof=1) / count for values in (x, y)]
        freedom = sum(parts) ** 2 / sum(part**2 / (count - 1) for part in parts)
        welch = difference(dict(enumerate(x)), dict(enumerate(y, start=1)))
        assert welch.p_greater == pytest.approx(stdtr(freedom, -np.mean(x - y) / sum(parts) ** 0.5), rel=1e-9)


# Of three seeds with s = 2 a mean of 3 has p = 0.0608, one of 3.6 p = 0.0447, one of 5.2 p = 0.0230.
UNSURE, SURE, SURE_OF_TWO = 3.0, 3.6, 5.2


def group_of(name, mean, deviation=2):
    values = (mean - deviation, mean, mean + deviation)
    runs = [make_run(f"{name}{i}", {"seed": i, "value": value}, [], "finished") for i, value in enumerate(values)]
    return RunGroup(name, lambda setting: runs)


def outcome_of(rule, tests):
    """The outcome of a rule, whose sentence has the p-values of so many tests."""
    verdict = rule(Setting(()))
    assert verdict.test.count("p = 0.") == tests
    return verdict.outcome


def value_of(run):
    return run.config["value"]


@pytest.mark.parametrize(
    ("leads", "options", "outcome"),
    [
        ([UNSURE], {}, UNDECIDED),
        ([SURE], {}, SUPPORTED),
        ([SURE, SURE], {}, SUPPORTED),
        ([SURE, UNSURE], {}, UNDECIDED),
        ([-UNSURE], {}, UNDECIDED),
        ([-SURE], {}, CONTRADICTED),
        ([-SURE, SURE], {}, UNDECIDED),  # by Bonferroni
        ([-SURE_OF_TWO, SURE], {}, CONTRADICTED),
        ([SURE - 1], {"allowance": 1.0}, SUPPORTED),
        ([SURE], {"allowance": -1.0}, UNDECIDED),
        ([-SURE], {"least": True}, SUPPORTED),
        ([SURE], {"least": True}, CONTRADICTED),
        ([1 - SURE], {"least": True, "allowance": 1.0}, SUPPORTED),
    ],
)
def test_a_comparison_is_decided_at_5_percent(leads, options, outcome):
    first = group_of("first", 0, deviation=0)
    others = [group_of(f"other {number} ", -lead) for number, lead in enumerate(leads)]
    assert outcome_of(compare(what="", metric=value_of, first=first, others=others, **options), len(leads)) == outcome


@pytest.mark.parametrize(
    ("means", "outcome"),
    [
        ([UNSURE], UNDECIDED),
        ([SURE, SURE], SUPPORTED),
        ([SURE, UNSURE], UNDECIDED),
        ([-SURE], CONTRADICTED),
        ([-SURE, SURE], UNDECIDED),
        ([-SURE_OF_TWO, SURE], CONTRADICTED),
    ],
)
@pytest.mark.parametrize("least", [False, True])
def test_a_bound_is_decided_at_5_percent(means, outcome, least):
    sign = -1 if least else 1
    groups = [group_of(f"group {number} ", 7 + sign * mean) for number, mean in enumerate(means)]
    bounds = [Bound(group, value_of, least) for group in groups]
    assert outcome_of(against_bound("", 7.0, lambda setting: bounds), len(means)) == outcome


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("mean", "margin", "outcome"),
    [
        (0, SURE, SUPPORTED),
        (0, UNSURE, UNDECIDED),
        (1, 1 + SURE, SUPPORTED),
        (1, 1 + UNSURE, UNDECIDED),
        (1 + SURE, 1, UNDECIDED),
        (1 + SURE_OF_TWO, 1, CONTRADICTED),
    ],
)
def test_equality_is_decided_at_5_percent_on_both_sides(mean, margin, outcome, sign):
    groups = group_of("zero", 0, deviation=0), group_of("other", sign * mean)
    assert outcome_of(equal(what="", metric=value_of, groups=groups, margin=margin), 1) == outcome


def test_parts_of_a_training_by_hand():
    rows = [{"global_step": step, "loss_seconds": step, "ap_loss": step} for step in range(1, 101)]
    run = make_run("a", {}, rows, "finished")
    # The last half, tenth and the first fiftieth of 100 steps are 51–100, 91–100 and 1–2.
    assert time_left(run) == 75.5 / 1.5 and mean_to_final(run) == 50.5 / 95.5
    assert (first_ap_loss(run), final_ap_loss(run), share_left(run)) == (1.5, 95.5, 95.5 / 1.5)
    # Of batches whose crops have no object the AP-loss is 0.
    empty_first = [{"global_step": step, "ap_loss": float(step > 1)} for step in range(1, 11)]
    assert math.isnan(share_left(make_run("b", {}, empty_first, "finished")))
