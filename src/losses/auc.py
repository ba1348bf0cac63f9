"""AUC-loss (Equation 7) with the error-driven update, exact and near-linear."""

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from . import gpu
from .batch import make_batch
from .compiling import evaluate, operator
from .outcome import Outcome
from .ranking import error_driven_outcome
from .step_functions import check_step


def auc_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    step: str = "piecewise",
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return AUC-loss, the mean of f(s_j − s_i) over all pairs of a positive i and a negative j (Equation 7).

    Arguments, update, cost and errors are those of :func:`ap_loss`.
    """
    return evaluate("auc_loss", logits, targets, process_group, step=step, delta=delta)


@operator("auc_loss")
def _outcome(
    logits: Tensor, targets: Tensor, *, step: str, delta: float, process_group: ProcessGroup | None
) -> Outcome:
    check_step(step, delta)
    if gpu.suits(logits, step, delta, process_group):
        return gpu.outcome("auc", logits, targets, step=step, delta=delta)

    def pair_weights(_: Tensor, negatives_above: Tensor, negatives: int) -> tuple[Tensor, Tensor]:
        weight = 1 / max(negatives, 1)
        return negatives_above * weight, torch.full_like(negatives_above, weight)

    batch = make_batch(logits, targets, step, delta=delta, process_group=process_group)
    return batch if isinstance(batch, Outcome) else error_driven_outcome(batch, pair_weights)
