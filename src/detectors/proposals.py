"""A region proposal network's proposals: the anchors of each image most likely to contain an object (Fig. 8b)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from src.detectors.targets import Targets


def propose(rpn: nn.Module, images: Tensor, count: int) -> Tensor:
    """Return which anchors of each image have the highest objectness, bool [B, A].

    Args:
        rpn, images: see :func:`objectness_of`.
        count: of anchors in each image, over all levels together.
    """
    return torch.stack([top_anchors(objectness, count) for objectness in objectness_of(rpn, images)])


@torch.no_grad()
def objectness_of(rpn: nn.Module, images: Tensor) -> Tensor:
    """Return each anchor's logit of containing an object, [B, A].

    Args:
        rpn: a frozen network from images to logits [B, A, 1] and offsets, which are not used.
        images: float32 [B, 3, H, W], normalised.
    """
    # One image at a time: in a batch, rounding may depend on the other images, and so on the number of processes.
    return torch.cat([rpn(image)[0] for image in images.split(1)])[..., 0]


def top_anchors(objectness: Tensor, count: int) -> Tensor:
    """Return which anchors score highest, bool [A]; ties go to the first anchors, on every device.

    Args:
        objectness: [A].
        count: of anchors; all are chosen if there are no more than that.
    """
    chosen = torch.zeros_like(objectness, dtype=torch.bool)
    chosen[objectness.argsort(descending=True, stable=True)[:count]] = True
    return chosen


def ignore_others(targets: Targets, proposed: Tensor) -> Targets:
    """Return the targets in which all anchors that are neither proposed nor positive are ignored.

    Args:
        targets: of B images with A anchors.
        proposed: bool [B, A].
    """
    others = ~(proposed | targets.positive)
    return replace(targets, classes=targets.classes.masked_fill(others[:, :, None], -1))
