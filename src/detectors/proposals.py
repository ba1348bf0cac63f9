"""A region proposal network's choice of anchors: those of each image that most probably hold an object (Fig. 8b)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from src.detectors.targets import Targets


def propose(rpn: nn.Module, images: Tensor, count: int) -> Tensor:
    """Return which anchors of each image have the highest objectness, bool [B, A].

    Args:
        rpn: see :func:`objectness_of`, as for the images.
        count: of anchors in each image, over all levels together.
    """
    return torch.stack([top_anchors(objectness, count) for objectness in objectness_of(rpn, images)])


@torch.no_grad()
def objectness_of(rpn: nn.Module, images: Tensor) -> Tensor:
    """Return the logit of each anchor to hold an object, [B, A].

    Args:
        rpn: a frozen network from images to logits [B, A, 1] and offsets, which are not used.
        images: float32 [B, 3, H, W], normalised.
    """
    # One image at a time: in a batch its rounding may depend on the others, and so on the number of processes.
    return torch.cat([rpn(image)[0] for image in images.split(1)])[..., 0]


def top_anchors(objectness: Tensor, count: int) -> Tensor:
    """Return which anchors score highest, bool [A]; of equal scores the first anchors' count, on every device.

    Args:
        objectness: [A].
        count: of anchors; all if there are no more.
    """
    chosen = torch.zeros_like(objectness, dtype=torch.bool)
    chosen[objectness.argsort(descending=True, stable=True)[:count]] = True
    return chosen


def ignore_others(targets: Targets, proposed: Tensor) -> Targets:
    """Return the targets with all anchors ignored that are neither proposed nor positive.

    Args:
        targets: of B images with A anchors.
        proposed: bool [B, A].
    """
    others = ~(proposed | targets.positive)
    return replace(targets, classes=targets.classes.masked_fill(others[:, :, None], -1))
