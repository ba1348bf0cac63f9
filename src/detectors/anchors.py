"""Anchors of RetinaNet, level by level."""

import math

import torch
from torch import Tensor

STRIDES = (8, 16, 32, 64, 128)  # P3 to P7
SCALES = (1.0, math.sqrt(2.0))
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width
ANCHORS_PER_CELL = len(SCALES) * len(ASPECT_RATIOS)


def make_anchors(height: int, width: int, scale: float = 4.0, *, device: torch.device | str = "cpu") -> list[Tensor]:
    """Return the anchors of an image on each pyramid level (Section 4.1.1).

    At a stride s there are cells of s × s pixels, and about each cell's centre six anchors: three aspect ratios of area
    (scale · s)², and three of twice that area. torchvision's generator rounds anchors to whole pixels and centres them
    on the cells' corners; these are exact and centred on the cells, as in the official recipe.

    Args:
        height: of the padded image in pixels.
        width: of the padded image in pixels.
        scale: side of the smaller square anchors in strides.
        device: of the anchors.

    Returns:
        For each level a float32 tensor [cells · 6, 4] of (x1, y1, x2, y2) in pixels, ordered by row, column, anchor.
    """
    levels = []
    for stride in STRIDES:
        half = torch.tensor(_sides(scale), device=device) * (stride / 2)
        x = (torch.arange(math.ceil(width / stride), device=device) + 0.5) * stride
        y = (torch.arange(math.ceil(height / stride), device=device) + 0.5) * stride
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y], dim=-1)[:, :, None]
        levels.append(torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4))
    return levels


def closest_anchors(boxes: Tensor, height: int, width: int, scale: float = 4.0) -> tuple[Tensor, Tensor]:
    """Return for each box the highest IoU that an anchor has with it, and such an anchor.

    That is the maximum over all of `make_anchors`, found without computing these: of the anchors of one shape, the one
    whose centre is closest in both directions has the greatest intersection.

    Args:
        boxes: float32 [N, 4] in pixels, within the image.
        height: of the padded image in pixels.
        width: of the padded image in pixels.
        scale: side of the smaller square anchors in strides.

    Returns:
        IoUs [N] and anchors [N, 4].
    """
    candidates = []
    for stride in STRIDES:
        half = torch.tensor(_sides(scale)) * (stride / 2)
        cells = torch.tensor([math.ceil(width / stride), math.ceil(height / stride)])
        cell = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).floor().clamp(min=0).minimum(cells - 1)
        centres = ((cell + 0.5) * stride)[:, None]
        candidates.append(torch.cat([centres - half, centres + half], dim=-1))
    anchors = torch.cat(candidates, dim=1)  # [N, 30, 4]
    corner = anchors[..., :2].maximum(boxes[:, None, :2])
    end = anchors[..., 2:].minimum(boxes[:, None, 2:])
    intersection = (end - corner).clamp(min=0).prod(-1)
    areas = (anchors[..., 2:] - anchors[..., :2]).prod(-1) + (boxes[:, None, 2:] - boxes[:, None, :2]).prod(-1)
    iou, best = (intersection / (areas - intersection)).max(1)
    return iou, anchors[torch.arange(len(boxes)), best]


def _sides(scale: float) -> list[tuple[float, float]]:
    """Return the widths and heights of a cell's anchors in strides."""
    return [(scale * s / math.sqrt(r), scale * s * math.sqrt(r)) for s in SCALES for r in ASPECT_RATIOS]
