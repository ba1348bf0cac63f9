"""Losses over the logits of several processes, against one process that has them all."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from src import losses
from tests.losses.problems import KINDS, THOUSANDS, loss_and_update, random_problem, relative_error
from tests.losses.processes import World
from tests.losses.test_ohem import random_problem as random_images
from tests.support.exhaustive import trials

RANKING = {f"{name} {step}": (name, {"step": step}) for name in ("ap_loss", "auc_loss") for step in losses.STEPS}
RANKING |= {name: (name, {}) for name in ("ap_approximate_gradient_loss", "ap_structured_hinge_loss")}
LOSSES = RANKING | {"focal_loss": ("focal_loss", {})}
OPTIONS = {"ap_loss": ["delta", "interpolated"], "auc_loss": ["delta"], "ap_approximate_gradient_loss": ["delta"]}
# Three processes serve all tests of this module.
pytestmark = [pytest.mark.slow, pytest.mark.multiprocess]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 1e-3}
SIZES = list(World.groups)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("processes"))
    yield world
    world.stop()


def loss_in_group(group, name, logits, targets, arguments):
    return loss_and_update(getattr(losses, name), logits, targets, process_group=group, **arguments)


def deal(sizes, *tensors):
    """Return the parts of tensors that are cut alike along their first dimension, each with its own memory."""
    return list(zip(*([part.clone() for part in tensor.split(sizes)] for tensor in tensors), strict=True))


def random_sizes(number, parts, seed):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(0, number + 1, (parts - 1,), generator=generator)
    if seed % 4 == 0:
        ends[0] = number * (seed // 4 % 2)  # the first or the last process has nothing
    ends = ends.sort().values.tolist()
    return [end - begin for begin, end in zip([0, *ends], [*ends, number], strict=True)]


def without_some(targets, sizes, seed):
    """Return the targets where some process ignores everything, or where it has no positives; or as they are."""
    parts = list(targets.clone().split(sizes))
    one = seed // 4 % len(parts)
    if seed % 4 == 1:
        parts[one] = torch.full_like(parts[one], -1)
    elif seed % 4 == 2:
        parts[one] = parts[one].clamp(max=0)
    return torch.cat(parts)


def assert_equal_to_one_process(processes, problems):
    """Assert that all processes return one loss, that of one process, and their updates are the parts of its update.

    Args:
        problems: name of the loss, logits, targets, keyword arguments, and how they are cut along the first dimension.
    """
    calls = [
        [(name, *part, arguments) for part in deal(sizes, logits, targets)]
        for name, logits, targets, arguments, sizes in problems
    ]
    answers = processes.call(loss_in_group, list(zip(*calls, strict=True)))
    for (name, logits, targets, arguments, sizes), answer in zip(problems, answers, strict=True):
        loss, update = loss_and_update(getattr(losses, name), logits, targets, **arguments)
        values, updates = zip(*answer, strict=True)
        assert all(value.equal(values[0]) for value in values), (arguments, sizes)
        assert [len(one) for one in updates] == sizes
        together = torch.cat(updates)
        assert values[0].dtype == loss.dtype and together.dtype == update.dtype
        assert relative_error(values[0], loss) < TOLERANCE[logits.dtype], (arguments, sizes)
        assert relative_error(together, update) < TOLERANCE[logits.dtype], (arguments, sizes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", LOSSES)
def test_equals_one_process_on_random_problems(processes, case, size):
    name, arguments = LOSSES[case]
    problems = []
    for seed in trials(len(KINDS), 8 * len(KINDS)):
        if KINDS[seed % len(KINDS)] == THOUSANDS and seed >= len(KINDS):
            continue
        dtype = [torch.float64, torch.float32][(seed + seed // len(KINDS)) % 2]
        logits, targets, used_options = random_problem(1000 * size + seed, dtype)
        sizes = random_sizes(len(logits), size, seed)
        used_options = {option: used_options[option] for option in OPTIONS.get(name, [])}
        problems.append((name, logits, without_some(targets, sizes, seed), arguments | used_options, sizes))
    assert_equal_to_one_process(processes, problems)


@pytest.mark.parametrize("size", SIZES)
def test_ohem_equals_one_process_on_random_problems(processes, size):
    problems = []
    for seed in trials(10, 100):
        logits, targets = (torch.cat(both) for both in zip(random_images(seed), random_images(seed + 1), strict=True))
        sizes = random_sizes(len(logits), size, seed)
        targets, logits = without_some(targets, sizes, seed), logits.to([torch.float64, torch.float32][seed % 2])
        problems.append(("ohem_loss", logits, targets, {"negatives_per_positive": 1 + seed % 3}, sizes))
    assert_equal_to_one_process(processes, problems)


def test_large_problems(processes):
    """In several chunks and many bins, with scores that tie, also in bfloat16."""
    torch.manual_seed(0)
    logits = torch.randn(300_000)
    targets = torch.zeros(300_000, dtype=torch.int8)
    targets[torch.randperm(300_000)[:60]] = 1
    problems = []
    for dtype in TOLERANCE:
        for shift in (0, 3):
            scores = (logits + shift * targets).to(dtype)
            for name, arguments in LOSSES.values():
                problems.append((name, scores, targets, arguments, [100_000, 200_000]))
    assert_equal_to_one_process(processes, problems)


def test_badly_spread_scores(processes):
    """One far negative, so that all others are in one bin and are sorted together."""
    torch.manual_seed(0)
    logits, targets = torch.randn(3000).round(decimals=2), (torch.rand(3000) < 0.01).long()
    logits[0], targets[0] = 1e6, 0
    assert_equal_to_one_process(processes, [("ap_structured_hinge_loss", logits, targets, {}, [1000, 0, 2000])])


def test_equal_scores_rank_in_the_order_of_processes(processes):
    """The negative first, then the second process's positive and then the first one's: precisions ½, ⅔."""
    arguments = {"step": "heaviside", "interpolated": False}
    parts = [[("ap_loss", torch.zeros(1), torch.tensor([target]), arguments)] for target in (1, 0, 1)]
    (answers,) = processes.call(loss_in_group, parts)
    assert [loss.item() for loss, _ in answers] == pytest.approx(3 * [1 - (1 / 2 + 2 / 3) / 2])
    updates = [update.item() for _, update in answers]
    assert updates == pytest.approx([-1 / 6, 1 / 6 + 1 / 4, -1 / 4])


@pytest.mark.parametrize("size", SIZES)
def test_not_finite_scores_of_one_process_are_not_hidden_from_others(processes, size):
    problems = []
    for name, arguments in RANKING.values():
        for bad in (torch.nan, torch.inf, -torch.inf):
            for place in (0, 1):
                for ignored in (False, True):
                    logits, targets = torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0]), torch.tensor([1, 0, 0, 1, 0])
                    logits[place] = bad
                    if ignored:
                        targets[place] = -1
                    problems.append((name, logits, targets, arguments, [2, 3] if size == 2 else [2, 0, 3]))
    calls = [[(name, *part, arguments) for part in deal(sizes, *two)] for name, *two, arguments, sizes in problems]
    answers = processes.call(loss_in_group, list(zip(*calls, strict=True)))
    for (name, logits, targets, *_), answer in zip(problems, answers, strict=True):
        # A negative of −∞ ranks last.
        finite = bool((logits.isfinite() | (targets == -1) | (targets == 0) & (logits == -torch.inf)).all())
        for loss, update in answer:
            assert loss.isfinite() == finite and (update.isfinite() == finite).all(), name


@pytest.mark.parametrize("name", ["focal_loss", "ohem_loss"])
def test_focal_loss_and_ohem_are_nan_with_any_logit(processes, name):
    logits, targets = torch.arange(36.0).view(3, 4, 3), torch.zeros(3, 4, 2 if name == "ohem_loss" else 3)
    targets[:, 0, 0] = 1
    logits[0, 0, 0] = torch.nan
    (answers,) = processes.call(loss_in_group, [[(name, *part, {})] for part in deal([1, 2], logits, targets)])
    assert all(loss.isnan() for loss, _ in answers)
    assert all(update.isnan().any() for _, update in answers)


@pytest.mark.parametrize("size", SIZES)
def test_without_positives_or_logits_anywhere(processes, size):
    shapes = [(2, 3, 4), (0,), (5,)][-size:]
    for name, arguments in LOSSES.values():
        if name == "focal_loss":
            continue
        for target in (0, -1):
            parts = [[(name, torch.ones(shape), torch.full(shape, target), arguments)] for shape in shapes]
            (answers,) = processes.call(loss_in_group, parts)
            for (loss, update), shape in zip(answers, shapes, strict=True):
                assert loss == 0 and update.shape == shape and not update.any()
    for name, arguments in [*LOSSES.values(), ("ohem_loss", {})]:
        logits, targets = (0, 4, 3), (0, 4, 2 if name == "ohem_loss" else 3)
        parts = size * [[(name, torch.zeros(logits), torch.zeros(targets), arguments)]]
        (answers,) = processes.call(loss_in_group, parts)
        assert all(loss == 0 and update.shape == logits for loss, update in answers)


def test_shapes_may_differ(processes):
    torch.manual_seed(0)
    logits = torch.randn(29, dtype=torch.float64)
    targets = torch.arange(29) % 3 - 1
    for name, arguments in LOSSES.values():
        loss, update = loss_and_update(getattr(losses, name), logits, targets, **arguments)
        block, row = deal([24, 5], logits, targets)
        block = [tensor.view(2, 3, 4) for tensor in block]
        (answers,) = processes.call(loss_in_group, [[(name, *part, arguments)] for part in (block, row)])
        torch.testing.assert_close([one[0] for one in answers], [loss, loss], rtol=1e-12, atol=0)
        together = torch.cat([answers[0][1].flatten(), answers[1][1]])
        torch.testing.assert_close(together, update, rtol=1e-12, atol=1e-14)


def shared_gradient(group, name, inputs, targets, arguments, averaged):
    """Return the gradient of a linear layer that all processes have, by itself or in DistributedDataParallel."""
    layer = torch.nn.Linear(inputs.shape[-1], 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, layer.weight.numel()).view_as(layer.weight))
        layer.bias.zero_()
    model = DistributedDataParallel(layer, process_group=group) if averaged else layer
    loss = getattr(losses, name)(model(inputs), targets, process_group=group, **arguments)
    (loss * group.size() if averaged else loss).backward()
    return layer.weight.grad


@pytest.mark.parametrize("averaged", [False, True])
def test_gradients_of_a_shared_layer(processes, averaged):
    torch.manual_seed(0)
    inputs = torch.randn(40, 10, 6, dtype=torch.float64)
    targets = torch.randint(-1, 2, (40, 10, 3))
    for name, arguments in [*LOSSES.values(), ("ohem_loss", {})]:
        if name == "ohem_loss":
            targets = (torch.rand(40, 10, 1) < 0.2) * torch.tensor([1, 0])
        whole = inputs.requires_grad_()
        layer = torch.linspace(-1, 1, 18).view(3, 6).double().requires_grad_()
        getattr(losses, name)(whole.detach() @ layer.T, targets, **arguments).backward()
        parts = [[(name, *part, arguments, averaged)] for part in deal([5, 15, 20], inputs.detach(), targets)]
        (gradients,) = processes.call(shared_gradient, parts)
        for gradient in gradients if averaged else [sum(gradients)]:
            torch.testing.assert_close(gradient, layer.grad, rtol=1e-10, atol=1e-12)


def numbers_sent(group, name, logits, targets, arguments):
    """Return how many numbers a process sends in the forward and in the backward pass."""
    sent = []
    gather, reduce = dist.all_gather, dist.all_reduce

    def all_gather(found, own, **kwargs):
        sent.append(own.numel())
        gather(found, own, **kwargs)

    def all_reduce(x, **kwargs):
        sent.append(x.numel())
        reduce(x, **kwargs)

    with mock.patch.object(dist, "all_gather", all_gather), mock.patch.object(dist, "all_reduce", all_reduce):
        loss = getattr(losses, name)(logits.requires_grad_(), targets, process_group=group, **arguments)
        forward = sum(sent)
        loss.backward()
    return forward, sum(sent) - forward


@pytest.mark.parametrize("case", LOSSES)
def test_what_is_sent_does_not_grow_with_the_negatives(processes, case):
    name, arguments = LOSSES[case]
    torch.manual_seed(0)
    positives, few, many = torch.randn(2, 50), torch.randn(2, 2000), torch.randn(2, 200_000)
    sent = {}
    for negatives in (few, many):
        logits = torch.cat([positives, negatives], 1)
        targets = torch.cat([torch.ones_like(positives), torch.zeros_like(negatives)], 1)
        parts = [[(name, *part, arguments)] for part in zip(logits, targets, strict=True)]
        (((sent[negatives.shape[1]], backward), other),) = processes.call(numbers_sent, parts)
        assert backward == 0 and other == (sent[negatives.shape[1]], 0)
    if name == "ap_structured_hinge_loss":  # a number for each of its bins, and what has to be sorted
        assert sent[200_000] < 200_000 / 6
    else:
        assert sent[200_000] == sent[2000] > 0


def test_works_where_torch_has_no_distributed():
    code = """
import sys, types, torch, torchvision
stub = types.ModuleType("torch.distributed")
stub.ProcessGroup = type("ProcessGroup", (), {})
torch.distributed = sys.modules["torch.distributed"] = stub
from src import losses
for name in ("ap_loss", "auc_loss", "ap_approximate_gradient_loss", "ap_structured_hinge_loss", "focal_loss"):
    logits = torch.linspace(1, -1, 9).requires_grad_()
    getattr(losses, name)(logits, torch.arange(9) % 3 - 1).backward()
    assert logits.grad.any()
"""
    subprocess.run([sys.executable, "-c", code], cwd=Path(losses.__file__).parents[2], check=True, timeout=120)
