"""Algorithm 1 of the paper, line by line: slow, plain, and what every fast version is held against."""

import torch
from torch import Tensor

from .step_functions import step_function


def ap_loss_reference(
    logits: Tensor, targets: Tensor, *, delta: float = 1.0, interpolated: bool = True, step: str = "piecewise"
) -> tuple[Tensor, Tensor]:
    """Loss and update of Algorithm 1, by its loop over the positives, computed in float64.

    Arguments as :func:`src.losses.ap_loss`.

    Returns:
        The scalar loss 1 − AP, the mean of Σ_j L_ij over the positives (Equation 5), and the update g of the
        logits' shape. Both are float64, and zero where there are no positives.
    """
    s, t = logits.detach().double().flatten(), targets.flatten()
    g = torch.zeros_like(s)  # line 1
    loss = s.new_zeros(())
    max_prec = s.new_zeros(())  # line 2
    P = torch.nonzero(t == 1).flatten()  # line 3
    N = torch.nonzero(t == 0).flatten()
    if len(P) == 0:
        return loss, g.reshape(logits.shape)
    s_min = s[P].min()  # line 4
    N = N[s[N] >= s_min - {"piecewise": delta, "heaviside": 0, "sigmoid": torch.inf}[step]]  # line 5
    P = P[s[P].argsort(stable=True)]  # line 6
    for rank, i in enumerate(P):  # line 7
        x_P, x_N = s[P] - s[i], s[N] - s[i]  # line 8
        f_P, f_N = step_function(x_P, step, delta), step_function(x_N, step, delta)
        f_P[rank] = 0  # the sum of Equation 3 runs over k ≠ i
        if step == "heaviside":
            f_P[:rank] = 0  # equal positives are not above each other: the ranking is proper
        L = f_N / (1 + f_P.sum() + f_N.sum())  # line 9
        prec = 1 - L.sum()  # line 10
        if prec >= max_prec:  # line 11
            max_prec = prec  # line 12
        elif interpolated:  # line 13
            L = L * (1 - max_prec) / (1 - prec)  # line 14
        g[i] = -L.sum()  # line 16
        g[N] += L  # line 17
        loss += L.sum()
    return loss / len(P), (g / len(P)).reshape(logits.shape)  # line 19
