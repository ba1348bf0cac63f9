import pytest
import torch

from src.losses import ap_loss
from src.losses.bucketed import ap_loss_bucketed
from tests.losses.brute_force import f, split
from tests.losses.problems import KINDS, loss_and_update, random_problem, relative_error, seeds


def bucketed(logits, targets, delta):
    """Return value and update by the double loop over positives and buckets, in float64."""
    positives, negatives, s = split(logits, targets)
    update = torch.zeros(len(s), dtype=torch.float64)
    loss = 0.0
    buckets = {}
    for j in negatives:
        buckets.setdefault(sum(s[i] <= s[j] for i in positives), []).append(j)
    for i in positives:
        row = [len(b) * f(sum(s[j] for j in b) / len(b) - s[i], "piecewise", delta) for b in buckets.values()]
        above = sum(f(s[k] - s[i], "piecewise", delta) for k in positives if k != i)
        for members, x in zip(buckets.values(), row, strict=True):
            L = x / (1 + above + sum(row)) / len(positives)
            loss += L
            update[i] -= L
            for j in members:
                update[j] += L / len(members)
    return loss, update


def distinct_problem(seed, size=500, gap=0.01):
    """Return a problem in which no two scores are closer than the gap."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randperm(size, generator=generator) - size / 2) * gap
    targets = torch.multinomial(torch.tensor([0.1, 0.8, 0.1]), size, replacement=True, generator=generator) - 1
    return logits, targets


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_its_definition_on_random_problems(kind):
    for seed in seeds(kind, few=2, many=4):
        logits, targets, arguments = random_problem(seed)
        logits, targets = logits[:200], targets[:200]
        expected_loss, expected_update = bucketed(logits, targets, arguments["delta"])
        loss, update = loss_and_update(ap_loss_bucketed, logits, targets, delta=arguments["delta"])
        assert loss.item() == pytest.approx(expected_loss, rel=1e-5, abs=1e-12), seed
        # What float64 rounds in a bucket's mean, a step function of width δ magnifies.
        assert relative_error(update, expected_update) < 1e-5, seed


def test_is_exact_as_delta_goes_to_zero_and_only_then():
    for seed in range(10):
        logits, targets = distinct_problem(seed)
        for delta, low, high in ((1e-4, 0, 1e-6), (1.0, 1e-3, 1)):
            _, update = loss_and_update(ap_loss_bucketed, logits, targets, delta=delta)
            _, exact = loss_and_update(ap_loss, logits, targets, delta=delta, interpolated=False)
            assert low <= relative_error(update, exact) < high
        _, update = loss_and_update(ap_loss_bucketed, logits, targets, delta=1e-4)
        _, exact = loss_and_update(ap_loss, logits, targets, interpolated=False, step="heaviside")
        assert relative_error(update, exact) < 1e-6


def test_shape_dtype_and_incoming_gradient():
    logits, targets = distinct_problem(0)
    expected_loss, expected = loss_and_update(ap_loss_bucketed, logits, targets)
    scores = logits.view(5, 100).double().requires_grad_()
    loss = ap_loss_bucketed(scores, targets.view(5, 100))
    (3 * loss).backward()
    assert loss.dtype == scores.grad.dtype == torch.float64 and scores.grad.shape == (5, 100)
    assert relative_error(scores.grad.flatten() / 3, expected) < 1e-6 and relative_error(loss, expected_loss) < 1e-6
    assert (scores.grad.flatten()[targets == -1] == 0).all()
