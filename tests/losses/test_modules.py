"""Each module computes what its function does, with the same options and the same errors."""

import copy
import inspect
import itertools
import pickle
import re

import numpy
import pytest
import torch

from src import losses
from tests.losses.problems import loss_and_update, random_problem
from tests.losses.test_ohem import random_problem as random_images

MODULES = {
    "APLoss": ("ap_loss", {"delta": 0.5, "interpolated": False, "step": "sigmoid"}),
    "AUCLoss": ("auc_loss", {"delta": 0.5, "step": "heaviside"}),
    "APApproximateGradientLoss": ("ap_approximate_gradient_loss", {"delta": 0.5, "epsilon": 0.1}),
    "APStructuredHingeLoss": ("ap_structured_hinge_loss", {}),
    "FocalLoss": ("focal_loss", {"alpha": 0.4, "gamma": 1.5}),
    "OHEMLoss": ("ohem_loss", {"negatives_per_positive": 2}),
}
CASES = [(module, *MODULES[module]) for module in MODULES]


def problem(function):
    return random_images(0) if function == "ohem_loss" else random_problem(0)[:2]


def same(one, other):
    return all(left.equal(right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
def test_a_module_equals_its_function(module, function, options):
    logits, targets = problem(function)
    with_options = loss_and_update(getattr(losses, module)(**options), logits, targets)
    assert same(with_options, loss_and_update(getattr(losses, function), logits, targets, **options))
    with_defaults = loss_and_update(getattr(losses, module)(), logits, targets)
    assert same(with_defaults, loss_and_update(getattr(losses, function), logits, targets))
    assert not options or not same(with_options, with_defaults)


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
def test_a_module_takes_the_options_of_its_function(module, function, options):
    parameters = inspect.signature(getattr(losses, function)).parameters.values()
    expected = {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}
    actual = {p.name: p.default for p in inspect.signature(getattr(losses, module)).parameters.values()}
    assert actual == expected
    assert {*options} == {*expected} - {"process_group"}


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_computes_the_same(duplicate, module, function, options):
    original = getattr(losses, module)(**options)
    logits, targets = problem(function)
    again = duplicate(original)
    assert same(loss_and_update(again, logits, targets), loss_and_update(original, logits, targets))
    assert repr(again) == repr(original)


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
def test_the_repr_is_the_call_that_makes_the_module(module, function, options):
    original = getattr(losses, module)(**options)
    assert repr(original).startswith(f"{module}(")
    assert repr(eval(repr(original), vars(losses))) == repr(original)
    assert all(f"{name}={value!r}" in repr(original) for name, value in options.items())


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("APLoss", {"delta": 0}, "delta must be greater than 0 and finite, not 0"),
        ("APLoss", {"step": "hard"}, "step must be one of piecewise, heaviside, sigmoid, not 'hard'"),
        ("APLoss", {"interpolated": "false"}, "interpolated must be True or False, not 'false'"),
        ("AUCLoss", {"delta": -1}, "delta must be greater than 0 and finite, not -1"),
        ("APApproximateGradientLoss", {"epsilon": -1}, "epsilon must be at least 0, not -1"),
        ("APApproximateGradientLoss", {"delta": float("inf")}, "delta must be greater than 0 and finite, not inf"),
        ("APApproximateGradientLoss", {"epsilon": float("inf")}, "epsilon must be finite, not inf"),
        ("FocalLoss", {"alpha": 1.5}, "alpha must be from 0 to 1, not 1.5"),
        ("FocalLoss", {"gamma": -0.5}, "gamma must be at least 0 and finite, not -0.5"),
        ("OHEMLoss", {"negatives_per_positive": -1}, "negatives_per_positive must be an integer of at least 0, not -1"),
        ("OHEMLoss", {"negatives_per_positive": 1.5}, "must be an integer of at least 0, not 1.5"),
    ],
)
def test_wrong_options_are_refused_at_construction_as_by_the_function(module, options, message):
    logits, targets = torch.tensor([0.0, 1.0]), torch.tensor([1, 0])
    for call in (
        lambda: getattr(losses, module)(**options),
        lambda: getattr(losses, MODULES[module][0])(logits, targets, **options),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
def test_an_option_that_is_no_number_is_refused_by_name(module, function, options):
    """A text, a weight per class, or a parameter to learn, which would get no gradient."""
    logits, targets = problem(function)
    wrong = ["0.5", None, True, torch.ones(2), torch.tensor(0.5, requires_grad=True), numpy.ones(2)]
    numbers = {*options} - {"interpolated", "step"}
    for name, value in itertools.product(numbers, wrong):
        message = f"{name} must be a number, not {re.escape(repr(value))}"
        with pytest.raises(TypeError, match=message):
            getattr(losses, module)(**{name: value})
        with pytest.raises(TypeError, match=message):
            getattr(losses, function)(logits, targets, **{name: value})


@pytest.mark.parametrize(("module", "function", "options"), CASES, ids=MODULES)
def test_a_group_without_this_process_is_refused_by_name(module, function, options):
    logits, targets = problem(function)
    for wrong in (torch.distributed.GroupMember.NON_GROUP_MEMBER, "gloo"):
        message = f"process_group must be None or a ProcessGroup .* belongs to, not {wrong!r}"
        with pytest.raises(TypeError, match=message):
            getattr(losses, module)(process_group=wrong)
        with pytest.raises(TypeError, match=message):
            getattr(losses, function)(logits, targets, process_group=wrong)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", ["ap_loss", "auc_loss", "ap_approximate_gradient_loss"])
def test_numpys_and_torchs_numbers_give_the_same_bits_as_pythons(function):
    logits, targets, *_ = random_problem(0)
    for delta in (numpy.float16(0.3), numpy.float32(0.3), torch.tensor(0.3), numpy.int64(1)):
        found = loss_and_update(getattr(losses, function), logits, targets, delta=delta)
        assert same(found, loss_and_update(getattr(losses, function), logits, targets, delta=float(delta)))
