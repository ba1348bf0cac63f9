"""Random scores and targets that cover what a loss can meet."""

import torch
from torch import Tensor

CLASSES = 5


def ranking_problems(large: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return problems by kind: scores float32 [2, A, 5] and targets int8 of that shape, on the CPU.

    An anchor is positive for one class at most, so that the same targets suit `ohem_loss`.

    Args:
        large: how many scores the largest problem has, a multiple of 10.
    """
    generator = torch.Generator().manual_seed(0)
    scores, targets = _random_batch(200, generator)
    anchors_with_object = (targets == 1).any(2, keepdim=True)
    only_positives = torch.where(targets == 1, targets, -1)
    no_positives = torch.where(anchors_with_object, torch.zeros_like(targets), targets)
    return {
        "random": (scores, targets),
        "ties": ((2 * scores).round(), targets),
        "no positives": (scores, no_positives),
        "no negatives": (scores, only_positives),
        "all ignored": (scores, torch.full_like(targets, -1)),
        "not contiguous": (_transposed_in_memory(scores), _transposed_in_memory(targets)),
        "large": _random_batch(large // 10, generator),
    }


def with_background(scores: Tensor) -> Tensor:
    """Return scores [B, A, K] after a background score of 0, [B, A, K + 1], as `ohem_loss` takes them."""
    together = torch.cat([torch.zeros_like(scores[..., :1]), scores], dim=2)
    return together if scores.is_contiguous() else _transposed_in_memory(together)


def _random_batch(anchors: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw scores and targets of two images: 4% of the anchors are positive for a class, 5% are ignored."""
    scores = 1.5 * torch.randn(2, anchors, CLASSES, generator=generator) - 2
    kind = torch.rand(2, anchors, generator=generator)
    labels = torch.randint(CLASSES, (2, anchors), generator=generator)
    is_positive = torch.nn.functional.one_hot(labels, CLASSES).bool() & (kind < 0.04)[..., None]
    targets = is_positive.to(torch.int8)
    targets[kind > 0.95] = -1
    return scores + 2 * is_positive, targets


def _transposed_in_memory(x: Tensor) -> Tensor:
    return x.transpose(1, 2).contiguous().transpose(1, 2)
