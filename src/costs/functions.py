"""The functions whose cost is measured, by the names of their rows."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from src.costs.problems import Problem, ProblemSize, make_problem
from src.losses import ap_approximate_gradient_loss, ap_loss, ap_structured_hinge_loss, auc_loss, ohem_loss
from src.losses.bucketed import ap_loss_bucketed
from src.losses.reference import ap_loss_reference

FOCAL, FOCAL_COMPILED, BUCKETED = "sigmoid_focal_loss", "sigmoid_focal_loss compiled", "ap_loss_bucketed"
FLOOR, LOOP = "memory-bandwidth floor", "loop of Algorithm 1"


def _with_backward(loss: Callable[[Problem], Tensor]) -> Callable[[Problem], object]:
    return lambda problem: loss(problem).backward()


@functools.cache
def _compiled_focal_loss() -> Callable[..., Tensor]:
    # One kernel per size: a kernel for any size would be slower, and focal loss should be at its best here.
    return torch.compile(sigmoid_focal_loss, dynamic=False)


FUNCTIONS: dict[str, Callable[[Problem], object]] = {
    FOCAL: _with_backward(lambda p: sigmoid_focal_loss(p.logits, p.positive, reduction="sum")),
    FOCAL_COMPILED: _with_backward(lambda p: _compiled_focal_loss()(p.logits, p.positive, reduction="sum")),
    "ap_loss": _with_backward(lambda p: ap_loss(p.logits, p.targets)),
    "auc_loss": _with_backward(lambda p: auc_loss(p.logits, p.targets)),
    "ap_loss step=heaviside": _with_backward(lambda p: ap_loss(p.logits, p.targets, step="heaviside")),
    "ap_loss step=sigmoid": _with_backward(lambda p: ap_loss(p.logits, p.targets, step="sigmoid")),
    "ap_approximate_gradient_loss": _with_backward(lambda p: ap_approximate_gradient_loss(p.logits, p.targets)),
    "ap_structured_hinge_loss": _with_backward(lambda p: ap_structured_hinge_loss(p.logits, p.targets)),
    "ohem_loss": _with_backward(lambda p: ohem_loss(p.with_background, p.targets)),
    BUCKETED: _with_backward(lambda p: ap_loss_bucketed(p.logits, p.targets)),
    FLOOR: lambda p: p.destination.copy_(p.source),
    LOOP: _with_backward(lambda p: ap_loss_reference(p.logits, p.targets)),
}
OPTIONAL = (FOCAL_COMPILED, LOOP)  # rows that are measured only if an option asks for them


def why_not_compiled(size: ProblemSize, device: torch.device) -> str | None:
    """Return why torch cannot compile focal loss on a device, in one line; None if it can.

    Args:
        size: of a problem that will be measured, as each size is compiled by itself.
    """
    problem = make_problem(size, device)
    try:
        FUNCTIONS[FOCAL_COMPILED](problem)
    except RuntimeError as error:  # what torch raises where a compiler is missing or fails
        return next(line for line in str(error).splitlines() if line.strip())
    return None


def bucketed_error(logits: Tensor, targets: Tensor, delta: float = 1.0) -> float:
    """Return the relative error of the bucketed approximation's update.

    It is the norm of the difference from the exact update without interpolation, over the norm of that update.
    """
    exact = _update(functools.partial(ap_loss, interpolated=False, delta=delta), logits, targets)
    approximate = _update(functools.partial(ap_loss_bucketed, delta=delta), logits, targets)
    return ((approximate - exact).norm() / exact.norm()).item()


def _update(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor) -> Tensor:
    scores = logits.detach().clone().requires_grad_()
    loss(scores, targets).backward()
    assert scores.grad is not None
    return scores.grad.double()
