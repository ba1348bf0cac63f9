"""The ranking losses as they are defined: plain, slow, in float64. Every fast version is tested against them.

Each function takes the arguments of the fast one except process_group, returns the same scalar loss, and has the same
``backward()``, so that one can replace the other. Logits must be finite.
"""

import torch
from torch import Tensor

from .checks import check_epsilon, check_inputs
from .outcome import fixed
from .step_functions import check_step, step_function


def ap_loss_reference(
    logits: Tensor, targets: Tensor, *, delta: float = 1.0, interpolated: bool = True, step: str = "piecewise"
) -> Tensor:
    """Return AP-loss with the update of Algorithm 1, line by line, as :func:`ap_loss` does; O(|P|(|P| + |N|)) time."""
    check_step(step, delta)
    targets = check_inputs(logits, targets)
    s, t = logits.detach().double().flatten(), targets.flatten()
    g = torch.zeros_like(s)  # line 1
    loss = s.new_zeros(())
    max_prec = s.new_zeros(())  # line 2
    P = torch.nonzero(t == 1).flatten()  # line 3
    N = torch.nonzero(t == 0).flatten()
    if len(P) == 0:
        return _loss_with_update(logits, loss, g)
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
    return _loss_with_update(logits, loss / len(P), g / len(P))  # line 19


def auc_loss_reference(logits: Tensor, targets: Tensor, *, delta: float = 1.0, step: str = "piecewise") -> Tensor:
    """Return AUC-loss (Equation 7) with its error-driven update, as :func:`auc_loss` does, by the matrix of all pairs.

    Takes O(|P||N|) time and memory.
    """
    check_step(step, delta)
    targets = check_inputs(logits, targets)
    s, t = logits.detach().double().flatten(), targets.flatten()
    P, N = t == 1, t == 0
    L = step_function(s[N] - s[P, None], step, delta)  # f(s_j − s_i) in [P, N]
    L = L / max(L.numel(), 1)
    g = torch.zeros_like(s)
    g[P] = -L.sum(1)
    g[N] = L.sum(0)
    return _loss_with_update(logits, L.sum(), g)


def ap_approximate_gradient_loss_reference(
    logits: Tensor, targets: Tensor, *, delta: float = 1.0, epsilon: float = 1e-6
) -> Tensor:
    """Return −log(AP + ε) of a smooth AP as :func:`ap_approximate_gradient_loss` does, by the matrix of all pairs.

    The gradient is autograd's. Takes O(|P|(|P| + |N|)) time and memory.
    """
    check_epsilon(epsilon)
    check_step("sigmoid", delta)
    targets = check_inputs(logits, targets)
    s, t = logits.double().flatten(), targets.flatten()
    P, N = s[t == 1], s[t == 0]
    if len(P) == 0:
        loss = P.sum()  # 0, with a zero gradient
    else:
        f_P = step_function(P - P[:, None], "sigmoid", delta) * (1 - torch.eye(len(P), device=P.device))  # k ≠ i
        f_N = step_function(N - P[:, None], "sigmoid", delta)
        rank = 1 + f_P.sum(1)
        loss = -((rank / (rank + f_N.sum(1))).mean() + epsilon).log()
    return loss.to(torch.promote_types(logits.dtype, torch.float32))


def ap_structured_hinge_loss_reference(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the structured hinge loss as :func:`ap_structured_hinge_loss` does, giving each negative its best place.

    What the objective gains when the m-th highest negative goes above the i-th highest positive does not depend on the
    places of the others. So a matrix [N, P + 1] holds each negative's gain at each place, above positive i and all
    below it, the last place being below all positives. Takes O(|P||N|) time and memory. Where several rankings are
    maximal the subgradient may be that of another one.
    """
    targets = check_inputs(logits, targets)
    s, t = logits.detach().double().flatten(), targets.flatten()
    P, N = torch.nonzero(t == 1).flatten(), torch.nonzero(t == 0).flatten()
    slope = torch.zeros_like(s)
    if len(P) == 0 or len(N) == 0:
        return _loss_with_update(logits, s.new_zeros(()), slope)
    P = P[s[P].argsort(descending=True, stable=True)]
    N = N[s[N].argsort(descending=True, stable=True)]
    i = torch.arange(1, len(P) + 1, dtype=s.dtype, device=s.device)
    m = torch.arange(1, len(N) + 1, dtype=s.dtype, device=s.device)[:, None]
    pairs = len(P) * len(N)
    # What 1 − AP rises by, and what F(s, R) does: R_ij goes from 1 to −1.
    gain = (i / (i + m - 1) - i / (i + m)) / len(P) + 2 / pairs * (s[N, None] - s[P])
    gains = torch.cat([gain.flip(1).cumsum(1).flip(1), gain.new_zeros(len(N), 1)], 1)
    best, place = gains.max(1)  # place: the number of positives above the negative
    slope[N] = 2 / pairs * (len(P) - place).double()
    slope[P] = -2 / pairs * (place[:, None] <= torch.arange(len(P), device=s.device)).sum(0).double()
    return _loss_with_update(logits, best.sum(), slope)


def _loss_with_update(logits: Tensor, loss: Tensor, update: Tensor) -> Tensor:
    """Return the loss in at least float32, whose ``backward()`` puts the float64 update [n] into ``logits.grad``."""
    loss = loss.to(torch.promote_types(logits.dtype, torch.float32))
    return fixed(loss, update.reshape(logits.shape)).of(logits)
