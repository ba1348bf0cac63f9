import pytest
import torch

from src.losses import ap_loss
from src.losses.reference import ap_loss_reference
from tests.losses.problems import KINDS, THOUSANDS, loss_and_update, random_problem, relative_error, seeds

# The tolerance of the relative error in each dtype.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}


def assert_equals_algorithm_1(seed):
    """Compare loss and update with those of Algorithm 1; the scores are the same numbers in either dtype."""
    logits, targets, arguments = random_problem(seed, torch.float64)
    expected_loss, expected_update = loss_and_update(ap_loss_reference, logits, targets, **arguments)
    for dtype, tolerance in TOLERANCE.items():
        loss, update = loss_and_update(ap_loss, logits.to(dtype), targets, **arguments)
        assert loss.dtype == update.dtype == dtype
        assert relative_error(loss, expected_loss) < tolerance, (seed, dtype, arguments)
        assert relative_error(update, expected_update) < tolerance, (seed, dtype, arguments)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_algorithm_1_on_random_problems(kind):
    # The reference takes seconds for each problem with thousands of positives.
    for seed in seeds(kind, few=1, many=3) if KINDS[kind] == THOUSANDS else seeds(kind):
        assert_equals_algorithm_1(seed)


def test_large_problem_goes_through_several_chunks():
    torch.manual_seed(0)
    logits = torch.randn(400_000)
    targets = torch.zeros(400_000, dtype=torch.int8)
    targets[torch.randperm(400_000)[:40]] = 1
    for shift in (0.0, 3.0):  # all negatives in play, and nearly all trivial
        scores = logits + shift * targets
        expected_loss, expected_update = loss_and_update(ap_loss_reference, scores.double(), targets, delta=0.1)
        loss, update = loss_and_update(ap_loss, scores, targets, delta=0.1)
        assert relative_error(loss, expected_loss) < 1e-6 and relative_error(update, expected_update) < 1e-6


def test_backward_twice_and_any_shape_and_strides():
    logits, targets, _ = random_problem(11 * 7)
    size = len(logits) // 6 * 6
    logits, targets = logits[:size], targets[:size]
    _, expected = loss_and_update(ap_loss, logits, targets)
    transposed = logits.view(2, -1, 3).transpose(1, 2).contiguous().transpose(1, 2).detach().requires_grad_()
    loss = ap_loss(transposed, targets.view(2, -1, 3))
    loss.backward(retain_graph=True)
    torch.testing.assert_close(transposed.grad, expected.view(2, -1, 3))
    loss.backward()
    torch.testing.assert_close(transposed.grad, 2 * expected.view(2, -1, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast(dtype):
    torch.manual_seed(0)
    targets = torch.zeros(50_000, dtype=torch.int8)
    targets[:20] = 1
    logits = torch.randn(50_000).to(dtype)
    _, expected = loss_and_update(ap_loss_reference, logits.double(), targets)
    leaf = logits.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = ap_loss(leaf, targets)
    assert loss.dtype == torch.float32
    (loss * 2.0**16).backward()  # as a gradient scaler does, or updates would vanish in float16
    assert leaf.grad.dtype == dtype
    assert relative_error(leaf.grad, expected * 2.0**16) < 0.01
    assert (leaf.grad != 0).float().mean() > 0.95
