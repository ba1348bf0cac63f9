"""Algorithm 1 of the paper, line by line: slow, plain, and what every fast version is held against."""

import torch
from torch import Tensor


def ap_loss_reference(
    logits: Tensor, targets: Tensor, *, delta: float = 1.0, interpolated: bool = True
) -> tuple[Tensor, Tensor]:
    """Loss and update of Algorithm 1, by its loop over the positives, computed in float64.

    Args:
        logits: floating tensor of any shape, the raw scores s.
        targets: tensor of the same shape; 1 positive, 0 negative, −1 ignored.
        delta: half width δ > 0 of the piecewise step function (Equation 21).
        interpolated: whether precision is made monotone in the score, as in lines 11–15.

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
    N = N[s[N] > s_min - delta]  # line 5
    for i in P[s[P].argsort()]:  # lines 6 and 7
        x_P, x_N = s[P] - s[i], s[N] - s[i]  # line 8
        f_P, f_N = step(x_P, delta), step(x_N, delta)
        f_P[i == P] = 0  # the sum of Equation 3 runs over k ≠ i
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


def step(x: Tensor, delta: float) -> Tensor:
    """The piecewise step function f of Equation 21."""
    return (x / (2 * delta) + 0.5).clamp(0, 1)
