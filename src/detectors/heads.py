"""Building blocks of detectors' heads."""

import math

import torch
from torch import Tensor, nn

PRIOR = 0.01  # the initial score of every (anchor, class)
PRIOR_BIAS = -math.log((1 - PRIOR) / PRIOR)


def convolution(channels: int, outputs: int, *, std: float, bias: float) -> nn.Conv2d:
    """Build a 3 × 3 convolution with normally distributed weights and a constant bias."""
    layer = nn.Conv2d(channels, outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=std)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, bias)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Build a group norm over groups of eight channels, or over all channels if eight does not divide them."""
    return nn.GroupNorm(1 if channels % 8 else channels // 8, channels)


def per_anchor(maps: Tensor, anchors_per_cell: int) -> Tensor:
    """Reshape a head's maps [B, anchors_per_cell · outputs, H, W] to [B, H · W · anchors_per_cell, outputs]."""
    return maps.permute(0, 2, 3, 1).reshape(len(maps), -1, maps.shape[1] // anchors_per_cell)


def apply_head(head: nn.Module, levels: list[Tensor], anchors_per_cell: int) -> Tensor:
    """Return the outputs of a head for all anchors of all levels, [B, A, outputs]."""
    return torch.cat([per_anchor(head(level), anchors_per_cell) for level in levels], dim=1)
