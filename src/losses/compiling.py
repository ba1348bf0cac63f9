"""The losses inside torch.compile: each is one operator that is opaque to the compiler.

A loss branches on its data, which would otherwise break the graph and cause recompilation for other data.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import are_valid, check_differentiated_once, check_kinds, check_targets, signed_dtype, waits
from .outcome import Outcome

OutcomeFunction = Callable[..., Outcome]
_OUTCOMES: dict[str, OutcomeFunction] = {}
# Operator names are global in a process, in which this package may exist more than once under different names.
NAMESPACE = (__package__ or "aploss").replace(".", "_")


def operator(name: str) -> Callable[[OutcomeFunction], OutcomeFunction]:
    """Decorate a function of logits, targets, options and `process_group`, which `evaluate` then finds by this name."""

    def register(outcome: OutcomeFunction) -> OutcomeFunction:
        _OUTCOMES[name] = outcome
        return outcome

    return register


def evaluate(name: str, logits: Tensor, targets: Tensor, process_group: ProcessGroup | None, **options: Any) -> Tensor:
    """Return the loss of an outcome function as a function of the logits for autograd."""
    if not torch.compiler.is_compiling():
        return _evaluate_eagerly(name, logits, targets, process_group, options)
    if process_group is not None:  # no argument of an operator
        return torch.compiler.disable(_evaluate_eagerly)(name, logits, targets, process_group, options)
    for key in ("delta", "epsilon"):
        # As a text, a number that changes from call to call is a constant of the graph. Torch 2.15 may otherwise keep
        # an earlier call's, if it is computed from another: https://github.com/pytorch/pytorch/issues/197889
        if isinstance(options.get(key), (int, float)):
            options[key] = float(f"{options[key]}")
    loss, _ = _loss_and_update(logits, targets, name, **options)
    return loss


def _evaluate_eagerly(
    name: str, logits: Tensor, targets: Tensor, process_group: ProcessGroup | None, options: dict[str, Any]
) -> Tensor:
    check_kinds(logits, targets)
    outcome = _OUTCOMES[name]
    return outcome(logits.detach(), targets, process_group=process_group, **options).of(logits)


def checked_targets(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return what :func:`check_targets` returns, or raise its error, without breaking the compiler's graph; and 1.

    If reading the targets would wait for a GPU, wrong ones raise nothing, and NaN is returned in place of the 1.
    """
    one = torch.ones((), device=targets.device)
    if waits(targets):
        return targets.view(signed_dtype(targets)), torch.where(are_valid(targets), one, torch.nan)
    return _checked_targets(targets) if torch.compiler.is_compiling() else check_targets(targets), one


@torch.library.custom_op(f"{NAMESPACE}::checked_targets", mutates_args=())
def _checked_targets(targets: Tensor) -> Tensor:
    return check_targets(targets).clone()  # an operator returns no input of its own


@_checked_targets.register_fake
def _(targets: Tensor) -> Tensor:
    return torch.empty_like(targets, dtype=signed_dtype(targets))


@torch.library.custom_op(f"{NAMESPACE}::loss_and_update", mutates_args=())
def _loss_and_update(
    logits: Tensor,
    targets: Tensor,
    name: str,
    step: str = "",
    delta: float = 0.0,
    interpolated: bool = False,
    epsilon: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Return the loss, and its update for an incoming gradient of 1 in at least float32."""
    outcome = _OUTCOMES[name]
    options = {"step": step, "delta": delta, "interpolated": interpolated, "epsilon": epsilon}
    taken = inspect.signature(outcome).parameters
    options = {option: value for option, value in options.items() if option in taken}
    result = outcome(logits, targets, process_group=None, **options)
    update = result.gradient(torch.ones_like(result.loss), result.loss.dtype, *result.tensors)
    return result.loss, update.contiguous()  # as registered below; the compiler relies on it


@_loss_and_update.register_fake
def _(logits: Tensor, targets: Tensor, name: str, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return logits.new_empty((), dtype=dtype), logits.new_empty(logits.shape, dtype=dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.dtype = inputs[0].dtype
    ctx.save_for_backward(output[1])


def _backward(ctx: Any, incoming: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    check_differentiated_once()
    (update,) = ctx.saved_tensors
    return (update * incoming).to(ctx.dtype), *[None] * 6


_loss_and_update.register_autograd(_backward, setup_context=_keep)
