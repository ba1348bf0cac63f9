"""The error-driven update of a ranking loss, and losses of smooth ranks with their true gradient."""

from collections.abc import Callable

import torch
from torch import Tensor

from .batch import Batch, Negatives
from .outcome import Outcome

# From the positives and the negatives above each positive, and |N|: Σ_j L_ij and w_i.
PairWeights = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
# From the incoming gradient, a float64 scalar: the gradients in the positives and in the negatives above each positive.
Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]


def error_driven_outcome(batch: Batch, pair_weights: PairWeights) -> Outcome:
    """Return a weighted sum of f(s_j − s_i) over pairs, with the update of Equation 14 as its gradient.

    The update of positive i is −Σ_j L_ij / |P| and that of negative j is Σ_i L_ij / |P|, with L_ij = w_i f(s_j − s_i).

    Args:
        batch: with any step function.
        pair_weights: takes, for the positives in ascending order of score, Σ_k≠i f(s_k − s_i) over the positives and
            Σ_j f(s_j − s_i) over the negatives, both float64 [P], and |N|. Returns Σ_j L_ij and w_i, float64 [P].

    Returns:
        The mean of Σ_j L_ij over the positives, a scalar.
    """
    pair_sums, shape, index, among_all = batch.pair_sums, batch.shape, batch.index, batch.among_all
    negatives_above = pair_sums.over(batch.moments)
    losses, weights = pair_weights(pair_sums.over_positives(), negatives_above, batch.number_of_negatives)
    polynomials = pair_sums.polynomials(weights / len(weights))

    def update(incoming: Tensor, dtype: torch.dtype, *tensors: Tensor) -> Tensor:
        negatives = Negatives(*tensors)
        scaled = [coefficient * incoming for coefficient in polynomials]
        result = negatives.spread(negatives.evaluate(pair_sums, scaled, dtype), shape.numel())
        result[index] = (losses * (-incoming / len(losses))).to(dtype)[among_all]
        return result.view(shape)

    return Outcome(losses.mean().to(batch.loss_dtype), update, _tensors(batch.negatives))


def smooth_outcome(batch: Batch, ranks_to_loss: Callable[[Tensor, Tensor], tuple[Tensor, Slopes]]) -> Outcome:
    """Return a function of the positives' ranks, with the sigmoid as step function, and its true gradient.

    Args:
        batch: made with step "sigmoid".
        ranks_to_loss: takes Σ_k≠i f(s_k − s_i) over the positives and Σ_j f(s_j − s_i) over the negatives, in ascending
            order of s_i; both float64 [P]. Returns a scalar and its slopes in both. In a process group these are the
            same on all processes.
    """
    pair_sums, shape, index, among_all = batch.pair_sums, batch.shape, batch.index, batch.among_all
    moments = batch.moments
    loss, slopes_in_ranks = ranks_to_loss(pair_sums.over_positives(), pair_sums.over(moments))

    def gradient(incoming: Tensor, dtype: torch.dtype, *tensors: Tensor) -> Tensor:
        by_positives, by_negatives = slopes_in_ranks(incoming.double())
        slopes = pair_sums.derivative()
        positives, cells = slopes.positives, slopes.cells_of_positives()
        negatives = Negatives(*tensors)
        at_negatives = negatives.evaluate(slopes, slopes.polynomials(by_negatives), dtype)
        result = negatives.spread(at_negatives, shape.numel())
        # f'(s_i − s_i) is in the first line and in the last, and cancels.
        at_positives = slopes.evaluate(slopes.polynomials(by_positives), positives, cells)
        at_positives -= by_negatives * slopes.over(moments)
        at_positives -= by_positives * slopes.over(slopes.moments(positives, cells))
        result[index] = at_positives.to(dtype)[among_all]
        return result.view(shape)

    return Outcome(loss.to(batch.loss_dtype), gradient, _tensors(batch.negatives))


def _tensors(negatives: Negatives) -> tuple[Tensor | None, ...]:
    return negatives.scores, negatives.cells, negatives.selected
