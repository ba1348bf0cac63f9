"""Training a linear model to rank separable points (Proposition 1)."""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src import losses
from src.config.linear import as_experiment
from src.config.registry import loss_call
from src.data.linear_problems import LinearProblem
from src.utils.errors import UserError


def build_loss(name: str, step: str, delta: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of (scores, targets) whose ``backward()`` is the method's update."""
    function, arguments = loss_call(as_experiment(name, step, delta))
    return functools.partial(getattr(losses, function), **arguments)


def descend(
    problem: LinearProblem, loss: Callable[[Tensor, Tensor], Tensor], learning_rate: float, steps: int
) -> Iterator[dict[str, float]]:
    """Repeat the update w ← w − learning_rate · gradient, in float64, until the AP-loss is 0 or the steps are done.

    Yields:
        At the start and after each step the true AP-loss 1 − AP (Equation 5 with the Heaviside step function, a tie
        counted as an error) as `ap_loss`, and the value of what is optimised as `loss`.

    Raises:
        UserError: the scores are no longer finite, or too large to be ranked.
    """
    weights = problem.start.clone().requires_grad_()
    for step in range(steps + 1):
        scores = problem.points @ weights
        if not scores.isfinite().all():
            raise UserError(f"scores are not finite after step {step}: try a smaller method.learning_rate")
        try:
            objective = loss(scores, problem.targets)
            true = losses.ap_loss(scores.detach(), problem.targets, interpolated=False, step="heaviside").item()
        except losses.LogitsTooLarge as error:
            raise UserError(f"after step {step}: {error}; or try a smaller method.learning_rate") from None
        yield {"ap_loss": true, "loss": objective.item()}
        if true == 0:
            return
        (gradient,) = torch.autograd.grad(objective, weights)
        weights = (weights.detach() - learning_rate * gradient).requires_grad_()
