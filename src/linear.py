"""Proposition 1 as one can run it: a linear model learns to rank. `python -m src.linear --help` tells the knobs."""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from src import losses
from src.cli import command
from src.config import loss_function
from src.distributed import Processes
from src.errors import UserError
from src.files import write_atomically, write_json
from src.lifecycle import Hold, attempt
from src.linear_config import as_experiment, linear_run_id, register, resolve, scientific
from src.linear_problems import LinearProblem, local_optimum, random_problem
from src.tracking import Tracker, environment

logger = logging.getLogger(__name__)
register()


def build_problem(name: str, **knobs: Any) -> LinearProblem:
    """The problem of that name; `local_optimum` uses no knobs."""
    return random_problem(**knobs) if name == "random" else local_optimum()


def build_loss(name: str, step: str, delta: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of (scores, targets) whose ``backward()`` is the method's update."""
    function, arguments = loss_function(as_experiment(name, step, delta))
    return functools.partial(getattr(losses, function), **arguments)


def descend(
    problem: LinearProblem, loss: Callable[[Tensor, Tensor], Tensor], learning_rate: float, steps: int
) -> Iterator[dict[str, float]]:
    """The update w ← w − learning_rate · gradient, in float64, until the AP-loss is exactly 0 or the steps are done.

    Yields:
        At the start and after each step the true AP-loss 1 − AP (Equation 5 with the Heaviside step function, a tie
        counted as an error), as `ap_loss`, and what is optimised, as `loss`.

    Raises:
        UserError: the weights are no longer finite.
    """
    weights = problem.start.clone().requires_grad_()
    for step in range(steps + 1):
        scores = problem.points @ weights
        if not scores.isfinite().all():
            raise UserError(f"scores are not finite after step {step}: try a smaller method.learning_rate")
        objective = loss(scores, problem.targets)
        true = losses.ap_loss(scores.detach(), problem.targets, interpolated=False, step="heaviside").item()
        yield {"ap_loss": true, "loss": objective.item()}
        if true == 0:
            return
        (gradient,) = torch.autograd.grad(objective, weights)
        weights = (weights.detach() - learning_rate * gradient).requires_grad_()


def run(config: DictConfig) -> Path:
    """Descends as the configuration says, unless that has been done, and returns the run's folder."""
    config = resolve(config)
    directory, known = Path(config.outputs, linear_run_id(config)), scientific(config)
    name = " ".join(str(value) for group in ("problem", "method") for value in known[group].values())
    if (directory / "summary.json").exists():
        logger.info("%s is finished: %s", name, directory)
    else:
        attempt(directory, name, functools.partial(work, config, directory, name), Processes(), config.retry)
    return directory


def work(config: DictConfig, directory: Path, name: str, hold: Hold) -> None:
    """The run itself, from a resolved configuration."""
    begun = time.time()
    problem = build_problem(**config.problem)
    method = {key: value for key, value in config.method.items() if key != "learning_rate"}
    facts = {"run_id": directory.name, "environment": environment(torch.device("cpu"))}
    write_atomically(directory / "config.yaml", lambda file: OmegaConf.save(config, file))
    with Tracker(directory, name, {**OmegaConf.to_container(config), **facts}, **config.wandb) as tracker:
        for values in descend(problem, build_loss(**method), config.method.learning_rate, config.steps):
            hold.check()
            tracker.log(values)
            tracker.step += 1
    reached = tracker.step - 1 if values["ap_loss"] == 0 else None
    metrics = {**values, "steps_to_zero": reached}
    write_json(directory / "summary.json", {"name": name, "metrics": metrics, **facts, "seconds": time.time() - begun})
    outcome = f"{values['ap_loss']:.4f} after {config.steps} steps" if reached is None else f"0 after {reached} steps"
    logger.info("AP-loss %s (%s): %s", outcome, name, directory)


main = command(run, resolve, "linear")

if __name__ == "__main__":
    main()
