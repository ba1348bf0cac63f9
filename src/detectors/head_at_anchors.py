"""The outputs of a convolutional head at selected anchors only.

Only positive anchors have a box loss, and they are few. With L convolutions of 3 × 3, their offsets depend only on
cells at most L cells away. So in training the head need not be computed on the rest of the maps, forward or backward.
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from src.detectors.heads import apply_head

MOST_CELLS = 0.5  # share of all cells; with more, gathering them would save little


def head_at_anchors(head: nn.Sequential, levels: list[Tensor], wanted: Tensor) -> Tensor:
    """Return a head's outputs for the anchors of all levels, or 0 for anchors in cells without a wanted one.

    The outputs equal those of the head on the whole maps, up to rounding. The head is applied to the whole maps if most
    cells are near a wanted anchor, if none is, or if a layer depends on whole maps, as a norm does.

    Args:
        head: 3 × 3 convolutions, each padded by one cell, and ReLUs.
        levels: maps [B, C, H, W].
        wanted: bool [B, A], the anchors of all levels in the order of :func:`src.detectors.heads.per_anchor`.

    Returns:
        [B, A, outputs].
    """
    convolutions = [layer for layer in head if isinstance(layer, nn.Conv2d)]
    sizes = tuple((level.shape[2], level.shape[3]) for level in levels)
    cells = len(levels[0]) * sum(height * width for height, width in sizes)
    if all(isinstance(layer, nn.Conv2d | nn.ReLU) for layer in head):
        neighbours = _neighbours_in_batch(sizes, len(levels[0]))
        needed = _needed_cells(wanted.view(cells, -1).any(1).nonzero().squeeze(1), neighbours, len(convolutions))
        if 0 < sum(map(len, needed)) <= MOST_CELLS * cells * len(convolutions):
            outputs = _apply(head, levels, needed, neighbours)
            return outputs.view(*wanted.shape, -1)
    return apply_head(head, levels, wanted.numel() // cells)


def _needed_cells(wanted: Tensor, neighbours: Tensor, convolutions: int) -> list[Tensor]:
    """Return the cells at which each convolution must be computed, sorted; the last one at the wanted cells."""
    needed = [wanted]
    for _ in range(convolutions - 1):
        around = neighbours[needed[0]].unique()
        needed.insert(0, around[around < len(neighbours)])
    return needed


def _apply(head: nn.Sequential, levels: list[Tensor], needed: list[Tensor], neighbours: Tensor) -> Tensor:
    """Return the head's outputs at all cells [cells, outputs], 0 where they were not needed."""
    maps = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    values = torch.cat(maps, dim=1).flatten(0, 1)
    places = torch.arange(len(neighbours) + 1, device=values.device)  # of each cell in `values`
    following = iter(needed)
    for layer in head:
        if not isinstance(layer, nn.Conv2d):
            values = layer(values)
            continue
        cells = next(following)
        padded = torch.cat([values, values.new_zeros(1, values.shape[1])])  # last: everything outside the maps
        around = padded.index_select(0, places[neighbours[cells]].flatten()).view(len(cells), -1)
        values = linear(around, layer.weight.permute(0, 2, 3, 1).flatten(1), layer.bias)
        places = places.new_full((len(neighbours) + 1,), len(cells))
        places[cells] = torch.arange(len(cells), device=values.device)
    outputs = values.new_zeros(len(neighbours), values.shape[1])
    return outputs.index_copy(0, needed[-1], values)


@functools.lru_cache(maxsize=8)
def _neighbours_in_batch(sizes: tuple[tuple[int, int], ...], images: int) -> Tensor:
    """Return for each cell of the maps of all images its 3 × 3 neighbours, int64 [cells, 9].

    Cells are numbered image by image, then level by level; the total number of cells stands for outside a map.
    """
    cells = sum(height * width for height, width in sizes)
    tables, first = [], 0
    for height, width in sizes:
        numbers = torch.arange(first, first + height * width).view(height, width)
        padded = nn.functional.pad(numbers, (1, 1, 1, 1), value=-1)
        tables.append(padded.unfold(0, 3, 1).unfold(1, 3, 1).reshape(-1, 9))
        first += height * width
    table = torch.cat(tables)
    starts = torch.arange(0, images * cells, cells)[:, None, None]
    return torch.where(table < 0, images * cells, table + starts).flatten(0, 1)
