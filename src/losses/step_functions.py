"""The step functions of score differences (Equations 4 and 21, Fig. 4)."""

import torch
from torch import Tensor

from .checks import LogitsTooLarge, check_number

STEPS = ("piecewise", "heaviside", "sigmoid")
# Outside this range float64 overflows or loses digits.
_DELTAS = (1e-100, 1e100)
# For a larger positive score s, in units of δ, s ± δ has too few digits in float64. At this limit f is right to 10⁻⁵.
LARGEST_IN_DELTAS = 2.0**36


def step_function(x: Tensor, step: str = "piecewise", delta: float = 1.0) -> Tensor:
    """Return f(x) for a difference of scores x = s_j − s_i, between 0 and 1.

    Args:
        x: floating tensor of any shape.
        step: "piecewise", clamp(x/2δ + ½, 0, 1) (Equation 21); "heaviside", 1 for x ≥ 0 (Equation 4); or "sigmoid",
            1/(1 + exp(−2x/δ)), whose slope at 0 is that of the piecewise step function with the same δ.
        delta: δ > 0; the Heaviside step function has none.

    Raises:
        ValueError: there is no such step function, or delta ≤ 0.
    """
    check_step(step, delta)
    if step == "heaviside":
        return torch.where(x.isnan(), x, (x >= 0).to(x.dtype))
    if step == "sigmoid":
        return torch.sigmoid(x * (2 / delta))
    return (x / (2 * delta) + 0.5).clamp(0, 1)


def check_step(step: str, delta: float) -> None:
    """Raise an error if there is no such step function, or δ is not a positive number, or is too extreme."""
    if step not in STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}, not {step!r}")
    check_number("delta", delta)
    if not delta > 0 or delta == float("inf"):
        raise ValueError(f"delta must be greater than 0 and finite, not {delta}")
    # As a number of Python's: NumPy's float32 would warn that 1e100 overflows.
    if not _DELTAS[0] <= float(delta) <= _DELTAS[1]:
        raise ValueError(f"delta must be from {_DELTAS[0]:g} to {_DELTAS[1]:g}, not {delta}")


def check_digits(step: str, delta: float, largest: float) -> None:
    """Raise LogitsTooLarge if float64 has too few digits for the positive of this magnitude and δ."""
    if step != "heaviside" and largest > LARGEST_IN_DELTAS * delta:
        raise LogitsTooLarge(
            f"delta={delta} is too small for a positive with a logit of magnitude {largest:g}: float64 has no digits "
            f"for their sum. It must be at least {largest / LARGEST_IN_DELTAS:.2g}; step='heaviside' has no delta"
        )
