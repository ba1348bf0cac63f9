"""Means over seeds with their intervals, and differences of two means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with half the width of its 95% interval, that of Student's t; NaN for a single seed."""

    mean: float
    half_width: float
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value a seed, and its interval: mean ± t(0.975, n − 1) · s / √n."""
    count = len(values)
    mean = float(np.mean(values)) if count else math.nan
    if count < 2:
        return Estimate(mean, math.nan, count)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    return Estimate(mean, float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error, count)


PAIRED, WELCH = "Paired t-test by seed", "Welch's t-test"


@dataclass(frozen=True)
class Difference:
    """Mean of `a` less mean of `b` by one of two t-tests; interval and p are NaN if either has a single seed."""

    mean: float
    half_width: float
    p_greater: float  # one-sided p-value of "a is not greater than b"
    p_less: float
    counts: tuple[int, int]
    test: str  # PAIRED or WELCH

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.mean, self.half_width, min(self.counts))


def difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """The difference of two means over seeds, of values by their seeds.

    Where both have the same seeds it is tested in pairs: a seed's runs have initial weights and the order of images in
    common, and so part of what chance does to them. Otherwise it is Welch's test, of unequal variances.
    """
    x, y = (np.array([values[seed] for seed in sorted(values)], dtype=float) for values in (a, b))
    mean = float(np.mean(x) - np.mean(y)) if len(x) and len(y) else math.nan
    counts, test = (len(x), len(y)), PAIRED if a.keys() == b.keys() else WELCH
    if min(counts) < 2:
        return Difference(mean, math.nan, math.nan, math.nan, counts, test)
    parts = [float(np.var(z, ddof=1)) / len(z) for z in ([x - y] if test == PAIRED else [x, y])]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Difference(mean, 0.0, float(mean <= 0), float(mean >= 0), counts, test)
    freedom = sum(parts) ** 2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=False))
    half_width = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    p_less = float(stdtr(freedom, mean / error))
    return Difference(mean, half_width, float(stdtr(freedom, -mean / error)), p_less, counts, test)


def above(values: Sequence[float], bound: float) -> tuple[float, float]:
    """One-sided p-values by Student's t of "the mean is not above the bound" and of "it is not below"; NaN for one."""
    if len(values) < 2:
        return math.nan, math.nan
    distance, error = float(np.mean(values)) - bound, float(np.std(values, ddof=1)) / math.sqrt(len(values))
    if error == 0:
        return float(distance <= 0), float(distance >= 0)
    t = distance / error
    return float(stdtr(len(values) - 1, -t)), float(stdtr(len(values) - 1, t))
