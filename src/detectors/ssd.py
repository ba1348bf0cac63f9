"""SSD512: VGG-16, seven maps of decreasing resolution, and default boxes sized as fractions of the image."""

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from src.detectors.anchors import AnchorGrid
from src.detectors.backbones import Weights
from src.detectors.detector import Detector
from src.detectors.heads import PRIOR_BIAS, convolution, group_norm, per_anchor
from src.detectors.postprocess import detect_by_class
from src.detectors.targets import assign_targets, match_bipartite
from src.detectors.vgg import NORMALISATIONS, build_vgg

# Of conv4_3, conv7, conv8_2 … conv12_2: strides, and the aspect ratios whose inverses are default boxes too.
STRIDES = (8, 16, 32, 64, 128, 256, 512)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
L2_SCALE = 20.0  # to which the L2 norm of conv4_3's 512 features is set at first


def build_ssd(options: Mapping[str, Any], image_size: int) -> Detector:
    """Build SSD from the options of conf/model/ssd.yaml.

    Args:
        options: the configuration's `model`.
        image_size: side of the training images, on which the number of levels and the default boxes depend.
    """
    levels = number_of_levels(image_size)
    network = {key: options[key] for key in ("weights", "normalisation", "channels")}
    shapes = default_box_shapes(image_size, options["scales"])
    return Detector(
        build_network=partial(SSD, levels=levels, **network),
        grids=partial(default_box_grids, shapes=shapes),
        detect=partial(detect_by_class, candidates_per_class=options["candidates_per_class"]),
        assign_targets=partial(assign_targets, match=match_bipartite),
        normalisation=NORMALISATIONS[options["normalisation"]],
        size_option=f"model.scales={list(options['scales'])}",
        scales_with_images=True,
    )


def map_sizes(side: int) -> list[int]:
    """Return how many cells each of the seven maps has along a side of so many pixels; 0 where the map vanishes."""
    sizes = [side // 8, side // 16]
    for _ in range(4):
        sizes.append(math.ceil(sizes[-1] / 2))
    return [*sizes, sizes[-1] - 1]


def number_of_levels(image_size: int) -> int:
    """Return the number of maps up to the first one-cell map, at most seven: all of them at 512 pixels."""
    sizes = map_sizes(image_size)
    return sizes.index(1) + 1 if 1 in sizes else len(sizes)


def default_box_shapes(image_size: int, scales: Sequence[float]) -> list[Tensor]:
    """Return the widths and heights of the default boxes of each level.

    At level k there are a square of side s_k, one of side √(s_k s_{k+1}), and for each aspect ratio r a wide and a tall
    box of area s_k². The sides s_k are spread evenly from the second level to the last.

    Args:
        image_size: side of the training images in pixels.
        scales: s_k of the first, the second and the last level, as fractions of the image's side.

    Returns:
        For each level float32 [4 or 6, 2], in pixels.
    """
    levels = number_of_levels(image_size)
    first, second, last = scales
    step = (last - second) / (levels - 2)
    sides = [image_size * s for s in (first, *(second + k * step for k in range(levels)))]
    shapes = []
    for ratios, (side, next_side) in zip(RATIOS, itertools.pairwise(sides), strict=False):
        between = math.sqrt(side * next_side)
        of_level = [(side, side), (between, between)]
        for ratio in ratios:
            long, short = side * math.sqrt(ratio), side / math.sqrt(ratio)
            of_level += [(long, short), (short, long)]
        shapes.append(torch.tensor(of_level))
    return shapes


def default_box_grids(height: int, width: int, shapes: Sequence[Tensor]) -> list[AnchorGrid]:
    """Return the grids of default boxes for images of this size.

    Args:
        height: of the padded image in pixels.
        width: of the padded image in pixels.
        shapes: of the boxes on each level.
    """
    rows_and_columns = zip(map_sizes(height), map_sizes(width), strict=True)
    grids = zip(rows_and_columns, STRIDES, shapes, strict=False)
    return [
        AnchorGrid(rows, columns, stride, of_level) for (rows, columns), stride, of_level in grids if rows * columns
    ]


class SSD(nn.Module):
    """SSD with a 3 × 3 convolution for the classes and one for the boxes on each map.

    Args:
        outputs: per default box: K, or K + 1 with the background first.
        levels: number of maps.
        weights: of VGG-16, see :func:`build_vgg`. With None, all layers but the last are normalised.
        normalisation: of the images, see :func:`build_vgg`.
        channels: of VGG-16's first stage.

    Raises:
        UserError: the weights are not available, or do not fit.
    """

    def __init__(
        self, outputs: int, *, levels: int, weights: Weights, normalisation: str = "imagenet", channels: int = 64
    ) -> None:
        super().__init__()
        self.vgg = build_vgg(weights, normalisation, channels)
        widths = [*self.vgg.out_channels, 8 * channels, *[4 * channels] * 4][:levels]
        # With fewer features the norm is smaller, so that each feature keeps its published magnitude.
        self.scale = nn.Parameter(torch.full((widths[0],), L2_SCALE * math.sqrt(widths[0] / 512)))
        self.extras = nn.ModuleList()
        for level in range(2, levels):
            kernel, stride = (4, 1) if level == len(STRIDES) - 1 else (3, 2)
            width = widths[level]
            narrow = nn.Conv2d(widths[level - 1], width // 2, kernel_size=1)
            convolutions = narrow, nn.Conv2d(width // 2, width, kernel, stride, padding=1)
            self.extras.append(nn.Sequential(*(_initialised(c, with_norm=weights is None) for c in convolutions)))
        self.boxes_per_cell = [2 + 2 * len(ratios) for ratios in RATIOS[:levels]]
        heads = list(zip(widths, self.boxes_per_cell, strict=True))
        self.classification = nn.ModuleList(convolution(w, n * outputs, std=0.01, bias=PRIOR_BIAS) for w, n in heads)
        self.regression = nn.ModuleList(convolution(w, n * 4, std=0.01, bias=0.0) for w, n in heads)

    @property
    def backbone(self) -> nn.Module:
        """The layers whose learning rate `schedule.backbone_rate` sets."""
        return self.vgg

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and box offsets of every default box.

        Args:
            images: float [B, 3, H, W], normalised; H and W multiples of 32.

        Returns:
            Logits [B, A, outputs] and offsets [B, A, 4], in the order of :func:`default_box_grids`.
        """
        maps = self.maps(images)
        heads = zip(maps, self.classification, self.regression, self.boxes_per_cell, strict=False)
        outputs = [(per_anchor(c(x), count), per_anchor(r(x), count)) for x, c, r, count in heads]
        logits, offsets = zip(*outputs, strict=True)
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps on which boxes are predicted, fewer than in training where an image is small."""
        conv4_3, x = self.vgg(images)
        maps = [self.scale[:, None, None] * normalize(conv4_3.float(), dim=1), x]
        for extra in self.extras:
            if extra[1][0].kernel_size[0] > min(x.shape[-2:]) + 2:  # type: ignore[index]
                break  # a smaller image than in training: the map vanishes
            x = extra(x)
            maps.append(x)
        return maps


def _initialised(convolution: nn.Conv2d, *, with_norm: bool) -> nn.Sequential:
    """Initialise a convolution as SSD does, and return it with its norm, if there is one, and its ReLU."""
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    norm = [group_norm(convolution.out_channels)] if with_norm else []
    return nn.Sequential(convolution, *norm, nn.ReLU(inplace=True))
