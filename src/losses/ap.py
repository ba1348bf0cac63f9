"""AP-loss (Section 3.1.2) with the error-driven update of Algorithm 1, exact and near-linear."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from . import gpu
from .batch import make_batch
from .checks import check_interpolated
from .compiling import evaluate, operator
from .outcome import Outcome
from .ranking import error_driven_outcome
from .step_functions import check_step


def ap_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    interpolated: bool = True,
    step: str = "piecewise",
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return AP-loss, 1 − AP (Equation 5), to be optimised by the error-driven update (Algorithm 1).

    All entries are ranked together, whatever their image or class, so pass a whole mini-batch. Takes
    O(|N| + |P| log |P|) time and O(|N| + |P|) memory; sums are float64.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: δ > 0, the half width of the piecewise step function (Equation 21), or twice the scale of the sigmoid.
        interpolated: whether to use interpolated precision, which is monotone in the score (Section 3.4.3).
        step: the step function in Equation 3, "piecewise", "heaviside" or "sigmoid"; see :func:`step_function`. In
            ties, "heaviside" ranks a negative above a positive, and a later positive above an earlier one.
        process_group: a group of torch.distributed, such as its ``group.WORLD``. The loss is then that of the logits
            of all its processes together, as if concatenated in rank order, and every process returns it. Each process
            gets its own part of the update in its ``logits.grad``, so gradients of shared parameters must be summed
            over the processes; torch's DistributedDataParallel averages them, so with it the loss must be multiplied
            by their number. Shapes may differ between processes, and a process may have no logits; dtypes and all
            other arguments must not differ. What is exchanged, only in the forward pass, does not grow with the
            number of negatives. An error raised on only one process leaves the others waiting.

    Returns:
        The scalar loss. ``backward()`` puts the update of Algorithm 1, not a derivative, into ``logits.grad``, times
        the incoming gradient. Without positives the loss is 0 and the update zero. A negative of −∞ ranks last; any
        other positive or negative that is not finite makes the loss and all updates NaN, except those of ignored
        entries.

    Raises:
        TypeError: logits are not float16, bfloat16, float32 or float64, targets are not numbers, delta is not a
            number, or process_group is no group that this process belongs to.
        LogitsTooLarge: a ValueError; delta is too small for the digits of the positives' logits.
        ValueError: shapes or devices differ, delta ≤ 0, no such step, interpolated is neither true nor false, or
            targets other than 1, 0 and −1. Triton kernels, which compute the loss on most CUDA devices, raise nothing
            for wrong values of targets or logits: loss and update are NaN.
    """
    return evaluate("ap_loss", logits, targets, process_group, step=step, delta=delta, interpolated=interpolated)


@operator("ap_loss")
def _outcome(
    logits: Tensor, targets: Tensor, *, step: str, delta: float, interpolated: bool, process_group: ProcessGroup | None
) -> Outcome:
    check_interpolated(interpolated)
    check_step(step, delta)
    if gpu.suits(logits, step, delta, process_group):
        return gpu.outcome("ap", logits, targets, step=step, delta=delta, interpolated=interpolated)

    def pair_weights(positives_above: Tensor, negatives_above: Tensor, _: int) -> tuple[Tensor, Tensor]:
        # One minus the precision at each positive, in ascending order of score (lines 9 and 10).
        miss = negatives_above / (1 + positives_above + negatives_above)
        losses = miss.cummin(0).values if interpolated else miss  # lines 11 to 15
        return losses, torch.where(negatives_above > 0, losses / negatives_above, 0)

    batch = make_batch(logits, targets, step, delta=delta, process_group=process_group)
    return batch if isinstance(batch, Outcome) else error_driven_outcome(batch, pair_weights)
