"""The error-driven update itself, for any activation function (Section 3.2)."""

from typing import Any

import torch
from torch import Tensor

from .checks import check_differentiated_once


def error_driven(inputs: Tensor, outputs: Tensor, desired: Tensor) -> Tensor:
    """Return the error of an activation function, whose ``backward()`` is the error-driven update and not a derivative.

    The update Δx = L* − L of Equation 8 takes the place of a gradient: −Δx is put into ``inputs.grad`` and propagated
    further back by the chain rule, as in Equation 13. To ignore an output, make it equal to the desired one.

    With the differences x_ij = s_j − s_i as inputs and the L_ij of Equation 3 as outputs, desired to be 0 where
    y_ij = 1, this gives |P| times the update of Algorithm 1 without interpolation, at the cost of the whole matrix,
    which :func:`ap_loss` avoids. With softmax as the activation function it gives the gradient of the cross-entropy,
    with a step function at margin 1 that of the hinge loss (Observation 1).

    Args:
        inputs: floating tensor of any shape, the x.
        outputs: tensor of that shape, L(x); a step function's may be bools or integers.
        desired: tensor of that shape, L*.

    Returns:
        The sum of |L* − L|, a scalar in at least float32.

    Raises:
        ValueError: the shapes differ.
    """
    if not inputs.shape == outputs.shape == desired.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (inputs, outputs, desired))
        raise ValueError(f"inputs, outputs and desired differ in shape: {shapes}")
    dtype = torch.promote_types(inputs.dtype, torch.float32)
    return _ErrorDriven.apply(inputs, (outputs.to(dtype) - desired.to(dtype)).detach())


class _ErrorDriven(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, error: Tensor) -> Tensor:
        ctx.save_for_backward(error)
        return error.abs().sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        check_differentiated_once()
        (error,) = ctx.saved_tensors
        return error * gradient, None
