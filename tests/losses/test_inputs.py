"""What is the same for all losses with unusual and with wrong input."""

import re

import pytest
import torch

from src.losses import (
    STEPS,
    ap_approximate_gradient_loss,
    ap_loss,
    ap_structured_hinge_loss,
    auc_loss,
    error_driven,
    focal_loss,
    ohem_loss,
)
from src.losses.checks import check_float64
from tests.losses.problems import loss_and_update, small_problem

RANKING = [ap_loss, auc_loss, ap_approximate_gradient_loss, ap_structured_hinge_loss]


@pytest.mark.parametrize("function", [*RANKING, focal_loss])
def test_errors_say_what_is_wrong(function):
    logits = torch.zeros(4)
    with pytest.raises(ValueError, match=r"differ in shape: \(4,\) and \(2, 2\)"):
        function(logits, torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4,\); targets are 1, 0 or -1 for each logit, not a class"):
        function(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"targets must be 1 .* or -1 \(ignored\), not 2$"):
        function(logits, torch.tensor([0, 1, 2, 0]))
    with pytest.raises(ValueError, match=r"targets must be 1 .* or -1 \(ignored\), not 0.5$"):
        function(logits, torch.tensor([0, 0.5, 1, 0]))
    with pytest.raises(TypeError, match="floating tensor, not torch.int64"):
        function(torch.arange(4), torch.zeros(4))
    with pytest.raises(ValueError, match="logits are on cpu, targets on meta"):
        function(logits, torch.zeros(4, device="meta"))


def call(function, logits, targets, **options):
    """Return loss and update of logits and targets [n], for OHEM as outputs of one class."""
    if function is not ohem_loss:
        return loss_and_update(function, logits, targets, **options)
    outputs = torch.stack([torch.zeros_like(logits), logits], 1)[None]
    return loss_and_update(function, outputs, targets[None, :, None], **options)


@pytest.mark.parametrize("function", [*RANKING, focal_loss, ohem_loss])
def test_any_dtype_of_targets_is_taken(function):
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0))
    targets = (torch.arange(40) % 4 == 0).long()
    expected_loss, expected = call(function, logits, targets)
    unsigned = [torch.uint8, torch.uint16, torch.uint32, torch.uint64]
    floating = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    for dtype in [torch.bool, torch.int8, torch.int16, torch.int32, *unsigned, *floating]:
        loss, update = call(function, logits, targets.to(dtype))
        assert loss.equal(expected_loss) and update.equal(expected), dtype
    for dtype in unsigned:  # a −1 that was converted is no longer one
        largest = re.escape(f"{torch.iinfo(dtype).max:.8g}")
        with pytest.raises(ValueError, match=rf"or -1 \(ignored\), not {largest}; an unsigned dtype has no -1"):
            call(function, logits, torch.where(torch.arange(40) == 3, -1, targets).to(dtype))


@pytest.mark.parametrize("function", [*RANKING, focal_loss, ohem_loss])
def test_what_is_no_tensor_of_numbers_is_refused_by_name(function):
    logits, targets = torch.zeros(1, 4, 2), torch.zeros(1, 4, 1 if function is ohem_loss else 2)
    for wrong in (torch.complex64, torch.float8_e4m3fn, torch.int32, torch.bool):
        with pytest.raises(TypeError, match=f"logits must be a floating tensor, not {wrong}"):
            function(logits.to(wrong), targets)
    for wrong in (torch.complex64, torch.float8_e4m3fn):
        with pytest.raises(TypeError, match=f"targets must be a tensor of integers, bools or floats, not {wrong}"):
            function(logits, targets.to(wrong))
    with pytest.raises(TypeError, match="targets must be a tensor, not list"):
        function(logits, targets.tolist())
    for wrong in (logits.tolist(), logits.numpy()):
        with pytest.raises(TypeError, match=f"logits must be a tensor, not {type(wrong).__name__}"):
            function(wrong, targets)
    with pytest.raises(TypeError, match="logits must be a dense tensor, not torch.sparse_coo"):
        function(logits.to_sparse(), targets)
    with pytest.raises(TypeError, match="logits must be a dense tensor, not a nested one"):
        function(torch.nested.nested_tensor([*logits]), torch.nested.nested_tensor([*targets]))
    for shape in ((1, 1, 1), (4, 2), (2, 4, 2)):  # which would broadcast
        with pytest.raises(ValueError, match="logits and targets differ in shape"):
            function(logits, torch.zeros(shape))
    for bad in (torch.nan, torch.inf, 0.5, -2):
        with pytest.raises(ValueError, match="targets must be 1"):
            function(logits, torch.full_like(targets, bad))


def test_a_device_without_float64_is_refused():
    # The argument alone can be tried here: torch makes no tensor on mps on other machines.
    with pytest.raises(ValueError, match=r"mps, which has no float64: pass logits.cpu\(\)"):
        check_float64(torch.device("mps"))


@pytest.mark.parametrize("function", [*RANKING, focal_loss])
def test_a_scalar_an_empty_tensor_and_logits_without_gradient(function):
    for target in (0, 1, -1):
        loss, update = loss_and_update(function, torch.tensor(0.5), torch.tensor(target))
        assert loss.shape == update.shape == () and loss.isfinite() and update.isfinite()
    loss, update = loss_and_update(function, torch.zeros(2, 0, 3), torch.zeros(2, 0, 3))
    assert loss == 0 and update.shape == (2, 0, 3)
    logits, targets = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    expected, _ = loss_and_update(function, logits, targets)
    assert not function(logits, targets).requires_grad and function(logits, targets) == expected
    with torch.inference_mode():
        assert function(logits + 0, targets) == expected


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("function", [*RANKING, focal_loss])
def test_logits_need_not_be_on_torchs_default_device(function, step):
    logits, targets = torch.linspace(-1, 1, 64), torch.zeros(64, dtype=torch.int8)
    targets[20:22] = 1  # so few that they are looked for eight at a time
    options = {"step": step} if function in (ap_loss, auc_loss) else {}
    expected = loss_and_update(function, logits, targets, **options)
    with torch.device("meta"):
        found = loss_and_update(function, logits, targets, **options)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("function", [*RANKING, lambda x, t: error_driven(x, x.sigmoid(), t)])
def test_an_update_is_not_taken_for_a_constant_in_a_second_derivative(function):
    weights = torch.linspace(-1, 1, 6, requires_grad=True)
    loss = function(weights**2, torch.tensor([0, 1, 0, 0, 1, 0]))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, weights, create_graph=True)


@pytest.mark.parametrize("function", [focal_loss, ohem_loss])
def test_the_classification_losses_have_second_derivatives(function):
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.zeros(2, 6, 4 if function is focal_loss else 3)
    targets[0, 1, 2], targets[1, 0, 0], targets[0, 5, 0] = 1, 1, -1
    assert torch.autograd.gradgradcheck(lambda x: function(x, targets), logits)


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
