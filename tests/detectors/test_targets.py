"""Training targets and the box loss."""

import math

import pytest
import torch

from src.detectors.anchors import make_anchors
from src.detectors.targets import BOX_CODER, assign_targets, box_loss


def test_anchors_are_positive_ignored_or_negative_by_their_iou():
    anchors = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 22], [0, 0, 10, 60], [50, 50, 60, 60.0]])
    targets = assign_targets(anchors, [torch.tensor([[0, 0, 10, 10.0]])], [torch.tensor([1])], classes=3)
    assert targets.classes[0].tolist() == [[0, 1, 0], [-1, -1, -1], [0, 0, 0], [0, 0, 0]]
    assert targets.positive.tolist() == [[True, False, False, False]]


def test_the_best_anchor_of_an_object_is_positive_for_the_object_it_overlaps_most():
    # The second object's best anchor overlaps it by .15 only, and the first more: it is positive for the first.
    anchors = torch.tensor([[0, 0, 10, 10], [100, 100, 110, 110.0]])
    boxes = [torch.tensor([[0, 0, 10, 9.0], [7, 0, 17, 10.0]])]
    targets = assign_targets(anchors, boxes, [torch.tensor([0, 1])], classes=2)
    assert targets.classes[0].tolist() == [[1, 0], [0, 0]]
    # Without the first object, the anchor is positive for the second.
    targets = assign_targets(anchors, [boxes[0][1:]], [torch.tensor([1])], classes=2)
    assert targets.classes[0].tolist() == [[0, 1], [0, 0]]
    torch.testing.assert_close(targets.boxes, boxes[0][1:])


def test_an_image_without_objects_is_all_negative_and_costs_no_box_loss():
    anchors = torch.cat(make_anchors(64, 64))
    no_labels = torch.zeros(0, dtype=torch.int64)
    targets = assign_targets(anchors, [torch.zeros(0, 4)], [no_labels], classes=2)
    assert targets.classes.abs().sum() == 0 and not targets.positive.any()
    offsets = torch.ones(1, len(anchors), 4, requires_grad=True)
    loss = box_loss(offsets, anchors, targets)
    loss.backward()
    assert loss.item() == 0 and offsets.grad.abs().sum() == 0


def test_the_targets_of_a_batch_are_those_of_its_images():
    torch.manual_seed(0)
    anchors = torch.cat(make_anchors(96, 128, 2))
    corners = [torch.rand(n, 2) * 60 for n in (3, 0, 5)]
    boxes = [torch.cat([c, c + 5 + torch.rand_like(c) * 40], 1) for c in corners]
    labels = [torch.randint(4, (len(b),)) for b in boxes]
    together = assign_targets(anchors, boxes, labels, classes=4)
    alone = [assign_targets(anchors, [b], [x], classes=4) for b, x in zip(boxes, labels, strict=True)]
    assert torch.equal(together.classes, torch.cat([t.classes for t in alone]))
    assert torch.equal(together.boxes, torch.cat([t.boxes for t in alone]))


def test_the_box_loss_is_that_computed_by_hand():
    anchors = torch.tensor([[0, 0, 10, 10.0]])
    targets = assign_targets(anchors, [torch.tensor([[1, 0, 11, 10.0]])], [torch.tensor([0])], classes=1)
    # The target offset is a shift of a tenth of the width, over a standard deviation of .1: 1 in x, 0 elsewhere.
    assert box_loss(torch.zeros(1, 1, 4), anchors, targets).item() == pytest.approx(0.5 / 4)
    assert box_loss(torch.tensor([[[4.0, 0, 0, 0]]]), anchors, targets).item() == pytest.approx(2.5 / 4)
    decoded = BOX_CODER.decode_single(torch.tensor([[1.0, 0, 0, math.log(2) / 0.2]]), anchors)
    torch.testing.assert_close(decoded, torch.tensor([[1, -5, 11, 15.0]]))
