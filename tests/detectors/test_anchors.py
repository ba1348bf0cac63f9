"""Anchors on the pyramid levels."""

import torch

from src.detectors.anchors import make_anchors
from src.detectors.retinanet import ANCHORS_PER_CELL, anchor_grids


def test_anchor_sizes_counts_and_centres():
    levels = make_anchors(anchor_grids(512, 512))
    assert [len(level) for level in levels] == [6 * n * n for n in (64, 32, 16, 8, 4)]
    assert sum(len(level) for level in levels) == 32_736  # an image at 512 × 512, as in the paper's setting
    for level, stride in zip(levels, (8, 16, 32, 64, 128), strict=True):
        width, height = (level[:6, 2:] - level[:6, :2]).unbind(1)
        base = 4 * stride
        torch.testing.assert_close(width * height, torch.tensor([base**2] * 3 + [2 * base**2] * 3, dtype=torch.float))
        torch.testing.assert_close(height / width, torch.tensor([0.5, 1, 2] * 2))
        centres = (level[:, :2] + level[:, 2:]) / 2
        torch.testing.assert_close(centres[0], torch.tensor([stride / 2, stride / 2]))
        torch.testing.assert_close(centres[ANCHORS_PER_CELL], torch.tensor([1.5 * stride, stride / 2]))


def test_anchors_cover_images_that_are_not_square_and_coarse_levels_of_odd_sizes_round_up():
    levels = make_anchors(anchor_grids(160, 224))
    assert [len(level) // 6 for level in levels] == [20 * 28, 10 * 14, 5 * 7, 3 * 4, 2 * 2]
    last = torch.stack([(level[-1, :2] + level[-1, 2:]) / 2 for level in levels])
    torch.testing.assert_close(last, torch.tensor([[220, 156], [216, 152], [208, 144], [224, 160], [192, 192.0]]))
