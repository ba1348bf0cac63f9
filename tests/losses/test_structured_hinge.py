import pytest
import torch

from src.losses import ap_loss, ap_structured_hinge_loss
from src.losses.most_violated import most_violated
from src.losses.reference import ap_structured_hinge_loss_reference
from tests.losses.brute_force import structured_hinge
from tests.losses.problems import KINDS, loss_and_update, random_problem, seeds, small_problem
from tests.support.exhaustive import trials


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_maximum_over_all_rankings(dtype):
    for seed in trials(80, 400):
        logits, targets = small_problem(seed)
        expected, subgradients = structured_hinge(logits.to(dtype), targets)
        loss, update = loss_and_update(ap_structured_hinge_loss, logits.to(dtype), targets)
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        assert loss.item() == pytest.approx(expected, rel=tolerance, abs=tolerance), seed
        assert min((update - one).norm() for one in subgradients) < tolerance, seed
        assert abs(update.sum().item()) < 1e-6
        exact = ap_loss(logits.to(dtype), targets, step="heaviside", interpolated=False)
        assert loss >= exact - tolerance  # an upper bound


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
@pytest.mark.slow
def test_equals_the_best_place_of_every_negative_on_random_problems(kind):
    for seed in seeds(kind, few=5, many=10):
        logits, targets, _ = random_problem(seed, torch.float64)
        loss, update = loss_and_update(ap_structured_hinge_loss, logits, targets)
        expected_loss, expected = loss_and_update(ap_structured_hinge_loss_reference, logits, targets)
        assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-9, abs=1e-12), seed
        if KINDS[kind] not in ("ties", "all scores equal", "spread by delta"):  # else several rankings are maximal
            torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12, msg=str(seed))
        assert (update[targets == -1] == 0).all()


def test_most_violated_ranking_of_the_example_in_its_docstring():
    positives, negatives = torch.tensor([2.0, 0.0]).double(), torch.tensor([1.5, 0.5, -1.0, -2.0]).double()
    none, every = torch.tensor([0, 0]), torch.tensor([4, 4])
    above = most_violated(positives, 4, lambda rank: negatives[rank - 1], fewest=none, most=every)
    assert above.tolist() == [1, 2]
    logits = torch.cat([positives, negatives])
    loss, update = loss_and_update(ap_structured_hinge_loss, logits, torch.tensor([1, 1, 0, 0, 0, 0]))
    assert update.tolist() == pytest.approx([-1 / 4, -2 / 4, 2 / 4, 1 / 4, 0, 0])
    # 1 − AP of that ranking, and F(s, R) − F(s, R*): the best sums of gains of the four negatives, over |P|.
    assert loss.item() == pytest.approx(1 - (1 / 2 + 2 / 4) / 2 + 2 / 8 * (2 * 1.5 + 0.5 - 2 - 2 * 0))
    assert loss.item() == pytest.approx((4 / 3 + 5 / 12) / 2)


@pytest.mark.slow
def test_large_problem_is_found_in_bins():
    torch.manual_seed(0)
    logits = torch.randn(200_000)
    targets = torch.zeros(200_000, dtype=torch.int8)
    targets[torch.randperm(200_000)[:50]] = 1
    for shift, dtype in ((0.0, torch.float32), (3.0, torch.float32), (-2.0, torch.float64), (1.0, torch.bfloat16)):
        scores = (logits + shift * targets).to(dtype)
        expected_loss, expected = loss_and_update(ap_structured_hinge_loss_reference, scores.double(), targets)
        loss, update = loss_and_update(ap_structured_hinge_loss, scores, targets)
        assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)
        assert update.dtype == dtype
        if dtype != torch.bfloat16:
            torch.testing.assert_close(update.double(), expected, rtol=1e-6, atol=1e-12)


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
