"""The losses by their definitions, over all pairs or all rankings, in float64: independent of the code under test."""

import itertools
import math

import torch
from torch import Tensor


def f(x: float, step: str, delta: float) -> float:
    if step == "heaviside":
        return float(x >= 0)
    if step == "sigmoid":
        return 1 / (1 + math.exp(-2 * x / delta)) if x > -300 * delta else 0.0
    return 0.0 if x < -delta else 1.0 if x > delta else x / (2 * delta) + 0.5


def split(logits: Tensor, targets: Tensor) -> tuple[list[int], list[int], list[float]]:
    """Return the indices of the positives and of the negatives, and the scores."""
    positives = [i for i, t in enumerate(targets.tolist()) if t == 1]
    negatives = [i for i, t in enumerate(targets.tolist()) if t == 0]
    return positives, negatives, logits.double().tolist()


def pair_loss(name: str, logits: Tensor, targets: Tensor, step: str, delta: float, interpolated: bool = False):
    """Return value and update of AP-loss or AUC-loss by the double loop (Equations 3, 5, 7, 14, 21)."""
    positives, negatives, s = split(logits, targets)
    update = torch.zeros(len(s), dtype=torch.float64)
    if not positives:
        return 0.0, update

    def is_above(k: int, i: int) -> float:
        if step == "heaviside" and s[k] == s[i]:
            return float(k > i)  # equal positives: the later one is above
        return f(s[k] - s[i], step, delta)

    rows = {}
    for i in positives:
        row = [f(s[j] - s[i], step, delta) for j in negatives]
        above = sum(is_above(k, i) for k in positives if k != i)
        rows[i] = [x / (1 + above + sum(row) if name == "ap" else len(negatives)) for x in row]
    if interpolated:
        best = 0.0
        for i in sorted(positives, key=lambda i: (s[i], i)):
            precision = 1 - sum(rows[i])
            if precision < best:
                rows[i] = [x * (1 - best) / (1 - precision) for x in rows[i]]
            best = max(best, precision)
    for i, row in rows.items():
        update[i] -= sum(row) / len(positives)
        for j, x in zip(negatives, row, strict=True):
            update[j] += x / len(positives)
    return sum(map(sum, rows.values())) / len(positives), update


def smooth_ap_loss(logits: Tensor, targets: Tensor, delta: float, epsilon: float) -> tuple[float, Tensor]:
    """Return −log(AP + ε) with the sigmoid, and its gradient by autograd through the matrix of all pairs."""
    s = logits.double().clone().requires_grad_()
    positives, negatives = s[targets == 1], s[targets == 0]
    if len(positives) == 0:
        return 0.0, torch.zeros_like(s)
    f_P = torch.sigmoid((positives[None] - positives[:, None]) * 2 / delta)
    f_P = f_P * (1 - torch.eye(len(positives)))
    f_N = torch.sigmoid((negatives[None] - positives[:, None]) * 2 / delta)
    rank_P = 1 + f_P.sum(1)
    loss = -((rank_P / (rank_P + f_N.sum(1))).mean() + epsilon).log()
    loss.backward()
    return loss.item(), s.grad


def structured_hinge(logits: Tensor, targets: Tensor) -> tuple[float, list[Tensor]]:
    """Return the structured hinge loss by trying every ranking, and the subgradients of all maximal ones."""
    positives, negatives, s = split(logits, targets)
    candidates = []
    if not positives or not negatives:
        return 0.0, [torch.zeros(len(s), dtype=torch.float64)]
    for places in itertools.combinations(range(len(positives) + len(negatives)), len(positives)):
        # Among positives and among negatives a maximal ranking follows the scores.
        order = iter(sorted(positives, key=lambda i: -s[i])), iter(sorted(negatives, key=lambda j: -s[j]))
        ranking = [next(order[0] if place in places else order[1]) for place in range(len(positives) + len(negatives))]
        precisions, seen, slope = [], [], torch.zeros(len(s), dtype=torch.float64)
        for place, entry in enumerate(ranking):
            if entry in positives:
                precisions.append((len(precisions) + 1) / (place + 1))
                for j in seen:
                    slope[j] += 2 / (len(positives) * len(negatives))
                    slope[entry] -= 2 / (len(positives) * len(negatives))
            else:
                seen.append(entry)
        value = 1 - sum(precisions) / len(precisions) + float(slope @ torch.tensor(s, dtype=torch.float64))
        candidates.append((value, slope))
    best = max(value for value, _ in candidates)
    return best, [slope for value, slope in candidates if value >= best - 1e-9 * max(1, abs(best))]
