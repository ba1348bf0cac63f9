"""Random ranking problems that cover what a detector can meet."""

import torch
from torch import Tensor

from tests.support.exhaustive import trials


def random_problem(seed: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, dict]:
    """Return logits, targets and keyword arguments; the seed picks the kind of problem and its numbers."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    kind = KINDS[seed % len(KINDS)]
    size = {THOUSANDS: 4000, "one positive": 3000}.get(kind, int(uniform(2, 400)))
    logits = torch.randn(size, generator=generator) * 10 ** uniform(-2, 1) + uniform(-5, 5)
    targets = torch.randint(-1, 2, (size,), generator=generator)
    if kind == "ties":
        logits = (logits * 2).round() / 2
    elif kind == "all scores equal":
        logits = torch.full((size,), uniform(-5, 5))
    elif kind == "one positive":
        targets = torch.zeros(size, dtype=torch.int64)
        targets[int(uniform(0, size))] = 1
    elif kind == THOUSANDS:
        targets = (torch.rand(size, generator=generator) < 0.4).long()
    elif kind == "no negatives":
        targets[targets == 0] = 1
    elif kind == "no positives":
        targets[targets == 1] = 0
    elif kind == "far apart":
        logits = logits.sign() * 10 ** (torch.rand(size, generator=generator) * 8 - 4)
    elif kind == "well ranked":
        logits = logits + 3 * targets
    elif kind == "few positives":
        targets[torch.rand(size, generator=generator) < 0.9] = 0
    elif kind == "spread by delta":
        logits = torch.randint(-8, 8, (size,), generator=generator) * 0.5
    delta = 10 ** uniform(-3, 1)
    if kind == "spread by delta":
        delta = [0.25, 0.5, 1.0, 2.0][seed % 4]  # scores lie exactly on the breakpoints s_i ± δ
    return logits.to(dtype), targets, {"delta": delta, "interpolated": (seed // len(KINDS)) % 2 == 0}


THOUSANDS = "thousands of positives"
KINDS = [
    "any",
    "ties",
    "all scores equal",
    "one positive",
    THOUSANDS,
    "no negatives",
    "no positives",
    "far apart",
    "well ranked",
    "few positives",
    "spread by delta",
]


def seeds(kind: int, few: int = 10, many: int = 60) -> list[int]:
    """Return the seeds of the random problems of a kind to try: some by default, more with `pytest --exhaustive`."""
    return [kind + trial * len(KINDS) for trial in trials(few, many)]


def loss_and_update(function, logits, targets, **arguments):
    logits = logits.clone().requires_grad_()
    loss = function(logits, targets, **arguments)
    loss.backward()
    return loss.detach(), logits.grad


def relative_error(actual, expected):
    difference = (actual.double() - expected.double()).norm()
    return (difference / expected.norm().clamp(min=1e-30)).item() if difference > 0 else 0.0


def small_problem(seed: int) -> tuple[Tensor, Tensor]:
    """Return float64 logits and targets of up to 4 positives, 5 negatives and 2 ignored, some with ties."""
    generator = torch.Generator().manual_seed(seed)
    counts = [int(torch.randint(0, most + 1, (), generator=generator)) for most in (5, 4, 2)]
    targets = torch.tensor([0] * counts[0] + [1] * counts[1] + [-1] * counts[2], dtype=torch.int64)
    targets = targets[torch.randperm(len(targets), generator=generator)]
    logits = torch.randn(len(targets), generator=generator, dtype=torch.float64)
    logits *= 10 ** (torch.rand((), generator=generator) * 3 - 1.5)
    if seed % 3 == 0:
        logits = (2 * logits).round() / 2
    return logits, targets
