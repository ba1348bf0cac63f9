"""Observation 1, and Algorithm 1 itself, through one and the same error-driven rule."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from src.losses import ap_loss, auc_loss, error_driven, step_function
from tests.losses.problems import loss_and_update, small_problem
from tests.support.exhaustive import trials


def test_softmax_gives_the_gradient_of_the_cross_entropy():
    torch.manual_seed(0)
    for _ in range(20):
        x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
        y = torch.randint(5, (6,))
        (expected,) = torch.autograd.grad(cross_entropy(x, y, reduction="sum"), x)
        (update,) = torch.autograd.grad(error_driven(x, x.softmax(1), one_hot(y, 5)), x)
        torch.testing.assert_close(update, expected)


def test_the_loss_augmented_step_gives_the_gradient_of_the_hinge_loss():
    torch.manual_seed(0)
    for _ in range(20):
        x = torch.randn(8, dtype=torch.float64, requires_grad=True) * 2
        y = torch.randint(2, (8,))
        both = torch.stack([-x, x], 1)  # (x_1, x_2) of the paper
        (expected,) = torch.autograd.grad((1 - both[torch.arange(8), y]).clamp(min=0).sum(), x, retain_graph=True)
        outputs = step_function(both.detach() - 1, "heaviside")
        desired = torch.where(one_hot(y, 2) == 1, 1, outputs)  # the other output does not count
        (update,) = torch.autograd.grad(error_driven(both, outputs, desired), x)
        torch.testing.assert_close(update, expected)


@pytest.mark.parametrize("step", ["piecewise", "sigmoid"])
@pytest.mark.parametrize("name", ["ap", "auc"])
def test_the_outputs_of_equation_3_give_the_update_of_the_ranking_losses(name, step):
    for seed in trials(30, 100):
        logits, targets = small_problem(seed)
        if not (targets == 1).any():
            continue
        s = logits.clone().requires_grad_()
        x = s[None] - s[:, None]  # Equation 1, and autograd through it is Equation 14
        y = (targets[:, None] == 1) & (targets[None] == 0)  # Equation 2
        valid = (targets != -1)[None] & ~torch.eye(len(s), dtype=torch.bool)
        steps = step_function(x.detach(), step, 0.7)
        below = 1 + (steps * valid).sum(1, keepdim=True) if name == "ap" else (targets == 0).sum().clamp(min=1)
        outputs = steps / below  # Equations 3 and 7
        error = error_driven(x, outputs, torch.where(y, 0, outputs)) / (targets == 1).sum()
        error.backward()
        function, arguments = (ap_loss, {"interpolated": False}) if name == "ap" else (auc_loss, {})
        loss, update = loss_and_update(function, logits, targets, delta=0.7, step=step, **arguments)
        assert loss.item() == pytest.approx(error.item(), abs=1e-12)
        torch.testing.assert_close(update, s.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float64])
def test_outputs_may_have_any_dtype(dtype):
    x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    loss = error_driven(x, (x >= 0).to(dtype), torch.tensor([1, 1, 0]).to(dtype))
    loss.backward()
    assert loss == 2 and x.grad.tolist() == [-1, 0, 1]


def test_many_errors_of_half_precision_are_summed_in_float32():
    x = torch.zeros(100_000, dtype=torch.float16, requires_grad=True)  # more than float16's largest number
    loss = error_driven(x, torch.ones_like(x), torch.zeros_like(x))
    loss.backward()
    assert loss.item() == 100_000 and x.grad.dtype == torch.float16 and (x.grad == 1).all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"differ in shape: \(3,\), \(3,\), \(1,\)"):
        error_driven(torch.zeros(3), torch.zeros(3), torch.zeros(1))
