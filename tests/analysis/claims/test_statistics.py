"""The statistics behind the verdicts, by hand and by their formulas."""

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from analysis.artefacts.statistics import PAIRED, WELCH, difference, p_values_of_bound
from analysis.claims.cost_rules import exponent, residual


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
    same = difference({0: 5.0, 1: 6.0}, {0: 4.0, 1: 5.0})
    assert (same.mean, same.half_width, same.p_greater, same.p_less) == (1.0, 0.0, 0.0, 1.0)


def test_statistics_by_hand():
    # Mean 3, s = 1, n = 3, against 1: t = 2·√3 = 3.4641, of which Student's t with two degrees leaves 0.0371.
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
