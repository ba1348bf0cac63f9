"""What is the same for all losses with unusual and with wrong input."""

import pytest
import torch

from src.losses import ap_approximate_gradient_loss, ap_loss, ap_structured_hinge_loss, auc_loss, focal_loss
from tests.losses.problems import loss_and_update, small_problem

RANKING = [ap_loss, auc_loss, ap_approximate_gradient_loss, ap_structured_hinge_loss]


@pytest.mark.parametrize("function", [*RANKING, focal_loss])
def test_errors_say_what_is_wrong(function):
    logits = torch.zeros(4)
    with pytest.raises(ValueError, match=r"differ in shape: \(4,\) and \(2, 2\)"):
        function(logits, torch.zeros(2, 2))
    with pytest.raises(ValueError, match="targets must be 1"):
        function(logits, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ValueError, match="targets must be 1"):
        function(logits, torch.tensor([0, 0.5, 1, 0]))
    with pytest.raises(TypeError, match="floating tensor, not torch.int64"):
        function(torch.arange(4), torch.zeros(4))
    with pytest.raises(ValueError, match="logits are on cpu, targets on meta"):
        function(logits, torch.zeros(4, device="meta"))


@pytest.mark.parametrize("function", [ap_loss, auc_loss, ap_approximate_gradient_loss])
@pytest.mark.parametrize("delta", [0, -1, float("nan"), float("inf")])
def test_delta_must_be_greater_than_0(function, delta):
    with pytest.raises(ValueError, match="delta must be greater than 0"):
        function(torch.zeros(4), torch.zeros(4), delta=delta)


@pytest.mark.parametrize("function", RANKING)
def test_without_positives_everything_is_zero(function):
    logits = torch.arange(5.0, requires_grad=True)
    for targets in (torch.zeros(5), torch.full((5,), -1), torch.zeros(5, dtype=torch.bool)):
        logits.grad = None
        loss = function(logits, targets)
        loss.backward()
        assert loss.item() == 0 and logits.grad.tolist() == [0] * 5
    empty = torch.zeros(0, requires_grad=True)
    function(empty, torch.zeros(0)).backward()
    assert empty.grad.shape == (0,)


@pytest.mark.parametrize("function", RANKING)
def test_not_finite_scores_are_not_hidden(function):
    for bad in (torch.nan, torch.inf):
        for place in (0, 1):
            logits, targets = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1, 0, 0])
            logits[place] = bad
            loss, update = loss_and_update(function, logits, targets)
            assert loss.isnan() and update.isnan().all(), (bad, place)
            targets[place] = -1
            loss, update = loss_and_update(function, logits, targets)
            assert loss.isfinite() and update.isfinite().all(), (bad, place)


@pytest.mark.parametrize("function", RANKING)
def test_any_shape_and_strides(function):
    torch.manual_seed(0)
    logits, targets = torch.randn(60, dtype=torch.float64), torch.arange(60) % 4 - 1
    targets[targets == 2] = 0
    expected_loss, expected = loss_and_update(function, logits, targets)
    # The ranking of ties apart, nothing depends on the order of the entries.
    turned = logits.view(5, 12).T.detach().requires_grad_()
    loss = function(turned, targets.view(5, 12).T)
    loss.backward()
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(turned.grad, expected.view(5, 12).T)


@pytest.mark.parametrize("function", RANKING)
def test_only_differences_of_scores_count(function):
    for seed in range(20):
        logits, targets = small_problem(seed)
        loss, update = loss_and_update(function, logits, targets)
        moved_loss, moved_update = loss_and_update(function, logits + 1024, targets)
        torch.testing.assert_close(moved_loss, loss, rtol=0, atol=1e-9)
        if seed % 3:  # equal scores may stand in either order
            torch.testing.assert_close(moved_update, update, rtol=0, atol=1e-9)
