import pytest
import torch

from src.losses import ap_loss
from src.losses.reference import ap_loss_reference
from tests.losses.problems import KINDS, loss_and_update, random_problem, relative_error

PROBLEMS = {kind: 60 for kind in KINDS} | {"thousands of positives": 3}  # whose reference takes seconds each


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_algorithm_1_on_random_problems(kind):
    for seed in range(kind, PROBLEMS[KINDS[kind]] * len(KINDS), len(KINDS)):
        logits, targets, arguments = random_problem(seed)
        expected_loss, expected_update = ap_loss_reference(logits, targets, **arguments)
        loss, update = loss_and_update(ap_loss, logits, targets, **arguments)
        assert relative_error(loss, expected_loss) < 1e-6, (seed, arguments)
        assert relative_error(update, expected_update) < 1e-6, (seed, arguments)


def test_is_exact_in_float64():
    for seed in range(2 * len(KINDS)):
        logits, targets, arguments = random_problem(seed, torch.float64)
        if len(logits) > 3000:
            continue
        expected_loss, expected_update = ap_loss_reference(logits, targets, **arguments)
        loss, update = loss_and_update(ap_loss, logits, targets, **arguments)
        assert loss.dtype == update.dtype == torch.float64
        assert relative_error(loss, expected_loss) < 1e-10 and relative_error(update, expected_update) < 1e-10


def test_large_problem_goes_through_several_chunks():
    torch.manual_seed(0)
    logits = torch.randn(400_000)
    targets = torch.zeros(400_000, dtype=torch.int8)
    targets[torch.randperm(400_000)[:40]] = 1
    for shift in (0.0, 3.0):  # all negatives in play, and nearly all trivial
        scores = logits + shift * targets
        expected_loss, expected_update = ap_loss_reference(scores, targets, delta=0.1)
        loss, update = loss_and_update(ap_loss, scores, targets, delta=0.1)
        assert relative_error(loss, expected_loss) < 1e-6 and relative_error(update, expected_update) < 1e-6


def test_reference_by_hand():
    # Two positives at 2 and 0, negatives at 1 and −3; δ so small that f is the Heaviside step.
    logits, targets = torch.tensor([2.0, 0.0, 1.0, -3.0]), torch.tensor([1, 1, 0, 0])
    loss, update = ap_loss_reference(logits, targets, delta=1e-3)
    assert loss.item() == pytest.approx((0 + 1 / 3) / 2)
    assert update.tolist() == pytest.approx([0, -1 / 6, 1 / 6, 0])
    # A worse precision above (½ at score 2 behind the negative at 3) than below (⅔ at score 0) is interpolated to ⅔.
    logits = torch.tensor([2.0, 0.0, 3.0])
    targets = torch.tensor([1, 1, 0])
    assert ap_loss_reference(logits, targets, delta=1e-3)[0].item() == pytest.approx(1 / 3)
    plain, _ = ap_loss_reference(logits, targets, delta=1e-3, interpolated=False)
    assert plain.item() == pytest.approx((1 / 2 + 1 / 3) / 2)
    # In the slope: one positive and one negative, δ/2 apart.
    loss, update = ap_loss_reference(torch.tensor([0.0, 0.5]), torch.tensor([1, 0]), delta=1.0)
    assert loss.item() == pytest.approx(0.75 / 1.75)
    assert update.tolist() == pytest.approx([-0.75 / 1.75, 0.75 / 1.75])


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
    _, expected = ap_loss_reference(logits, targets)
    leaf = logits.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = ap_loss(leaf, targets)
    assert loss.dtype == torch.float32
    (loss * 2.0**16).backward()  # as a gradient scaler does, or updates would vanish in float16
    assert leaf.grad.dtype == dtype
    assert relative_error(leaf.grad, expected * 2.0**16) < 0.01
    assert (leaf.grad != 0).float().mean() > 0.95
