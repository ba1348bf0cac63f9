"""Linearly separable data and initial weights for a linear model s = ⟨w, x⟩, for trying out Proposition 1."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearProblem:
    """n points in d dimensions that some linear w ranks perfectly."""

    points: Tensor  # float64 [n, d], the x
    targets: Tensor  # int64 [n], 1 positive, 0 negative
    start: Tensor  # float64 [d], the initial w
    separator: Tensor  # float64 [d], a w that ranks every positive above every negative


def build_problem(name: str, **options: Any) -> LinearProblem:
    """Build the problem of that name; `local_optimum` uses no options."""
    return random_problem(**options) if name == "random" else local_optimum()


def random_problem(
    seed: int, dimensions: int, positives: int, negatives: int, margin: float, start_scale: float
) -> LinearProblem:
    """Draw normally distributed points, and make those highest along a random direction the positives.

    Args:
        seed: of the points, the direction and the initial weights.
        dimensions: d of the points.
        positives: number of positive points.
        negatives: number of negative points.
        margin: how far the positives are moved along the direction, which is the least gap between the two classes.
        start_scale: standard deviation of the initial weights, which are normally distributed too.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points, direction = normal(positives + negatives, dimensions), normal(dimensions)
    direction /= direction.norm()
    points = points[(points @ direction).argsort(descending=True)]
    points[:positives] += margin * direction
    return LinearProblem(
        points,
        targets=_targets(positives, negatives),
        start=start_scale * normal(dimensions),
        separator=direction,
    )


def local_optimum() -> LinearProblem:
    """Return fifteen points in the plane that gradient descent on the smoothed AP, from w = (1, 0), never separates.

    Ten negatives lie at the origin, four positives at (1, 0) and one at (−2, 1). Where |w₂| ≤ w₁ and w₁ > 0, the four
    rank above the negatives by w₁ and the fifth ranks below them by 2w₁ − w₂ ≥ w₁: the AP-loss is 10/15 · 1/5 = 2/15.
    The smoothed step function is steepest at equal scores. So the fifth positive pulls w along (−2, 1) about as hard as
    each of the four along (1, 0), and less hard the further it ranks below the negatives: the greater its error, the
    smaller its gradient. The sum of all pulls, 4 (1, 0) + (−2, 1) where they are equal, is again a direction with
    |g₂| ≤ g₁; the tests check this on a grid over the cone, pulls between positives included. So a step of any length
    from the cone ends in it, whatever the learning rate, and whatever δ, as w and δ can be scaled together. The cone
    holds a local optimum of the smoothed AP, at infinity in the direction (1, 0), and no solution.

    The error-driven update is greatest where the error is: until the fifth positive has passed the negatives, it alone
    gives an update, 2/15 · (−2, 1). The direction (1, 3) ranks all positives above all negatives.
    """
    points = torch.tensor([[1, 0]] * 4 + [[-2, 1]] + [[0, 0]] * 10, dtype=torch.float64)
    start, separator = torch.tensor([[1, 0], [1, 3]], dtype=torch.float64)
    return LinearProblem(points, targets=_targets(5, 10), start=start, separator=separator)


def _targets(positives: int, negatives: int) -> Tensor:
    return torch.tensor([1] * positives + [0] * negatives)
