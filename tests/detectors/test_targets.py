"""Training targets and the box loss."""

import math
from functools import partial

import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from src.detectors import targets as targets_module
from src.detectors.anchors import make_anchors
from src.detectors.retinanet import anchor_grids
from src.detectors.targets import (
    BOX_CODER,
    NEGATIVE,
    _box_loss_without_wait,
    assign_targets,
    box_loss,
    encode_boxes,
    match_bipartite,
    match_by_iou,
)


def test_anchors_are_positive_ignored_or_negative_by_their_iou():
    anchors = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 22], [0, 0, 10, 60], [50, 50, 60, 60.0]])
    targets = assign_targets(anchors, [torch.tensor([[0, 0, 10, 10.0]])], [torch.tensor([1])], classes=3)
    assert targets.classes[0].tolist() == [[0, 1, 0], [-1, -1, -1], [0, 0, 0], [0, 0, 0]]
    assert targets.positive.tolist() == [[True, False, False, False]]


def test_an_object_that_no_anchor_overlaps_has_none():
    iou = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 0.0]])
    assert match_by_iou(iou).tolist() == [0, NEGATIVE, NEGATIVE]


def test_the_best_anchor_of_an_object_is_positive_for_the_object_it_overlaps_most():
    # The second object's best anchor overlaps it by .15 only, and the first more: it is positive for the first.
    anchors = torch.tensor([[0, 0, 10, 10], [100, 100, 110, 110.0]])
    boxes = [torch.tensor([[0, 0, 10, 9.0], [7, 0, 17, 10.0]])]
    targets = assign_targets(anchors, boxes, [torch.tensor([0, 1])], classes=2)
    assert targets.classes[0].tolist() == [[1, 0], [0, 0]]
    # Without the first object, the anchor is positive for the second.
    targets = assign_targets(anchors, [boxes[0][1:]], [torch.tensor([1])], classes=2)
    assert targets.classes[0].tolist() == [[0, 1], [0, 0]]
    torch.testing.assert_close(targets.boxes[targets.positive], boxes[0][1:])


def bipartite_by_a_loop(iou, positive_iou):
    """Match as SSD's definition says: pairs by falling IoU, then what is left by IoU alone."""
    objects, anchors = range(len(iou)), range(len(iou[0]))
    pairs = sorted((-iou[i][j], i, j) for i in objects for j in anchors if iou[i][j] > 0)
    object_of, matched = [-1] * len(anchors), set()
    for _, i, j in pairs:
        if i not in matched and object_of[j] == -1:
            object_of[j] = i
            matched.add(i)
    for j in anchors:
        best = max(objects, key=lambda i: (iou[i][j], -i))
        if object_of[j] == -1 and iou[best][j] > positive_iou:
            object_of[j] = best
    return object_of


def test_bipartite_matching_is_that_of_a_plain_loop_with_ties():
    generator = torch.Generator().manual_seed(0)
    ties = 0
    for problem in range(300):
        # Corners on a coarse grid give many equal IoUs, and exactly 1/2 among them.
        corners = [torch.randint(0, 5, (n, 2), generator=generator) for n in (1 + problem % 6, 1 + problem % 11)]
        sides = [torch.randint(1, 4, c.shape, generator=generator) for c in corners]
        boxes, anchors = (torch.cat([c, c + s], 1).float() for c, s in zip(corners, sides, strict=True))
        iou = box_iou(boxes, anchors)
        ties += int(iou[iou > 0].numel() > iou[iou > 0].unique().numel())
        assert match_bipartite(iou).tolist() == bipartite_by_a_loop(iou.tolist(), 0.5), problem
    assert ties > 100


def test_each_object_has_an_anchor_of_its_own_in_ssd():
    # Both objects overlap the first anchor most. RetinaNet's rule leaves the second without any.
    anchors = torch.tensor([[0, 0, 10, 10], [12, 0, 22, 10], [100, 100, 110, 110.0]])
    boxes = [torch.tensor([[0, 0, 10, 9.0], [4, 0, 14, 10.0]])]
    labels = [torch.tensor([0, 1])]
    assert assign_targets(anchors, boxes, labels, classes=2).classes[0].tolist() == [[1, 0], [0, 0], [0, 0]]
    targets = assign_targets(anchors, boxes, labels, classes=2, match=match_bipartite)
    assert targets.classes[0].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert torch.equal(targets.boxes[targets.positive], boxes[0])


def test_ssd_ignores_no_anchor_and_needs_more_than_half_beyond_the_first():
    anchors = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 10, 22], [0, 0, 10, 19.0]])
    match = partial(assign_targets, classes=1, match=match_bipartite)
    targets = match(anchors, [torch.tensor([[0, 0, 10, 10.0]])], [torch.tensor([0])])
    assert targets.classes[0, :, 0].tolist() == [1, 0, 0, 1]  # of IoU 1, 1/2, 0.45 and 0.53


def test_an_image_without_objects_is_all_negative_and_costs_no_box_loss():
    anchors = torch.cat(make_anchors(anchor_grids(64, 64)))
    no_labels = torch.zeros(0, dtype=torch.int64)
    targets = assign_targets(anchors, [torch.zeros(0, 4)], [no_labels], classes=2)
    assert targets.classes.abs().sum() == 0 and not targets.positive.any()
    offsets = torch.ones(1, len(anchors), 4, requires_grad=True)
    loss = box_loss(offsets, anchors, targets)
    loss.backward()
    assert loss.item() == 0 and offsets.grad.abs().sum() == 0


def random_objects(generator, counts, size=96):
    """Boxes on a coarse grid, of which many overlap anchors equally much, and labels of four classes."""
    corners = [(torch.rand(n, 2, generator=generator) * size * 0.8).round(decimals=-1) for n in counts]
    sides = [4 + (torch.rand(n, 2, generator=generator) * size * 0.4).round(decimals=-1) for n in counts]
    boxes = [torch.cat([c, c + s], 1) for c, s in zip(corners, sides, strict=True)]
    return boxes, [torch.randint(4, (n,), generator=generator) for n in counts]


@pytest.mark.parametrize("pairs", [2**18, 2000])
@pytest.mark.parametrize("match", [match_by_iou, match_bipartite])
def test_the_targets_of_a_batch_are_those_of_its_images_alone(match, pairs, monkeypatch):
    monkeypatch.setattr(targets_module, "_PAIRS_ON_CPU", pairs)  # 2000 are less than those of two images
    generator = torch.Generator().manual_seed(0)
    anchors = torch.cat(make_anchors(anchor_grids(96, 96, 2)))
    for counts in ([3, 0, 5, 1], [0, 0], [1], [2, 7, 4, 4, 0]):
        boxes, labels = random_objects(generator, counts)
        together = assign_targets(anchors, boxes, labels, classes=4, match=match)
        assert together.positive.sum() >= sum(counts) / 2
        for image, (of_image, of_labels) in enumerate(zip(boxes, labels, strict=True)):
            alone = assign_targets(anchors, [of_image], [of_labels], classes=4, match=match)
            positive = alone.positive[0]
            assert torch.equal(together.positive[image], positive)
            assert torch.equal(together.classes[image], alone.classes[0])
            assert torch.equal(together.boxes[image, positive], alone.boxes[0, positive])


def test_matching_by_iou_is_that_of_torchvision():
    matcher, generator = Matcher(0.5, 0.4, allow_low_quality_matches=True), torch.Generator().manual_seed(0)
    anchors = torch.cat(make_anchors(anchor_grids(96, 96, 1.5)))
    kinds = set()
    for problem in range(60):
        boxes, labels = random_objects(generator, [1 + problem % 6])
        object_of = matcher(box_iou(boxes[0], anchors))
        targets = assign_targets(anchors, boxes, labels, classes=4)
        assert torch.equal(targets.positive[0], object_of >= 0)
        assert torch.equal(targets.boxes[targets.positive], boxes[0][object_of[object_of >= 0]])
        assert torch.equal((targets.classes[0] == -1).any(1), object_of == Matcher.BETWEEN_THRESHOLDS)
        index = (object_of >= 0).nonzero().squeeze(1)
        assert (targets.classes[0, index, labels[0][object_of[index]]] == 1).all()
        assert (targets.classes == 1).sum() == len(index)
        kinds |= set(object_of.clamp(max=0).tolist())
    assert kinds == {-2, -1, 0}


def test_the_box_loss_of_a_gpu_is_that_of_a_cpu():
    generator = torch.Generator().manual_seed(0)
    anchors = torch.cat(make_anchors(anchor_grids(64, 64)))
    for counts in ([3, 1], [0, 0]):
        boxes, labels = random_objects(generator, counts, size=64)
        targets = assign_targets(anchors, boxes, labels, classes=4)
        one = torch.randn(2, len(anchors), 4, generator=generator).requires_grad_()
        other = one.detach().clone().requires_grad_()
        expected, loss = box_loss(one, anchors, targets), _box_loss_without_wait(other, anchors, targets)
        torch.testing.assert_close(loss, expected)
        expected.backward()
        loss.backward()
        torch.testing.assert_close(other.grad, one.grad)


@pytest.mark.parametrize("match", [match_by_iou, match_bipartite])
def test_no_shape_depends_on_a_value(match):
    """Without values, on the device "meta", whatever would make the host wait for a GPU is an error."""
    anchors = torch.cat(make_anchors(anchor_grids(64, 64), "meta"))
    boxes, labels = random_objects(torch.Generator().manual_seed(0), [3, 0])
    boxes, labels = [b.to("meta") for b in boxes], [x.to("meta") for x in labels]
    targets = assign_targets(anchors, boxes, labels, classes=4, match=match)
    offsets = torch.randn(2, len(anchors), 4, device="meta", requires_grad=True)
    box_loss(offsets, anchors, targets).backward()
    assert targets.classes.shape == (2, len(anchors), 4) and offsets.grad.shape == offsets.shape


def test_the_box_loss_is_that_computed_by_hand():
    anchors = torch.tensor([[0, 0, 10, 10.0]])
    targets = assign_targets(anchors, [torch.tensor([[1, 0, 11, 10.0]])], [torch.tensor([0])], classes=1)
    # The target offset is a shift of a tenth of the width, over a standard deviation of .1: 1 in x, 0 elsewhere.
    assert box_loss(torch.zeros(1, 1, 4), anchors, targets).item() == pytest.approx(0.5 / 4)
    assert box_loss(torch.tensor([[[4.0, 0, 0, 0]]]), anchors, targets).item() == pytest.approx(2.5 / 4)
    decoded = BOX_CODER.decode_single(torch.tensor([[1.0, 0, 0, math.log(2) / 0.2]]), anchors)
    torch.testing.assert_close(decoded, torch.tensor([[1, -5, 11, 15.0]]))


def test_boxes_are_encoded_as_torchvision_does_and_decoded_again():
    generator = torch.Generator().manual_seed(0)
    corners = 100 * torch.rand(2, 50, 2, 2, generator=generator)
    boxes, anchors = torch.cat([corners[..., 0, :], corners[..., 0, :] + 1 + corners[..., 1, :]], -1)
    offsets = encode_boxes(boxes, anchors)
    assert offsets.equal(BOX_CODER.encode_single(boxes, anchors))
    torch.testing.assert_close(BOX_CODER.decode_single(offsets, anchors), boxes)
