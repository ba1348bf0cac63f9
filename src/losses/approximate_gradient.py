"""AP-loss optimised by an approximate gradient, the paper's first baseline for the optimisation (Section 4.2.3)."""

from torch import Tensor
from torch.distributed import ProcessGroup

from .batch import make_batch
from .checks import check_epsilon
from .compiling import evaluate, operator
from .outcome import Outcome
from .ranking import Slopes, smooth_outcome


def ap_approximate_gradient_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    epsilon: float = 1e-6,
    process_group: ProcessGroup | None = None,
) -> Tensor:
    """Return −log(AP + ε) of a smooth AP, with its true gradient (Henderson and Ferrari 2016, Song et al. 2016).

    The smooth AP is that of Equation 5 with the sigmoid f(x) = 1/(1 + exp(−2x/δ)) in place of the step function:
    the mean over the positives i of (1 + Σ_k f(s_k − s_i)) / (1 + Σ_k f(s_k − s_i) + Σ_j f(s_j − s_i)), with k ≠ i over
    the positives and j over the negatives. Value and gradient agree with the double sum to rounding, in
    O(|N| + |P| log |P|) time and O(|N| + |P|) memory.

    Args:
        logits: floating tensor of any shape and device, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: δ > 0, twice the scale of the sigmoid.
        epsilon: ε ≥ 0.
        process_group: see :func:`ap_loss`.

    Returns:
        The scalar loss; 0 with a zero gradient without positives. Logits that are not finite: see :func:`ap_loss`.

    Raises:
        TypeError, ValueError: as :func:`ap_loss` does, or epsilon < 0.
    """
    return evaluate("ap_approximate_gradient_loss", logits, targets, process_group, delta=delta, epsilon=epsilon)


@operator("ap_approximate_gradient_loss")
def _outcome(
    logits: Tensor, targets: Tensor, *, delta: float, epsilon: float, process_group: ProcessGroup | None
) -> Outcome:
    def ranks_to_loss(positives_above: Tensor, negatives_above: Tensor) -> tuple[Tensor, Slopes]:
        total = 1 + positives_above + negatives_above
        precision = (1 + positives_above) / total
        ap = precision.mean() + epsilon

        def slopes(incoming: Tensor) -> tuple[Tensor, Tensor]:
            by_precision = -incoming / ap / len(precision)
            by_total = -by_precision * (precision / total)
            return by_precision / total + by_total, by_total

        return -ap.log(), slopes

    check_epsilon(epsilon)
    batch = make_batch(logits, targets, "sigmoid", delta=delta, process_group=process_group)
    return batch if isinstance(batch, Outcome) else smooth_outcome(batch, ranks_to_loss)
