"""SSD's default boxes against the published numbers, and its network against them."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from src.detectors.detector import build_detector
from src.detectors.ssd import SSD, default_box_shapes, map_sizes, number_of_levels
from src.losses import ohem_loss, softmax_scores

# Liu et al. for VOC at 512 × 512: cells along a side, stride, sides of the small square here and on the next level,
# and the aspect ratios.
PUBLISHED = [
    (64, 8, 35.84, 76.8, (2,)),
    (32, 16, 76.8, 153.6, (2, 3)),
    (16, 32, 153.6, 230.4, (2, 3)),
    (8, 64, 230.4, 307.2, (2, 3)),
    (4, 128, 307.2, 384.0, (2, 3)),
    (2, 256, 384.0, 460.8, (2,)),
    (1, 512, 460.8, 537.6, (2,)),
]
PUBLISHED_COCO = [20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72]
VOC_SCALES = [0.07, 0.15, 0.9]
OPTIONS = {
    "name": "ssd",
    "weights": None,
    "normalisation": "imagenet",
    "channels": 2,
    "scales": VOC_SCALES,
    "score_threshold": 0.01,
    "candidates_per_class": 400,
    "nms_iou": 0.5,
    "max_detections": 200,
}


def test_default_boxes_are_the_published_ones():
    levels = build_detector(OPTIONS, 512).anchors(512, 512)
    assert [len(level) for level in levels] == [16_384, 6_144, 1_536, 384, 96, 16, 4]
    assert sum(len(level) for level in levels) == 24_564
    for boxes, (cells, stride, side, next_side, ratios) in zip(levels, PUBLISHED, strict=True):
        shapes = [(side, side), (math.sqrt(side * next_side),) * 2]
        for ratio in ratios:
            root = math.sqrt(ratio)
            shapes += [(side * root, side / root), (side / root, side * root)]
        by_cell = boxes.reshape(cells, cells, len(shapes), 4)
        torch.testing.assert_close(
            by_cell[..., 2:] - by_cell[..., :2], torch.tensor(shapes).expand(cells, cells, -1, 2)
        )
        centres = (by_cell[..., :2] + by_cell[..., 2:]) / 2
        expected = (torch.arange(cells) + 0.5) * stride
        torch.testing.assert_close(centres[:, 0, 0, 1], expected)
        torch.testing.assert_close(centres[0, :, 0, 0], expected)
        torch.testing.assert_close(centres[0, :, -1, 0], expected)


def test_default_boxes_are_those_of_torchvision_with_the_published_sizes():
    scales = [side / 512 for _, _, side, _, _ in PUBLISHED] + [537.6 / 512]
    generator = DefaultBoxGenerator(
        [list(ratios) for *_, ratios in PUBLISHED], scales=scales, steps=[p[1] for p in PUBLISHED], clip=False
    )
    maps = [torch.zeros(1, 1, cells, cells) for cells, *_ in PUBLISHED]
    (expected,) = generator(ImageList(torch.zeros(1, 3, 512, 512), [(512, 512)]), maps)
    torch.testing.assert_close(torch.cat(build_detector(OPTIONS, 512).anchors(512, 512)), expected, rtol=0, atol=1e-3)


def test_the_sizes_published_for_coco_are_one_option_away():
    shapes = default_box_shapes(512, [0.04, 0.1, 0.9])
    assert [float(level[0, 0]) for level in shapes] == pytest.approx(PUBLISHED_COCO[:-1])
    assert float(shapes[-1][1, 0]) == pytest.approx(math.sqrt(PUBLISHED_COCO[-2] * PUBLISHED_COCO[-1]))


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        (32, [4, 2, 1]),
        (64, [8, 4, 2, 1]),
        (96, [12, 6, 3, 2, 1]),
        (160, [20, 10, 5, 3, 2, 1]),
        (320, [40, 20, 10, 5, 3, 2, 1]),
        (544, [68, 34, 17, 9, 5, 3, 2]),
    ],
)
def test_small_images_have_no_map_after_one_of_a_single_cell(size, cells):
    assert number_of_levels(size) == len(cells) and map_sizes(size)[: len(cells)] == cells
    shapes = default_box_shapes(size, VOC_SCALES)
    assert len(shapes) == len(cells)
    sides = [float(level[0, 0]) / size for level in shapes]
    assert sides[0] == pytest.approx(0.07) and sides[1] == pytest.approx(0.15) and sides[-1] == pytest.approx(0.9)


# The training size, and the size of images seen later: as large, larger, not square, and so small that maps vanish.
@pytest.mark.parametrize(
    ("trained", "height", "width"),
    [(512, 512, 512), (512, 800, 544), (96, 96, 160), (512, 64, 64), (512, 128, 320), (32, 32, 32)],
)
def test_outputs_match_the_default_boxes_of_images_of_any_size(trained, height, width):
    torch.manual_seed(0)
    detector = build_detector(OPTIONS, trained)
    network = detector.build_network(3).eval()
    with torch.no_grad():
        logits, offsets = network(torch.randn(2, 3, height, width))
    levels = detector.anchors(height, width)
    count = sum(len(level) for level in levels)
    assert logits.shape == (2, count, 3) and offsets.shape == (2, count, 4)
    torch.testing.assert_close((levels[0][-1, :2] + levels[0][-1, 2:]) / 2, torch.tensor([width - 4.0, height - 4.0]))


def test_outputs_start_from_the_prior():
    torch.manual_seed(0)
    network = SSD(20, levels=5, weights=None, channels=16).eval()
    with torch.no_grad():
        logits, offsets = network(torch.randn(2, 3, 96, 96))
    assert logits.sigmoid().median().item() == pytest.approx(0.01, rel=0.1)
    assert offsets.abs().mean() < 0.5


def test_outputs_are_in_the_order_of_the_default_boxes():
    """A change in one region of the image moves the scores of boxes near it most."""
    torch.manual_seed(0)
    detector = build_detector(OPTIONS | {"channels": 4}, 256)
    network = detector.build_network(1).eval()
    image = torch.zeros(1, 3, 256, 256)
    changed = image.clone()
    changed[:, :, 24:40, 200:216] = 3
    with torch.no_grad():
        difference = (network(changed)[0] - network(image)[0]).abs()[0, :, 0]
    first = detector.anchors(256, 256)[0]
    centre = (first[:, :2] + first[:, 2:])[difference[: len(first)].argmax()] / 2
    assert abs(centre[0] - 208) < 40 and abs(centre[1] - 32) < 40


def test_conv4_3_is_normalised_to_its_scale():
    torch.manual_seed(0)
    for channels, norm in ((64, 20.0), (16, 10.0)):
        network = SSD(2, levels=3, weights=None, channels=channels).eval()
        with torch.no_grad():
            norms = network.maps(torch.randn(1, 3, 32, 32))[0].norm(dim=1)
        torch.testing.assert_close(norms, torch.full_like(norms, norm))
        assert network.scale.requires_grad and network.scale.shape == (8 * channels,)


def test_without_pretrained_weights_all_layers_but_the_heads_are_normalised():
    network = SSD(2, levels=7, weights=None, channels=2)
    convolutions = [m for part in (network.vgg, network.extras) for m in part.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))]
    assert len(convolutions) == len(norms) == 15 + 10
    assert all(p.requires_grad for p in network.parameters())


def ohem_by_definition(logits, targets, negatives_per_positive):
    """Return −log p of the class of each positive box and of the background of each image's hardest negatives."""
    total, positives = 0.0, 0
    for image in range(len(logits)):
        log_p = logits[image].double().log_softmax(-1)
        own = [(box, row.index(1) + 1) for box, row in enumerate(targets[image].tolist()) if 1 in row]
        negative = sorted(float(-log_p[box, 0]) for box, row in enumerate(targets[image].tolist()) if 1 not in row)
        total += sum(float(-log_p[box, label]) for box, label in own)
        total += sum(negative[::-1][: negatives_per_positive * len(own)])
        positives += len(own)
    return total / positives


def test_the_loss_with_ohem_is_that_of_its_definition_on_k_plus_1_outputs():
    torch.manual_seed(0)
    detector = build_detector(OPTIONS, 64)
    images, boxes = torch.randn(3, 3, 64, 64), [torch.tensor([[4.0, 4, 20, 24], [30, 20, 60, 60]]), torch.zeros(0, 4)]
    boxes.append(torch.tensor([[10.0, 30, 26, 44]]))
    labels = [torch.tensor([1, 0]), torch.zeros(0, dtype=torch.int64), torch.tensor([2])]
    logits, _ = detector.build_network(3 + 1)(images)
    anchors = torch.cat(detector.anchors(64, 64))
    targets = detector.assign_targets(anchors, boxes, labels, classes=3)
    assert len(targets.boxes) >= 3 and not (targets.classes == -1).any()
    expected = ohem_by_definition(logits.detach(), targets.classes, 3)
    assert ohem_loss(logits, targets.classes).item() == pytest.approx(expected, rel=1e-5)
    assert softmax_scores(logits).shape == (3, len(anchors), 3)
