import pytest
import torch

from src.losses import ap_loss, ap_structured_hinge_loss
from tests.losses.brute_force import structured_hinge
from tests.losses.problems import KINDS, loss_and_update, random_problem, small_problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_maximum_over_all_rankings(dtype):
    for seed in range(400):
        logits, targets = small_problem(seed)
        expected, subgradients = structured_hinge(logits.to(dtype), targets)
        loss, update = loss_and_update(ap_structured_hinge_loss, logits.to(dtype), targets)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        assert loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance), seed
        assert min((update - one).norm() for one in subgradients) < tolerance, seed
        assert abs(update.sum().item()) < 1e-6
        exact = ap_loss(logits.to(dtype), targets, step="heaviside", interpolated=False)
        assert loss >= exact - tolerance  # an upper bound


def dense(logits, targets):
    """Value and subgradient by giving every negative its best place among the positives, in a matrix [N, P + 1]."""
    s = logits.double()
    positives = s[targets == 1].sort(descending=True).values
    negatives, order = s[targets == 0].sort(descending=True, stable=True)
    P, N = len(positives), len(negatives)
    i, m = torch.arange(1.0, P + 1, dtype=s.dtype), torch.arange(1.0, N + 1, dtype=s.dtype)[:, None]
    gain = (i / (i + m - 1) - i / (i + m)) / P + 2 / (P * N) * (negatives[:, None] - positives)
    gains = torch.cat([gain.flip(1).cumsum(1).flip(1), torch.zeros(N, 1, dtype=torch.float64)], 1)
    best, place = gains.max(1)
    above = (place[:, None] <= torch.arange(P)).sum(0)  # negatives above each positive
    slope = torch.zeros_like(s)
    slope[(targets == 0).nonzero().squeeze(1)[order]] = 2 / (P * N) * (P - place).double()
    return best.sum().item(), above, slope


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_the_best_place_of_every_negative_on_random_problems(kind):
    for seed in range(kind, 10 * len(KINDS), len(KINDS)):
        logits, targets, _ = random_problem(seed, torch.float64)
        loss, update = loss_and_update(ap_structured_hinge_loss, logits, targets)
        if not ((targets == 1).any() and (targets == 0).any()):
            assert loss == 0 and not update.any()
            continue
        value, above, slope = dense(logits, targets)
        assert loss.item() == pytest.approx(value, rel=1e-9, abs=1e-12), seed
        if KINDS[kind] not in ("ties", "all scores equal", "spread by delta"):  # else there are several
            torch.testing.assert_close(update[targets == 0], slope[targets == 0], rtol=1e-9, atol=1e-12)
        assert (update[targets == -1] == 0).all()


def test_large_problem_is_found_in_bins():
    torch.manual_seed(0)
    logits = torch.randn(200_000)
    targets = torch.zeros(200_000, dtype=torch.int8)
    targets[torch.randperm(200_000)[:50]] = 1
    for shift, dtype in ((0.0, torch.float32), (3.0, torch.float32), (-2.0, torch.float64), (1.0, torch.bfloat16)):
        scores = (logits + shift * targets).to(dtype)
        value, above, slope = dense(scores, targets)
        loss, update = loss_and_update(ap_structured_hinge_loss, scores, targets)
        assert loss.item() == pytest.approx(value, rel=1e-6)
        assert update.dtype == dtype
        if dtype != torch.bfloat16:
            torch.testing.assert_close(update[targets == 0].double(), slope[targets == 0], rtol=1e-6, atol=1e-12)


def test_is_convex_along_random_lines():
    torch.manual_seed(0)
    targets = (torch.rand(300) < 0.1).long()
    for _ in range(20):
        one, other = torch.randn(2, 300, dtype=torch.float64)
        middle = ap_structured_hinge_loss((one + other) / 2, targets)
        assert middle <= (ap_structured_hinge_loss(one, targets) + ap_structured_hinge_loss(other, targets)) / 2 + 1e-12


def test_is_zero_only_beyond_a_margin():
    targets = torch.tensor([1, 0, 0])
    assert ap_structured_hinge_loss(torch.tensor([0.1, 0.0, 0.0]), targets) > 0
    assert ap_structured_hinge_loss(torch.tensor([5.0, 0.0, 0.0]), targets) == 0
