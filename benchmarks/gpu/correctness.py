"""Every loss and method on the device, against the same function in float64 on the CPU.

The reference gets the very numbers that the device gets: logits rounded to float32, float16 or bfloat16. Losses compute
in float32 or float64 and return float32; updates are rounded once more, to the dtype of the logits. So of a loss the
relative error may be ROUNDINGS · 2⁻²⁴, the roundings of a short float32 computation, and that of an update may be as
large plus one rounding of the logits' dtype: 2⁻²⁴, 2⁻¹¹ or 2⁻⁸.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.part import PartOptions, PartResult, run_part
from benchmarks.gpu.problems import ranking_problems, with_background
from src.costs.table import Table
from src.losses import (
    STEPS,
    ap_approximate_gradient_loss,
    ap_loss,
    ap_structured_hinge_loss,
    auc_loss,
    focal_loss,
    ohem_loss,
)
from src.losses.bucketed import ap_loss_bucketed

Loss = Callable[[Tensor, Tensor], Tensor]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
ROUNDINGS = 16
FLOAT32_ROUNDING = 2.0**-24
SMALLEST = 1e-9  # errors of losses and updates below this are relative to it: what is 0 may be 1e-17 in float64
LARGEST_UPDATE = 1024.0  # in float16 larger than its smallest normal number by far, and far from its largest


@dataclass
class Errors:
    """The largest relative errors of a loss on all problems."""

    loss: float = 0.0
    update: float = 0.0
    problems: int = 0

    def include(self, loss: float, update: float) -> None:
        """Take the errors on one more problem into account; a NaN counts as infinite."""
        self.loss = max(self.loss, math.inf if math.isnan(loss) else loss)
        self.update = max(self.update, math.inf if math.isnan(update) else update)
        self.problems += 1


def measure(options: PartOptions) -> PartResult:
    """Compare all losses in all dtypes on all problems."""
    problems = ranking_problems(large=2_000 if options.quick else 200_000)
    deltas = (1.0,) if options.quick else (0.25, 1.0, 4.0)
    rows: list[list[str]] = []
    values: dict[str, Any] = {}
    failures: list[str] = []
    for (name, losses), (dtype_name, dtype) in itertools.product(losses_by_name(deltas).items(), DTYPES.items()):
        errors = compare(name, losses, problems, dtype, torch.device(options.device))
        loss_tolerance = ROUNDINGS * FLOAT32_ROUNDING
        update_tolerance = loss_tolerance + torch.finfo(dtype).eps / 2
        passed = errors.loss <= loss_tolerance and errors.update <= update_tolerance
        cells = [f"{x:.1e}" for x in (errors.loss, loss_tolerance, errors.update, update_tolerance)]
        rows.append([name, dtype_name, str(errors.problems), *cells, "yes" if passed else "NO"])
        values[f"{name}, {dtype_name}"] = {
            "problems": errors.problems,
            "loss_error": errors.loss,
            "loss_tolerance": loss_tolerance,
            "update_error": errors.update,
            "update_tolerance": update_tolerance,
        }
        print(*rows[-1], flush=True)
        if not passed:
            failures.append(f"{name} in {dtype_name} differs from float64 on the CPU by more than rounding")
    header = ["function", "logits", "problems", "error of loss", "at most", "error of update", "at most", "passed"]
    title = f"Largest relative errors on {options.device}, against the same function in float64 on the CPU"
    return PartResult([Table(title, header, rows)], values, failures)


def losses_by_name(deltas: tuple[float, ...]) -> dict[str, list[Loss]]:
    """Return for each row of the table the loss with all combinations of its options."""
    rows: dict[str, list[Loss]] = {}
    for step in STEPS:
        step_deltas = (1.0,) if step == "heaviside" else deltas  # it has no δ
        rows[f"ap_loss step={step}"] = [
            functools.partial(ap_loss, step=step, delta=delta, interpolated=interpolated)
            for delta, interpolated in itertools.product(step_deltas, (True, False))
        ]
        rows[f"auc_loss step={step}"] = [functools.partial(auc_loss, step=step, delta=delta) for delta in step_deltas]
    rows["ap_approximate_gradient_loss"] = [
        functools.partial(ap_approximate_gradient_loss, delta=delta) for delta in deltas
    ]
    rows["ap_structured_hinge_loss"] = [ap_structured_hinge_loss]
    rows["ap_loss_bucketed"] = [functools.partial(ap_loss_bucketed, delta=delta) for delta in deltas]
    rows["focal_loss"] = [focal_loss]
    rows["ohem_loss"] = [ohem_loss]
    return rows


def compare(
    name: str, losses: list[Loss], problems: dict[str, tuple[Tensor, Tensor]], dtype: torch.dtype, device: torch.device
) -> Errors:
    """Return the largest errors of a loss with all its options on all problems."""
    errors = Errors()
    for loss, (kind, (scores, targets)) in itertools.product(losses, problems.items()):
        logits = (with_background(scores) if name == "ohem_loss" else scores).to(dtype)
        expected_loss, expected = loss_and_update(loss, logits.double(), targets)
        scale = power_of_two_below(LARGEST_UPDATE / max(expected.abs().max().item(), SMALLEST))
        value, update = loss_and_update(loss, logits.to(device), targets.to(device), scale)
        update = update.cpu().double() / scale
        if name == "ohem_loss" and kind == "ties":
            # Which of equally hard negatives count is left open: the updates are the same up to their order.
            expected, update = expected.flatten().sort().values, update.flatten().sort().values
        errors.include(relative_error(value.cpu().double(), expected_loss), relative_error(update, expected))
    return errors


def loss_and_update(loss: Loss, logits: Tensor, targets: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return a loss and its update, which is that of the loss times `scale`, as under a gradient scaler."""
    logits = logits.detach().requires_grad_()
    value = loss(logits, targets)
    (value * scale).backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


def power_of_two_below(x: float) -> float:
    """Return the largest power of two that is at most x: multiplying by it rounds nothing."""
    return 2.0 ** math.floor(math.log2(x))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of what is expected, both float64."""
    return ((actual - expected).norm() / expected.norm().clamp(min=SMALLEST)).item()


if __name__ == "__main__":
    run_part(measure)
