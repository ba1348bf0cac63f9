"""AP-loss and AUC-loss with every step function, against the double loop."""

import pytest
import torch

from src.losses import STEPS, ap_loss, auc_loss, step_function
from src.losses.reference import ap_loss_reference, auc_loss_reference
from tests.losses.brute_force import f, pair_loss
from tests.losses.problems import (
    KINDS,
    THOUSANDS,
    loss_and_update,
    random_problem,
    relative_error,
    seeds,
    small_problem,
)
from tests.support.exhaustive import trials

LOSSES = [("ap", ap_loss, {"interpolated": False}), ("ap", ap_loss, {"interpolated": True}), ("auc", auc_loss, {})]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("name", "function", "arguments"), LOSSES, ids=["ap", "ap interpolated", "auc"])
def test_equals_the_double_loop(name, function, arguments, step):
    for seed in trials(60, 200):
        logits, targets = small_problem(seed)
        delta = 10 ** (seed % 5 - 2.5)
        expected_loss, expected = pair_loss(name, logits, targets, step, delta, **arguments)
        loss, update = loss_and_update(function, logits, targets, delta=delta, step=step, **arguments)
        assert loss.item() == pytest.approx(expected_loss, abs=1e-12), seed
        torch.testing.assert_close(update, expected, rtol=0, atol=1e-12, msg=str(seed))
        # What positives gain, negatives lose.
        assert abs(update.sum().item()) < 1e-12


@pytest.mark.parametrize("step", STEPS)
def test_update_sums_to_zero_and_scales_with_the_incoming_gradient(step):
    logits, targets, _ = random_problem(0, torch.float64)
    for function in (ap_loss, auc_loss):
        _, update = loss_and_update(function, logits, targets, step=step)
        assert abs(update.sum().item()) < 1e-12
        assert update.abs().sum() > 0
        scaled = logits.clone().requires_grad_()
        (3 * function(scaled, targets, step=step)).backward()
        torch.testing.assert_close(scaled.grad, 3 * update)


@pytest.mark.parametrize("step", ["heaviside", "sigmoid"])
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_equals_algorithm_1_on_random_problems(kind, step):
    # The reference takes seconds for each problem with thousands of positives.
    for seed in seeds(kind, few=1, many=3) if KINDS[kind] == THOUSANDS else seeds(kind, few=10, many=20):
        logits, targets, arguments = random_problem(seed, torch.float64)
        expected_loss, expected = loss_and_update(ap_loss_reference, logits, targets, step=step, **arguments)
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-10)):
            loss, update = loss_and_update(ap_loss, logits.to(dtype), targets, step=step, **arguments)
            # Where the scores are so well ranked that all is rounding, the sigmoid is right to 10⁻¹² of one pair.
            assert abs(loss - expected_loss) < tolerance * expected_loss + 1e-12, (seed, dtype, arguments)
            assert (update - expected).norm() < tolerance * expected.norm() + 1e-12, (seed, dtype, arguments)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_auc_loss_equals_the_matrix_of_all_pairs_on_random_problems(kind, step):
    for seed in seeds(kind, few=3, many=20):
        logits, targets, arguments = random_problem(seed, torch.float64)
        delta = arguments["delta"]
        expected_loss, expected = loss_and_update(auc_loss_reference, logits, targets, step=step, delta=delta)
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-10)):
            loss, update = loss_and_update(auc_loss, logits.to(dtype), targets, step=step, delta=delta)
            assert abs(loss - expected_loss) < tolerance * expected_loss + 1e-12, (seed, dtype, delta)
            assert (update - expected).norm() < tolerance * expected.norm() + 1e-12, (seed, dtype, delta)


def test_step_functions_are_those_of_the_paper():
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    for step in STEPS:
        values = step_function(x, step, 0.7)
        torch.testing.assert_close(values, torch.tensor([f(v, step, 0.7) for v in x.tolist()], dtype=torch.float64))
        assert (values.diff() >= 0).all()
        if step != "heaviside":
            torch.testing.assert_close(values + values.flip(0), torch.ones_like(x))
    near = torch.tensor([-1e-6, 1e-6], dtype=torch.float64)
    slopes = [step_function(near, step, 0.7).diff() / 2e-6 for step in ("piecewise", "sigmoid")]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="step must be one of piecewise, heaviside, sigmoid, not 'hard'"):
        step_function(x, "hard")


def test_heaviside_ties_make_a_proper_ranking():
    """Equal scores: the negative first, then the positives one after the other: precisions ½, ⅔."""
    logits, targets = torch.zeros(3), torch.tensor([1, 0, 1])
    loss, update = loss_and_update(ap_loss, logits, targets, step="heaviside", interpolated=False)
    assert loss.item() == pytest.approx(1 - (1 / 2 + 2 / 3) / 2)
    assert update.tolist() == pytest.approx([-1 / 6, 1 / 6 + 1 / 4, -1 / 4])


@pytest.mark.slow
def test_large_problem_with_the_sigmoid():
    torch.manual_seed(0)
    logits = torch.randn(50_000) * 3
    targets = torch.zeros(50_000, dtype=torch.int8)
    targets[torch.randperm(50_000)[:600]] = 1  # more than are treated at a time
    for delta in (0.01, 1.0):
        expected_loss, expected = loss_and_update(
            ap_loss_reference, logits.double(), targets, delta=delta, step="sigmoid"
        )
        loss, update = loss_and_update(ap_loss, logits, targets, delta=delta, step="sigmoid")
        assert relative_error(loss, expected_loss) < 1e-6 and relative_error(update, expected) < 1e-6
