import pytest
import torch

from src.losses import ohem_loss, softmax_scores
from tests.losses.problems import loss_and_update
from tests.support.exhaustive import trials


def brute_force(logits, targets, ratio):
    total, positives = 0.0, 0
    for image_logits, image_targets in zip(logits.double(), targets, strict=True):
        losses, background = [], []
        for x, t in zip(image_logits, image_targets, strict=True):
            log_p = x - x.exp().sum().log()
            if (t == -1).any():
                continue
            if (t == 1).any():
                losses.append(-log_p[int((t == 1).nonzero()) + 1])
            else:
                background.append(-log_p[0])
        positives += len(losses)
        total += sum(losses) + sum(sorted(background, reverse=True)[: ratio * len(losses)])
    return float(total) / max(positives, 1)


def random_problem(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64) * 2
    targets = torch.zeros(3, 20, 4, dtype=torch.int8)
    anchors = torch.rand(3, 20, generator=generator)
    targets[anchors > 0.9] = -1
    for image, anchor in (anchors < [0.05, 0.2, 0.5][seed % 3]).nonzero():
        targets[image, anchor, torch.randint(4, (), generator=generator)] = 1
    return logits, targets


@pytest.mark.parametrize("ratio", [1, 3])
def test_equals_its_definition(ratio):
    for seed in trials(15, 60):
        logits, targets = random_problem(seed)
        loss, gradient = loss_and_update(ohem_loss, logits, targets, negatives_per_positive=ratio)
        assert loss.item() == pytest.approx(brute_force(logits, targets, ratio), rel=1e-12)
        assert ratio != 3 or loss == ohem_loss(logits, targets)
        expected = torch.zeros_like(logits)
        step = 1e-6
        for place in [(0, 0, 0), (1, 5, 2), (2, 19, 4)]:
            for sign in (1, -1):
                moved = logits.clone()
                moved[place] += sign * step
                expected[place] += sign * brute_force(moved, targets, ratio) / (2 * step)
            assert gradient[place].item() == pytest.approx(expected[place].item(), abs=1e-6), (seed, place)
        assert (gradient[(targets == -1).any(2)] == 0).all()
        # The gradient of a softmax sums to zero over the classes of each anchor.
        torch.testing.assert_close(gradient.sum(2), torch.zeros(3, 20, dtype=torch.float64), rtol=0, atol=1e-12)


def test_without_positives_it_is_zero():
    loss, gradient = loss_and_update(ohem_loss, torch.arange(30.0).view(2, 5, 3), torch.zeros(2, 5, 2))
    assert loss == 0 and not gradient.any()


def test_errors_say_what_is_wrong():
    logits = torch.zeros(1, 4, 3)
    with pytest.raises(ValueError, match=r"\(1, 4, 3\) and \(1, 4, 3\) instead of \[B, A, K \+ 1\] and \[B, A, K\]"):
        ohem_loss(logits, torch.zeros(1, 4, 3))
    with pytest.raises(ValueError, match=r"\(1, 4, 3\) and \(1, 4\) instead of \[B, A, K \+ 1\] and \[B, A, K\]"):
        ohem_loss(logits, torch.zeros(1, 4, dtype=torch.int64))  # the index of each anchor's class
    with pytest.raises(ValueError, match="more than one class"):
        ohem_loss(logits, torch.ones(1, 4, 2))
    with pytest.raises(ValueError, match="targets must be 1"):
        ohem_loss(logits, torch.full((1, 4, 2), 2))
    with pytest.raises(TypeError, match="floating tensor, not torch.int64"):
        ohem_loss(torch.zeros(1, 4, 3, dtype=torch.int64), torch.zeros(1, 4, 2))


def test_an_anchor_counts_with_all_its_outputs():
    """Also those that were not chosen, and with outputs other than their label's; a class of −∞ is a masked one."""
    logits, targets = random_problem(2)
    targets[1] = 0  # an image without positives, of whose anchors none is chosen
    positive, negative = (targets == 1).any(2), (targets == 0).all(2)
    for where, output, bad in (
        (negative, 1, torch.nan),
        (negative, 1, torch.inf),
        (negative, 0, -torch.inf),  # no chance for the background, which is right there
        (positive, 0, torch.nan),
    ):
        for image, anchor in (where.nonzero()[0], where.nonzero()[-1]):
            changed = logits.clone()
            changed[image, anchor, output] = bad
            loss, gradient = loss_and_update(ohem_loss, changed, targets)
            assert loss.isnan() and gradient[positive | negative].isnan().all()
            assert not gradient[~(positive | negative)].any()
    # With one class masked out the loss is that without this class.
    targets[..., 3] = targets[..., 3].clamp(max=0)
    masked = logits.clone()
    masked[..., 4] = -torch.inf
    loss, gradient = loss_and_update(ohem_loss, masked, targets)
    expected_loss, expected = loss_and_update(ohem_loss, logits[..., :4].clone(), targets[..., :3].clone())
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient[..., :4], expected)
    assert not gradient[..., 4].any()


def test_an_anchor_with_a_class_and_a_minus_1_is_ignored():
    logits, targets = random_problem(2)
    expected = loss_and_update(ohem_loss, logits, torch.where((targets == -1).any(2, True), -1, targets))
    anchor = (targets == -1).any(2).nonzero()[0]
    targets[(*anchor,)] = torch.tensor([1, -1, 0, 0])
    assert all(map(torch.equal, loss_and_update(ohem_loss, logits, targets), expected))


def test_targets_without_a_class_are_refused():
    with pytest.raises(ValueError, match="targets have no class"):
        ohem_loss(torch.zeros(1, 4, 1), torch.zeros(1, 4, 0))


def test_scores_are_the_softmax_without_the_background():
    logits = torch.tensor([[0.0, 0.0, 2.0]]).log_softmax(-1)
    torch.testing.assert_close(softmax_scores(logits), logits.exp()[:, 1:])
