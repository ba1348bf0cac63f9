import pytest
import torch

from src.losses import ap_approximate_gradient_loss, ap_loss
from src.losses.reference import ap_approximate_gradient_loss_reference
from tests.losses.brute_force import smooth_ap_loss
from tests.losses.problems import KINDS, loss_and_update, random_problem, relative_error, seeds, small_problem
from tests.support.exhaustive import trials


def test_equals_autograd_through_the_dense_formula():
    for seed in trials(60, 300):
        logits, targets = small_problem(seed)
        delta, epsilon = 10 ** (seed % 5 - 2.5), [0, 1e-6, 0.1][seed % 3]
        expected_loss, expected = smooth_ap_loss(logits, targets, delta, epsilon)
        loss, gradient = loss_and_update(ap_approximate_gradient_loss, logits, targets, delta=delta, epsilon=epsilon)
        assert loss.item() == pytest.approx(expected_loss, rel=1e-11, abs=1e-11), seed
        # A slope is about 1/δ at most, and right to 10⁻¹² of that.
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11 / delta, msg=str(seed))
        # It depends on differences of scores alone.
        assert abs(gradient.sum().item()) < 1e-11 / delta


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_the_dense_formula_on_random_problems(kind):
    for seed in seeds(kind, few=5, many=10):
        logits, targets, arguments = random_problem(seed)
        if len(logits) > 3000:
            logits, targets = logits[:3000], targets[:3000]
        delta = arguments["delta"]
        expected_loss, expected = loss_and_update(
            ap_approximate_gradient_loss_reference, logits.double(), targets, delta=delta
        )
        loss, gradient = loss_and_update(ap_approximate_gradient_loss, logits, targets, delta=delta)
        assert abs(loss - expected_loss) < 1e-6 * abs(expected_loss) + 1e-11, seed
        assert (gradient - expected).norm() < 1e-6 * expected.norm() + 1e-11 / delta, seed


def test_is_a_gradient():
    """A step against it lowers the loss by its squared norm, which an error-driven update need not do."""
    torch.manual_seed(0)
    logits, targets = torch.randn(500, dtype=torch.float64), (torch.rand(500) < 0.1).long()
    loss, gradient = loss_and_update(ap_approximate_gradient_loss, logits, targets)
    step = 1e-6
    moved = ap_approximate_gradient_loss(logits - step * gradient, targets)
    assert ((loss - moved) / step).item() == pytest.approx(gradient.square().sum().item(), rel=1e-4)


def test_half_precision():
    torch.manual_seed(0)
    logits, targets = torch.randn(5000).bfloat16(), (torch.rand(5000) < 0.01).long()
    _, expected = loss_and_update(ap_approximate_gradient_loss, logits.double(), targets)
    loss, gradient = loss_and_update(ap_approximate_gradient_loss, logits, targets)
    assert loss.dtype == torch.float32 and gradient.dtype == torch.bfloat16
    assert relative_error(gradient, expected) < 0.01


def test_epsilon_is_checked_and_used():
    logits, targets = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    with pytest.raises(ValueError, match="epsilon must be at least 0"):
        ap_approximate_gradient_loss(logits, targets, epsilon=-1)
    smooth = 1 - ap_loss(logits, targets, step="sigmoid", interpolated=False)
    torch.testing.assert_close(ap_approximate_gradient_loss(logits, targets, epsilon=0.5), -(smooth + 0.5).log())
