"""An RPN's choice of anchors, and what is ranked with it."""

import torch

from src.detectors.proposals import ignore_others, propose, top_anchors
from src.detectors.ssd import SSD
from src.detectors.targets import Targets


def test_the_anchors_of_highest_objectness_are_chosen_and_of_equal_ones_the_first():
    generator = torch.Generator().manual_seed(0)
    for size in (1, 2, 7, 40, 400):
        objectness = torch.randint(0, 5, (size,), generator=generator).float()
        for count in (1, 3, size - 1, size, size + 9):
            by_score = sorted(range(size), key=lambda anchor: (-objectness[anchor], anchor))[:count]
            assert top_anchors(objectness, count).nonzero().squeeze(1).tolist() == sorted(by_score)


def test_proposals_and_all_positive_anchors_are_ranked_and_no_others():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(-1, 2, (2, 50, 3), generator=generator, dtype=torch.int8)
    positive = (classes == 1).any(2)
    proposed = torch.rand(2, 50, generator=generator) < 0.3
    before = Targets(classes, torch.zeros(2, 50, 4), positive)
    after = ignore_others(before, proposed)
    for image in range(2):
        for anchor in range(50):
            kept = positive[image, anchor] or proposed[image, anchor]
            expected = classes[image, anchor].tolist() if kept else [-1, -1, -1]
            assert after.classes[image, anchor].tolist() == expected
    assert after.boxes is before.boxes and after.positive is before.positive
    assert 0 < (after.classes >= 0).sum() < (before.classes >= 0).sum()
    everything = ignore_others(before, torch.ones_like(proposed))
    assert torch.equal(everything.classes, classes)


def test_the_proposals_of_an_image_do_not_depend_on_its_batch():
    torch.manual_seed(0)
    rpn = SSD(1, levels=4, weights=None, channels=4).eval()
    images = torch.randn(4, 3, 64, 64).to(memory_format=torch.channels_last)
    proposed = propose(rpn, images, 30)
    assert proposed.shape == rpn(images)[0].shape[:2] and proposed.sum(1).tolist() == [30] * 4
    assert torch.equal(torch.cat([propose(rpn, images[:2], 30), propose(rpn, images[2:], 30)]), proposed)
    assert not torch.equal(proposed[0], proposed[1])
    logits, _ = rpn(images)
    ranks = logits[..., 0].argsort(dim=1, descending=True).argsort(dim=1)
    assert (ranks[proposed] < 31).all()  # a batch may round otherwise than an image
