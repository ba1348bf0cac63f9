"""The losses inside torch.compile: no break of the graph, no recompilation as values change, and eager's results."""

import itertools

import pytest
import torch
from torch._dynamo.utils import counters

from src import losses

CASES = {f"ap {step}": ("ap_loss", {"step": step, "delta": 0.5}) for step in losses.STEPS}
CASES |= {
    "ap not interpolated": ("ap_loss", {"interpolated": False}),
    "auc": ("auc_loss", {}),
    "approximate gradient": ("ap_approximate_gradient_loss", {"epsilon": 1e-3}),
    "structured hinge": ("ap_structured_hinge_loss", {}),
    "focal": ("focal_loss", {}),
    "focal with gamma below 1": ("focal_loss", {"gamma": 0.5}),
    "ohem": ("ohem_loss", {"negatives_per_positive": 2}),
}
by_case = pytest.mark.parametrize(
    "case", [case if case in ("ap piecewise", "ohem") else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
MODULES = {"APLoss": {}, "AUCLoss": {}, "APApproximateGradientLoss": {}, "APStructuredHingeLoss": {}, "FocalLoss": {}}


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def batches(name, steps=5):
    """Yield inputs [3, 40, 8] and targets with other values and other numbers of positives at each step."""
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        anchors = torch.rand(3, 40, generator=generator)
        is_positive = anchors < 0.05 * step  # at the first step there are none
        targets = torch.zeros(3, 40, 4, dtype=torch.int8)
        targets[is_positive, 1] = 1
        targets[anchors > 0.9] = -1
        yield torch.randn(3, 40, 8, generator=generator), targets


def model_for(name):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5 if name == "ohem_loss" else 4)
    )


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.slow
@by_case
def test_a_model_with_a_loss_compiles_once_and_whole(case):
    name, options = CASES[case]
    model = model_for(name)

    def step(inputs, targets):
        return 3 * getattr(losses, name)(model(inputs), targets, **options)

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for inputs, targets in batches(name):
        expected = step(inputs, targets)
        expected_gradients = gradients(model, expected)
        loss = compiled(inputs, targets)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients(model, loss), expected_gradients)
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], dict(counters)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_compiles_too(name):
    module = getattr(losses, name)(**MODULES[name])
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    for _, targets in batches(name, 3):
        logits = torch.randn(targets.shape, dtype=torch.float64)
        torch.testing.assert_close(compiled(logits, targets), module(logits, targets))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], dict(counters)


@by_case
def test_errors_and_special_values_are_those_of_eager(case):
    name, options = CASES[case]
    function = getattr(losses, name)
    compiled = torch.compile(lambda x, t: function(x, t, **options), backend="aot_eager", fullgraph=True)
    ((_, targets),) = batches(name, 1)
    targets[0, 0, 0] = 1
    targets[1, 1] = -1
    logits = torch.randn(3, 40, 5 if name == "ohem_loss" else 4)
    for bad in (0.5, float("nan"), float("-inf")):
        for place in ((0, 0, 0), (0, 1, 1), (1, 1, 2)):
            x = logits.clone()
            x[place] = bad
            one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
            (expected, loss) = function(one, targets, **options), compiled(other, targets)
            expected.backward()
            loss.backward()
            torch.testing.assert_close(loss, expected, equal_nan=True)
            torch.testing.assert_close(other.grad, one.grad, equal_nan=True)
    with pytest.raises(ValueError, match="targets must be 1"):
        compiled(logits, targets + 5)


@pytest.mark.parametrize("value", [0.5, torch.nan])
def test_the_compiler_knows_the_layout_of_the_operators_results(value):
    """Whatever that of the arguments is, such as that of targets made by one_hot and permuted."""
    ((_, targets),) = batches("ohem_loss", 1)
    targets[0, 0, 1] = 1
    outputs = torch.randn(3, 40, 5)
    outputs[0, 0, 1] = value
    operators = getattr(torch.ops, losses.compiling.NAMESPACE)
    for one, other in itertools.product((lambda x: x, lambda x: x.mT.contiguous().mT), repeat=2):
        x, t = one(outputs), other(targets)
        cases = [(operators.checked_targets, (t,)), (operators.choose_anchors, (x, t, 3))]
        cases += [(operators.loss_and_update, (one(outputs[..., 1:]), t, "ap_structured_hinge_loss"))]
        for operator, arguments in cases:
            torch.library.opcheck(operator.default, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_after_the_incoming_gradient(dtype):
    torch.manual_seed(0)
    targets = (torch.rand(50_000) < 1e-3).long()
    logits = torch.randn(50_000).to(dtype).requires_grad_()
    compiled = torch.compile(lambda x, t: losses.ap_loss(x, t) * 2.0**16, backend="aot_eager", fullgraph=True)
    compiled(logits, targets).backward()
    update, logits.grad = logits.grad, None
    (losses.ap_loss(logits, targets) * 2.0**16).backward()
    assert update.dtype == dtype and update.equal(logits.grad)


@pytest.mark.slow
@pytest.mark.parametrize("function", [losses.ap_loss, losses.ap_approximate_gradient_loss])
def test_an_option_that_follows_a_schedule_has_its_value_of_each_call(function):
    """With the default compiler, and as an expression of a number that the rest of the graph needs, too."""
    ((_, targets),) = batches("ap_loss", 1)
    targets[:, ::9] = 1
    logits = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))

    def step(progress):
        return function(logits * progress, targets, delta=2 - progress)

    compiled = torch.compile(step, fullgraph=True)
    for progress in (0.2, 0.4, 0.6, 0.8):
        torch.testing.assert_close(compiled(progress), step(progress))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["ap piecewise"])
def test_compiles_with_the_default_compiler(case):
    name, options = CASES[case]
    model = model_for(name)
    compiled = torch.compile(lambda x, t: getattr(losses, name)(model(x), t, **options), fullgraph=True)
    for inputs, targets in batches(name, 3):
        expected = getattr(losses, name)(model(inputs), targets, **options)
        expected_gradients = gradients(model, expected)
        loss = compiled(inputs, targets)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradients(model, loss), expected_gradients)
    assert counters["stats"]["unique_graphs"] == 1
