"""Means over seeds with their intervals, and tests of means and of their differences by Student's t."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
PAIRED, WELCH = "Paired t-test by seed", "Welch's t-test"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with half the width of its 95% interval, that of Student's t; NaN for a single seed."""

    mean: float
    half_width: float
    count: int


@dataclass(frozen=True)
class Difference:
    """Mean of `a` minus mean of `b` by one of two t-tests; interval and p are NaN if either has a single seed."""

    mean: float
    half_width: float
    p_greater: float  # one-sided p-value of "a is not greater than b"
    p_less: float
    counts: tuple[int, int]
    test: str  # PAIRED or WELCH

    @property
    def estimate(self) -> Estimate:
        """The difference as a number of a table."""
        return Estimate(self.mean, self.half_width, min(self.counts))


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value a seed, and its interval: mean ± t(0.975, n − 1) · s / √n."""
    count = len(values)
    mean = float(np.mean(values)) if count else math.nan
    if count < 2:
        return Estimate(mean, math.nan, count)
    # A curve has hundreds of them: scipy.stats would take a hundred times as long.
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error, count)


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Return the difference of two means over seeds, of values by their seeds.

    Where both have the same seeds it is tested in pairs: a seed's runs share initial weights and the order of images,
    and so part of the chance in their results. Otherwise it is Welch's test, of unequal variances.
    """
    x, y = (np.array([values[seed] for seed in sorted(values)], dtype=float) for values in (a, b))
    mean = float(np.mean(x) - np.mean(y)) if len(x) and len(y) else math.nan
    counts, test = (len(x), len(y)), PAIRED if a.keys() == b.keys() else WELCH
    if min(counts) < 2:
        return Difference(mean, math.nan, math.nan, math.nan, counts, test)
    if all(np.var(values, ddof=1) == 0 for values in ([x - y] if test == PAIRED else [x, y])):
        return Difference(mean, 0.0, float(mean <= 0), float(mean >= 0), counts, test)
    from scipy import stats  # only here, as it takes a second

    def t_test(alternative: str) -> Any:
        if test == PAIRED:
            return stats.ttest_rel(x, y, alternative=alternative)
        return stats.ttest_ind(x, y, equal_var=False, alternative=alternative)

    low, high = t_test("two-sided").confidence_interval(CONFIDENCE)
    p_greater, p_less = float(t_test("greater").pvalue), float(t_test("less").pvalue)
    return Difference(mean, float(high - low) / 2, p_greater, p_less, counts, test)


def p_values_of_bound(values: Sequence[float], bound: float) -> tuple[float, float]:
    """Return one-sided p-values of "the mean is not above the bound" and of "it is not below"; NaN for one value."""
    if len(values) < 2:
        return math.nan, math.nan
    if np.var(values, ddof=1) == 0:
        return float(np.mean(values) <= bound), float(np.mean(values) >= bound)
    from scipy import stats

    tests = [stats.ttest_1samp(values, bound, alternative=alternative) for alternative in ("greater", "less")]
    return float(tests[0].pvalue), float(tests[1].pvalue)
