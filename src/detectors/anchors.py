"""Anchors: boxes of a few shapes centred on the cells of several grids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorGrid:
    """The anchors of one level: at each cell of a grid, a box of each shape.

    The cell in row i and column j has its centre at ((j + offset) · stride, (i + offset) · stride).
    """

    rows: int
    columns: int
    stride: int  # pixels
    shapes: Tensor  # float32 [n, 2]: width and height in pixels
    offset: float = 0.5


def make_anchors(grids: Sequence[AnchorGrid], device: torch.device | str = "cpu") -> list[Tensor]:
    """Return the anchors of each grid.

    Returns:
        For each grid a float32 tensor [rows · columns · n, 4] of (x1, y1, x2, y2) in pixels, ordered by row, column,
        shape.
    """
    levels = []
    for grid in grids:
        half = grid.shapes.to(device) / 2
        x = (torch.arange(grid.columns, device=device) + grid.offset) * grid.stride
        y = (torch.arange(grid.rows, device=device) + grid.offset) * grid.stride
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y], dim=-1)[:, :, None]
        levels.append(torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4))
    return levels


def closest_anchors(boxes: Tensor, grids: Sequence[AnchorGrid]) -> tuple[Tensor, Tensor]:
    """Return for each box the highest IoU of any anchor with it, and an anchor that has it.

    This is the maximum over all anchors of `make_anchors`, found without computing them: of the anchors of one shape,
    the one whose centre is closest in both directions has the largest intersection.

    Args:
        boxes: float32 [N, 4] in pixels.

    Returns:
        IoUs [N] and anchors [N, 4].
    """
    candidates = []
    for grid in grids:
        half = grid.shapes / 2
        last = torch.tensor([grid.columns - 1, grid.rows - 1])
        position = (boxes[:, :2] + boxes[:, 2:]) / 2 / grid.stride + (0.5 - grid.offset)
        cell = position.floor().clamp(min=0).minimum(last)
        centres = ((cell + grid.offset) * grid.stride)[:, None]
        candidates.append(torch.cat([centres - half, centres + half], dim=-1))
    anchors = torch.cat(candidates, dim=1)  # [N, shapes of all grids, 4]
    corner = anchors[..., :2].maximum(boxes[:, None, :2])
    end = anchors[..., 2:].minimum(boxes[:, None, 2:])
    intersection = (end - corner).clamp(min=0).prod(-1)
    areas = (anchors[..., 2:] - anchors[..., :2]).prod(-1) + (boxes[:, None, 2:] - boxes[:, None, :2]).prod(-1)
    iou, best = (intersection / (areas - intersection)).max(1)
    return iou, anchors[torch.arange(len(boxes)), best]
