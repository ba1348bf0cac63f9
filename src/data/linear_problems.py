"""Linearly separable data and a start for a linear model s = ⟨w, x⟩, on which Proposition 1 can be tried."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearProblem:
    """n points in d dimensions, that some linear w ranks perfectly."""

    points: Tensor  # float64 [n, d], the x
    targets: Tensor  # int64 [n], 1 positive, 0 negative
    start: Tensor  # float64 [d], the w to start from
    separator: Tensor  # float64 [d], a w that ranks every positive above every negative


def build_problem(name: str, **options: Any) -> LinearProblem:
    """Build the problem of that name; `local_optimum` uses no options."""
    return random_problem(**options) if name == "random" else local_optimum()


def random_problem(
    seed: int, dimensions: int, positives: int, negatives: int, margin: float, start_scale: float
) -> LinearProblem:
    """Normal points, of which those that are highest along a random direction are the positives.

    Args:
        seed: of the points, the direction and the start.
        dimensions: d of the points.
        positives, negatives: how many there are of each.
        margin: how far the positives are moved along that direction, so that this at least separates the two classes.
        start_scale: standard deviation of the start's entries, normal as well.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points, direction = normal(positives + negatives, dimensions), normal(dimensions)
    direction /= direction.norm()
    points = points[(points @ direction).argsort(descending=True)]
    points[:positives] += margin * direction
    return LinearProblem(points, _targets(positives, negatives), start_scale * normal(dimensions), direction)


def local_optimum() -> LinearProblem:
    """Fifteen points in the plane that gradient descent on the smoothed AP never separates, from w = (1, 0).

    Ten negatives lie at the origin, four positives at (1, 0) and one at (−2, 1). Where |w₂| ≤ w₁ and w₁ > 0, the four
    rank above the negatives by w₁ and the fifth ranks below them by 2w₁ − w₂ ≥ w₁: the AP-loss is 10/15 · 1/5 = 2/15.
    The smoothed step function is steepest at equal scores. So the fifth positive pulls w along its (−2, 1) about as
    hard as each of the four along (1, 0), and the less the further it is behind: its error is so great that it does not
    count. The sum of all pulls, 4 (1, 0) + (−2, 1) where they are equal, is a direction with |g₂| ≤ g₁ again; the tests
    check it on a grid over it, pulls between positives included. So a step of any length from the cone ends in it,
    whatever the learning rate, and whatever δ, as w and δ can be scaled together. The cone holds a local optimum of the
    smoothed AP, at infinity in the direction (1, 0), and no solution.

    The error-driven update is greatest where the error is: only the fifth positive gives one, 2/15 · (−2, 1), until it
    has passed the negatives. The direction (1, 3) ranks all positives above all negatives.
    """
    points = torch.tensor([[1, 0]] * 4 + [[-2, 1]] + [[0, 0]] * 10, dtype=torch.float64)
    start, separator = torch.tensor([[1, 0], [1, 3]], dtype=torch.float64)
    return LinearProblem(points, _targets(5, 10), start, separator)


def _targets(positives: int, negatives: int) -> Tensor:
    return torch.tensor([1] * positives + [0] * negatives)
