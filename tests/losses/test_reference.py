"""The references themselves, by hand and against double loops; and that each has the face of its fast version."""

import inspect

import pytest
import torch

from src import losses
from src.losses import STEPS, reference
from src.losses.reference import (
    ap_approximate_gradient_loss_reference,
    ap_loss_reference,
    ap_structured_hinge_loss_reference,
    auc_loss_reference,
)
from tests.losses.brute_force import pair_loss, smooth_ap_loss, structured_hinge
from tests.losses.problems import loss_and_update, random_problem, small_problem
from tests.support.exhaustive import trials

FAST = ["ap_loss", "auc_loss", "ap_approximate_gradient_loss", "ap_structured_hinge_loss"]


@pytest.mark.parametrize("name", FAST)
def test_a_reference_takes_the_arguments_of_the_fast_version(name):
    fast = dict(inspect.signature(getattr(losses, name)).parameters)
    del fast["process_group"]
    assert dict(inspect.signature(getattr(reference, f"{name}_reference")).parameters) == fast


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_reference_returns_and_propagates_what_the_fast_version_does(name, dtype):
    logits, targets, _ = random_problem(0, torch.float64)
    logits, targets = logits[: len(logits) // 2 * 2].view(2, -1), targets[: len(targets) // 2 * 2].view(2, -1)
    calls = []
    for function in (getattr(losses, name), getattr(reference, f"{name}_reference")):
        scores = logits.to(dtype).requires_grad_()
        loss = function(scores, targets)
        (-7.5 * loss).backward()
        calls.append((loss.detach(), scores.grad))
    torch.testing.assert_close(calls[0][0], calls[1][0])
    torch.testing.assert_close(calls[0][1], calls[1][1])
    assert calls[0][1].any()


@pytest.mark.parametrize("name", FAST)
def test_a_reference_refuses_what_the_fast_version_refuses(name):
    function = getattr(reference, f"{name}_reference")
    with pytest.raises(ValueError, match=r"differ in shape: \(4,\) and \(2, 2\)"):
        function(torch.zeros(4), torch.zeros(2, 2))
    if name != "ap_structured_hinge_loss":
        with pytest.raises(ValueError, match="delta must be greater than 0"):
            function(torch.zeros(4), torch.zeros(4), delta=0)


@pytest.mark.parametrize("name", FAST)
def test_without_positives_or_logits_a_reference_is_zero(name):
    for shape in ((5,), (0,)):
        function = getattr(reference, f"{name}_reference")
        loss, update = loss_and_update(function, torch.zeros(shape), torch.zeros(shape))
        assert loss == 0 and update.shape == shape and not update.any()


@pytest.mark.parametrize("step", STEPS)
def test_algorithm_1_and_equation_7_equal_the_double_loop(step):
    for seed in trials(40, 200):
        logits, targets = small_problem(seed)
        delta = 10 ** (seed % 5 - 2.5)
        for name, function, arguments in (
            ("ap", ap_loss_reference, {"interpolated": False}),
            ("ap", ap_loss_reference, {"interpolated": True}),
            ("auc", auc_loss_reference, {}),
        ):
            expected_loss, expected = pair_loss(name, logits, targets, step, delta, **arguments)
            loss, update = loss_and_update(function, logits, targets, delta=delta, step=step, **arguments)
            assert loss.item() == pytest.approx(expected_loss, abs=1e-12), seed
            torch.testing.assert_close(update, expected, rtol=0, atol=1e-12, msg=str(seed))


def test_the_smooth_ap_equals_its_definition():
    for seed in trials(40, 200):
        logits, targets = small_problem(seed)
        expected_loss, expected = smooth_ap_loss(logits, targets, 0.3, 0.1)
        loss, gradient = loss_and_update(
            ap_approximate_gradient_loss_reference, logits, targets, delta=0.3, epsilon=0.1
        )
        assert loss.item() == pytest.approx(expected_loss, abs=1e-12), seed
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10, msg=str(seed))


def test_the_structured_hinge_loss_equals_the_maximum_over_all_rankings():
    for seed in trials(40, 200):
        logits, targets = small_problem(seed)
        expected, subgradients = structured_hinge(logits, targets)
        loss, update = loss_and_update(ap_structured_hinge_loss_reference, logits, targets)
        assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12), seed
        assert min((update - one).norm() for one in subgradients) < 1e-12, seed


def test_algorithm_1_by_hand():
    # Two positives at 2 and 0, negatives at 1 and −3; δ so small that f is the Heaviside step.
    logits, targets = torch.tensor([2.0, 0.0, 1.0, -3.0]), torch.tensor([1, 1, 0, 0])
    loss, update = loss_and_update(ap_loss_reference, logits, targets, delta=1e-3)
    assert loss.item() == pytest.approx((0 + 1 / 3) / 2)
    assert update.tolist() == pytest.approx([0, -1 / 6, 1 / 6, 0])
    # A worse precision above (½ at score 2 behind the negative at 3) than below (⅔ at score 0) is interpolated to ⅔.
    logits = torch.tensor([2.0, 0.0, 3.0])
    targets = torch.tensor([1, 1, 0])
    assert ap_loss_reference(logits, targets, delta=1e-3).item() == pytest.approx(1 / 3)
    plain = ap_loss_reference(logits, targets, delta=1e-3, interpolated=False)
    assert plain.item() == pytest.approx((1 / 2 + 1 / 3) / 2)
    # In the slope: one positive and one negative, δ/2 apart.
    loss, update = loss_and_update(ap_loss_reference, torch.tensor([0.0, 0.5]), torch.tensor([1, 0]), delta=1.0)
    assert loss.item() == pytest.approx(0.75 / 1.75)
    assert update.tolist() == pytest.approx([-0.75 / 1.75, 0.75 / 1.75])
