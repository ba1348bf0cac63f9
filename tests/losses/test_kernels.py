"""The Triton kernels on a CPU, in Triton's interpreter, against the same losses in float64.

The interpreter has to be chosen before Triton is imported, so these tests run in a process of their own.
"""

import functools
import os
import subprocess
import sys

import pytest
import torch
from torch import inf, nan

from src import losses
from src.losses import gpu
from src.losses.reference import ap_loss_reference, auc_loss_reference
from src.utils import paths
from tests.losses.problems import KINDS, THOUSANDS, loss_and_update, random_problem, relative_error
from tests.support.exhaustive import EXHAUSTIVE, trials

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="in a process of its own")
exhaustive = pytest.mark.skipif(not EXHAUSTIVE, reason="takes long")
CASES = {
    f"{name} {step}{' not' * (interpolated is False)} interpolated".removesuffix(
        " interpolated" if interpolated is None else ""
    ): (
        name,
        {"step": step} | ({} if interpolated is None else {"interpolated": interpolated}),
    )
    for step in ("piecewise", "heaviside")
    for name, interpolated in (("ap_loss", True), ("ap_loss", False), ("auc_loss", None))
}
by_case = pytest.mark.parametrize("case", CASES)
PROBLEM = torch.tensor([0.5, -1.0, 1.0, 0.25, 2.0, -0.5, 0.5, 3.0, -50.0]), torch.tensor([1, 0, 0, -1, 1, 0, -1, 0, 0])


@pytest.mark.skipif(INTERPRETED, reason="is this process")
@pytest.mark.slow
def test_the_kernels_in_the_interpreter():
    pytest.importorskip("triton")
    # Without conftest.py, which imports what trains detectors.
    command = [sys.executable, "-m", "pytest", "--noconftest", "-n", "0", "-p", "no:cacheprovider", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(paths.ROOT)}
    process = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-10_000:]


def test_the_kernels_are_for_gpus_and_what_they_can_compute():
    logits = torch.zeros(3)
    assert not gpu.suits(logits, "piecewise", 1.0, None)
    with gpu.kernels(True):
        assert gpu.suits(logits, "piecewise", 1.0, None) and gpu.suits(logits.half(), "heaviside", 1e-90, None)
        for other in (logits.double(), logits[:0], [0.0]):
            assert not gpu.suits(other, "piecewise", 1.0, None)
        assert not gpu.suits(logits, "sigmoid", 1.0, None) and not gpu.suits(logits, "piecewise", 1e-90, None)
        assert not gpu.suits(logits, "piecewise", 1.0, object())
        with gpu.kernels(False):
            assert not gpu.suits(logits, "piecewise", 1.0, None)


@pytest.fixture(autouse=INTERPRETED)
def few_steps_to_interpret(monkeypatch):
    from src.losses import launch

    shapes = {"rank": (128, 4), "lay_grid": (1024, 4), "solve": (128, 4), "count": (1024, 4)}
    monkeypatch.setattr(launch, "SHAPES", launch.SHAPES | shapes)


def run(case, logits, targets, **options):
    """Return the loss of a case and its update, by the kernels."""
    name, own = CASES[case]
    with gpu.kernels(True):
        return loss_and_update(getattr(losses, name), logits, targets, **own, **options)


def expect(case, logits, targets, **options):
    """Return the loss of a case and its update by its definition, in float64."""
    name, own = CASES[case]
    if len(logits) > 5000:  # which would take the definition minutes
        return loss_and_update(getattr(losses, name), logits.double(), targets, **own, **options)
    reference = {"ap_loss": ap_loss_reference, "auc_loss": auc_loss_reference}[name]
    return loss_and_update(reference, logits.double(), targets, **own, **options)


def assert_right(case, logits, targets, **options):
    (loss, update), (expected_loss, expected) = (f(case, logits, targets, **options) for f in (run, expect))
    assert loss.dtype == torch.float32 and update.dtype == logits.dtype and update.shape == logits.shape
    # The interpreter cuts digits off where a GPU rounds.
    tolerance = 1e-6 if logits.dtype == torch.float32 else torch.finfo(logits.dtype).eps
    assert relative_error(loss, expected_loss) < 1e-6, (case, options)
    assert relative_error(update, expected) < tolerance, (case, options)


@interpreted
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_random_problems(kind):
    for trial in trials(0, 3) if KINDS[kind] == THOUSANDS else trials(1, 30):  # thousands take seconds
        seed = kind + trial * len(KINDS)
        logits, targets, options = random_problem(seed)
        for case in CASES if EXHAUSTIVE else list(CASES)[seed % 6 :: 6]:
            assert_right(case, logits, targets, delta=options["delta"])


@interpreted
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype):
    for seed in trials(1, 22):
        logits, targets, options = random_problem(seed)
        for case in CASES if EXHAUSTIVE else list(CASES)[::3]:
            assert_right(case, logits.to(dtype), targets, delta=options["delta"])


@interpreted
@exhaustive
def test_tens_of_thousands_of_positives():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(60_000, generator=generator)
    targets = (torch.rand(60_000, generator=generator) < 0.4).long()
    for case in CASES:
        assert_right(case, logits, targets, delta=0.3)


@interpreted
@exhaustive
@by_case
@pytest.mark.parametrize("value", [0.3, -7.0])
def test_millions_of_equal_scores(case, value):
    targets = torch.zeros(2**21 + 2**19, dtype=torch.int8)
    targets[::100_000] = 1
    for delta in (1e-3, 1.0):
        logits = torch.full(targets.shape, value)
        logits[::100_000] += torch.linspace(-0.5, 0.5, len(targets[::100_000]))
        assert_right(case, logits, targets, delta=delta)


@interpreted
@by_case
def test_what_is_not_finite_where_it_counts_makes_all_nan(case):
    for bad, place in ((nan, 4), (-inf, 0), (inf, 1)):
        logits, targets = PROBLEM[0].clone(), PROBLEM[1]
        logits[place] = bad
        logits[-1] = -inf
        loss, update = run(case, logits, targets)
        assert loss.isnan() and update[targets != -1][:-1].isnan().all()
        assert (update[targets == -1] == 0).all() and update[-1] == 0


@interpreted
def test_special_values():
    case = "ap_loss piecewise interpolated"
    logits, targets = PROBLEM
    expected = run(case, logits, targets)
    assert expected[0] > 0
    for bad in (nan, inf, -inf):  # at an ignored entry
        changed = torch.where(targets == -1, bad, logits)
        assert all(one.equal(other) for one, other in zip(run(case, changed, targets), expected, strict=True))
    without_positives = torch.where(targets == 1, 0, targets)
    loss, update = run(case, logits, without_positives)
    assert loss == 0 and not update.any()
    assert run(case, torch.where(targets == 0, nan, logits), without_positives)[0].isnan()
    for wrong in (torch.where(targets == -1, 2, targets), targets.float() + 0.5, targets.to(torch.uint8)):
        loss, update = run(case, logits, wrong)
        assert loss.isnan()
    assert run(case, logits * 1e12, targets, delta=1e-3)[0].isnan()  # no digits for s ± δ


@interpreted
def test_more_positives_than_there_is_memory_for_make_the_loss_nan(monkeypatch):
    from src.losses import launch

    logits = torch.randn(61)
    targets = (torch.arange(61) < 33).long()
    monkeypatch.setattr(launch, "most_positives", lambda n: 32)
    launch._plan.cache_clear()
    loss, update = run("auc_loss heaviside", logits, targets)
    assert loss.isnan() and update.isnan().all()
    targets[0] = 0
    assert_right("auc_loss heaviside", logits, targets)
    launch._plan.cache_clear()


@interpreted
def test_targets_of_any_dtype_and_layouts():
    case = "ap_loss heaviside interpolated"
    logits, targets = (x[:8].view(2, 4) for x in PROBLEM)
    expected = run(case, logits, targets)
    for dtype in (torch.int8, torch.bfloat16, torch.float64):
        assert all(map(torch.equal, run(case, logits, targets.to(dtype)), expected))
    transposed = logits.t().contiguous().t(), targets.t().contiguous().t()
    assert all(map(torch.equal, run(case, *transposed), expected))
    binary = (targets == 1).long()
    expected = run(case, logits, binary)
    for dtype in (torch.bool, torch.uint8, torch.uint16):
        assert all(map(torch.equal, run(case, logits, binary.to(dtype)), expected))


@interpreted
def test_unsigned_targets_share_no_kernels_with_the_signed_ones_as_which_they_are_read():
    from src.losses import launch

    logits, targets = PROBLEM
    launch.forget()
    with gpu.kernels(True):
        for dtype in (torch.int16, torch.uint16):  # of which only the first has a -1
            losses.ap_loss(logits, (targets == 1).to(dtype))
    assert len(launch._compiled) == 2


@interpreted
@by_case
def test_the_bits_do_not_depend_on_the_order(case):
    logits, targets, _ = random_problem(0)
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(1))
    loss, update = run(case, logits, targets)
    other_loss, other_update = run(case, logits[order], targets[order])
    assert loss.equal(other_loss) and update[order].equal(other_update)


@interpreted
@exhaustive
def test_compiles_whole_and_gets_the_incoming_gradient():
    function = functools.partial(losses.ap_loss, step="heaviside")
    with gpu.kernels(True):
        compiled = torch.compile(lambda x, t: -7.5 * function(2 * x, t), backend="aot_eager", fullgraph=True)
        for seed in range(2):
            logits, targets, _ = random_problem(seed)
            logits, targets = logits[:40], targets[:40]
            torch.testing.assert_close(
                loss_and_update(compiled, logits, targets),
                loss_and_update(lambda x, t: -7.5 * function(2 * x, t), logits, targets),
            )
