"""Logits that are infinite, NaN, equal or extreme: one rule for all losses, step functions and dtypes.

| where | what | loss | update there | update elsewhere |
| ignored | anything | as without it | 0 | as without it |
| negative | −∞ | as if it ranked last | 0 | as if it ranked last |
| negative | +∞, NaN | NaN | NaN | NaN where it counts, else 0 |
| positive | ±∞, NaN | NaN | NaN | NaN where it counts, else 0 |
"""

import functools
import itertools

import pytest
import torch
from torch import inf, nan

from src import losses
from src.losses.bucketed import ap_loss_bucketed
from src.losses.reference import (
    ap_approximate_gradient_loss_reference,
    ap_loss_reference,
    ap_structured_hinge_loss_reference,
    auc_loss_reference,
)
from tests.losses.brute_force import pair_loss
from tests.losses.problems import loss_and_update, relative_error

STEPS = losses.STEPS
PAIRS = {
    f"ap {step} {'' if i else 'not '}interpolated": (losses.ap_loss, {"step": step, "interpolated": i})
    for step in STEPS
    for i in (True, False)
}
PAIRS |= {f"auc {step}": (losses.auc_loss, {"step": step}) for step in STEPS}
RANKING = PAIRS | {
    "approximate gradient": (losses.ap_approximate_gradient_loss, {}),
    "structured hinge": (losses.ap_structured_hinge_loss, {}),
    "bucketed": (ap_loss_bucketed, {}),
}
FOCAL = {f"focal {gamma}": (losses.focal_loss, {"gamma": gamma}) for gamma in (0, 0.5, 1, 1.5, 2)}


def _anchors(logits, targets):
    """Return logits [1, n, 2] and targets [1, n, 1] of which OHEM takes each entry for an anchor of one class."""
    return torch.stack([torch.zeros_like(logits), logits], 1)[None], targets[None, :, None]


def ohem_loss_of_entries(logits, targets, negatives_per_positive=1000):
    return losses.ohem_loss(*_anchors(logits, targets), negatives_per_positive=negatives_per_positive)


LOSSES = RANKING | FOCAL | {"ohem": (ohem_loss_of_entries, {})}
SLOW = [pytest.param(dtype, marks=pytest.mark.slow) for dtype in (torch.float64, torch.float16)]
DTYPES = [torch.float32, torch.bfloat16, *SLOW]
# Few trivial negatives, and so many that they are left out.
PROBLEMS = {
    "few trivial": ([0.5, -1.0, 1.0, 0.25, 2.0, -0.5, 0.5, 3.0], [1, 0, 0, -1, 1, 0, -1, 0]),
    "many trivial": ([0.5, 1.0, 0.25, 2.0] + [-50.0] * 40, [1, 0, -1, 1] + [0] * 38 + [-1] * 2),
}
by_loss = pytest.mark.parametrize("name", LOSSES)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def problem(kind, dtype):
    logits, targets = PROBLEMS[kind]
    return torch.tensor(logits, dtype=dtype), torch.tensor(targets)


def bits_equal(one, other):
    return all(a.equal(b) for a, b in zip(one, other, strict=True))


@by_dtype
@by_loss
def test_what_is_not_finite_where_it_counts_makes_all_nan(name, dtype):
    function, options = LOSSES[name]
    for kind in PROBLEMS:
        for place, target in enumerate(PROBLEMS[kind][1]):
            for bad in {1: (inf, -inf, nan), 0: (inf, nan), -1: ()}[target]:
                logits, targets = problem(kind, dtype)
                logits[place] = bad
                loss, update = loss_and_update(function, logits, targets, **options)
                assert loss.isnan(), (kind, place, bad)
                assert update[targets != -1].isnan().all(), (kind, place, bad)
                assert (update[targets == -1] == 0).all(), (kind, place, bad)


@by_dtype
@by_loss
def test_an_ignored_entry_changes_nothing(name, dtype):
    function, options = LOSSES[name]
    for kind in PROBLEMS:
        logits, targets = problem(kind, dtype)
        expected = loss_and_update(function, logits, targets, **options)
        assert expected[0].isfinite() and expected[1].any()
        for bad in (inf, -inf, nan, torch.finfo(dtype).max, torch.finfo(dtype).min):
            changed = torch.where(targets == -1, bad, logits)
            assert bits_equal(loss_and_update(function, changed, targets, **options), expected), (kind, bad)


@by_dtype
@by_loss
def test_a_negative_of_minus_infinity_ranks_last(name, dtype):
    """As a negative so low that nothing depends on how low it is; it counts in |N|."""
    function, options = LOSSES[name]
    for kind in PROBLEMS:
        logits, targets = problem(kind, dtype)
        negatives = (targets == 0).nonzero().squeeze(1).tolist()
        for masked in (negatives[:1], negatives[-1:], negatives[:3], negatives):
            low, lowest = logits.clone(), logits.clone()
            low[masked], lowest[masked] = -3e4, -inf
            expected = loss_and_update(function, low, targets, **options)
            loss, update = loss_and_update(function, lowest, targets, **options)
            assert expected[0].isfinite() and expected[1].isfinite().all()
            torch.testing.assert_close((loss, update), expected, rtol=1e-6, atol=0)
            assert (update[masked] == 0).all()


@pytest.mark.parametrize("name", PAIRS)
def test_with_minus_infinity_it_equals_the_double_loop(name):
    function, options = PAIRS[name]
    logits, targets = problem("few trivial", torch.float64)
    for place in (1, 2, 5):
        logits[place] = -inf
        step, interpolated = options["step"], options.get("interpolated", False)
        expected_loss, expected = pair_loss(name.split()[0], logits, targets, step, 0.7, interpolated)
        loss, update = loss_and_update(function, logits, targets, delta=0.7, **options)
        assert loss.item() == pytest.approx(expected_loss, abs=1e-12)
        torch.testing.assert_close(update, expected, rtol=0, atol=1e-12)


@by_loss
def test_without_positives_only_what_is_not_finite_counts(name):
    function, options = LOSSES[name]
    for bad, expected in ((nan, nan), (inf, nan), (-inf, 0.0), (0.5, 0.0)):
        logits, targets = torch.tensor([0.0, bad, -9.0]), torch.tensor([-1, 0, 0])
        loss, update = loss_and_update(function, logits, targets, **options)
        if expected == 0 and name.startswith("focal"):
            assert loss > 0 and update.isfinite().all() and update[0] == 0
        else:
            torch.testing.assert_close(loss, torch.tensor(expected), equal_nan=True)
            torch.testing.assert_close(update, torch.tensor([0.0, expected, expected]), equal_nan=True)
        everything_ignored = loss_and_update(function, logits, torch.full((3,), -1), **options)
        assert everything_ignored[0] == 0 and not everything_ignored[1].any()


@by_loss
def test_gradients_that_pass_a_mask_stay_finite(name):
    """A linear layer under a mask of −∞, as classes are masked."""
    function, options = LOSSES[name]
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 1)
    mask = torch.zeros(20)
    mask[[3, 7]] = -inf
    function(head(torch.randn(20, 4)).squeeze(1) + mask, torch.arange(20) % 5 == 0, **options).backward()
    assert head.weight.grad.isfinite().all() and head.weight.grad.any()


def test_float16_overflow_of_a_negative():
    half = (torch.tensor([-5.0, -1.0, 2.0]) * 3e4).half()
    assert half[0] == -inf
    half[2] = 6e4
    for name, (function, options) in LOSSES.items():
        loss, update = loss_and_update(function, half, torch.tensor([0, 0, 1]), **options)
        assert loss.isfinite() and update.isfinite().all(), name


REFERENCES = {
    losses.ap_loss: ap_loss_reference,
    losses.auc_loss: auc_loss_reference,
    losses.ap_approximate_gradient_loss: ap_approximate_gradient_loss_reference,
    losses.ap_structured_hinge_loss: ap_structured_hinge_loss_reference,
}


@by_dtype
@pytest.mark.parametrize("name", [name for name in RANKING if name != "bucketed"])
def test_finite_extremes_give_the_right_value_or_an_error(name, dtype):
    """The largest and smallest numbers of a dtype, also in ties: never NaN, never a silent zero."""
    function, options = RANKING[name]
    info = torch.finfo(dtype)
    values = [info.max, info.min, info.tiny, 1.0]
    right = refused = 0
    for one, two, three in itertools.product(values, repeat=3):
        logits, targets = torch.tensor([one, two, three, one, 0.0], dtype=dtype), torch.tensor([1, 0, 1, 0, -1])
        try:
            loss, update = loss_and_update(function, logits, targets, **options)
        except ValueError as error:
            assert "delta=1.0 is too small" in str(error) or "logits of more than 1e+150" in str(error)
            refused += 1
            continue
        expected_loss, expected = loss_and_update(REFERENCES[function], logits.double(), targets, **options)
        right += 1
        assert not loss.isnan()
        # A structured hinge loss beyond float32 is infinite in it.
        assert loss.item() == pytest.approx(expected_loss.to(loss.dtype).item(), rel=1e-5, abs=1e-11), logits
        assert abs(update.double() - expected).max() <= 1e-2 * expected.abs().max() + 1e-11, logits
    assert right
    if options.get("step") == "heaviside" or dtype == torch.float16:
        assert not refused or dtype == torch.float64


def test_scores_of_few_digits_for_delta_are_right_or_refused():
    """δ against the spacing of float64 at the scores: a slope must never be taken for a gap, and be silently zero."""
    cases = [
        ([-4.6, -3, -2, -1], [1, 0, 0, 0], 1e-7, 3 / 4),
        ([1e4, 1e4 + 1, 1e4 + 2], [1, 0, 0], 1e-6, 2 / 3),
        ([1e7, 1e7 + 5, 1e7 + 9], [1, 0, 0], 0.3, 2 / 3),
        ([1e8, 1e8 + 16, 0.0], [1, 0, 0], 0.02, 1 / 2),
    ]
    for (logits, targets, delta, expected), dtype in itertools.product(cases, (torch.float64, torch.float32)):
        for step, interpolated in itertools.product(STEPS, (True, False)):
            function = functools.partial(losses.ap_loss, step=step, interpolated=interpolated, delta=delta)
            loss, update = loss_and_update(function, torch.tensor(logits, dtype=dtype), torch.tensor(targets))
            assert loss.item() == pytest.approx(expected, rel=1e-5), (logits, delta, step)
            assert update[0].item() == pytest.approx(-expected, rel=1e-5)


@by_dtype
@pytest.mark.parametrize("step", ["piecewise", "sigmoid"])
def test_a_slope_is_never_silently_zero(step, dtype):
    """Positives all over the digits of a dtype, each below a negative of nearly its score."""
    for exponent in range(-12, 5):
        for scale in range(-3, 5):
            logits = torch.tensor([1.0, 1.5, 2.0, 2.0, 0.5], dtype=torch.float64) * 10.0**scale
            if dtype == torch.float16 and scale > 4:
                continue
            logits, targets = logits.to(dtype), torch.tensor([1, 0, 1, 0, 0])
            delta = 10.0**exponent
            try:
                loss, update = loss_and_update(losses.ap_loss, logits, targets, delta=delta, step=step)
            except ValueError as error:
                assert f"delta={delta} is too small for a positive" in str(error)
                assert logits[2].item() > 1e10 * delta
                continue
            expected_loss, expected = loss_and_update(
                ap_loss_reference, logits.double(), targets, delta=delta, step=step
            )
            assert loss.item() == pytest.approx(expected_loss.item(), rel=2e-5) and loss > 0.1
            assert relative_error(update, expected) < {torch.bfloat16: 5e-3, torch.float16: 1e-3}.get(dtype, 2e-5)


@pytest.mark.parametrize("name", ["ap piecewise interpolated", "ap sigmoid interpolated", "approximate gradient"])
def test_errors_are_within_the_documented_bound(name):
    """f is right to 10⁻¹⁶ |s|/δ + 10⁻¹², slopes of the approximate gradient to 1/δ of that."""
    function, options = RANKING[name]
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        offset, ratio = 10.0 ** (seed % 7), 10.0 ** (3 + seed / 4)
        delta = offset / ratio
        logits = offset + torch.randn(60, generator=generator, dtype=torch.float64) * 3 * delta
        targets = (torch.rand(60, generator=generator) < 0.3).long()
        loss, update = loss_and_update(function, logits, targets, delta=delta, **options)
        expected_loss, expected = loss_and_update(REFERENCES[function], logits, targets, delta=delta, **options)
        bound = 1e-16 * ratio + 1e-12
        assert abs(loss - expected_loss) < bound, seed
        assert (update - expected).abs().max() < bound / (delta if name == "approximate gradient" else 1), seed


@pytest.mark.parametrize("function", [losses.ap_loss, losses.auc_loss, losses.ap_approximate_gradient_loss])
@pytest.mark.parametrize("delta", [1e300, 5e-324, 1e-101, 1e101])
def test_an_extreme_delta_is_refused(function, delta):
    with pytest.raises(ValueError, match=r"delta must be from 1e-100 to 1e\+100, not "):
        function(torch.zeros(4), torch.zeros(4), delta=delta)


@pytest.mark.parametrize("step", ["piecewise", "sigmoid"])
def test_a_large_and_a_small_delta_are_right(step):
    logits, targets = torch.tensor([0.0, 1.0, -1.0, 0.0]), torch.tensor([1, 0, 0, 0])
    for delta, expected in ((1e100, 3 * 0.5), (1e38, 3 * 0.5), (1e-100, 1.5), (1e-40, 1.5)):
        loss, update = loss_and_update(losses.ap_loss, logits, targets, delta=delta, step=step)
        assert loss.item() == pytest.approx(expected / (1 + expected), rel=1e-6), delta
        assert update.sum().item() == pytest.approx(0, abs=1e-6)


def test_focal_loss_has_the_right_gradient_for_every_gamma_and_logit():
    """Against derivatives in closed form in float64, for scores up to saturation."""
    x = torch.cat([torch.linspace(-120, 120, 481), torch.tensor([1e4, -1e4, 1e30, -1e30])])
    for gamma in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 2.0):
        for target in (0, 1):
            margin = (x if target else -x).double()
            weight = 0.25 if target else 0.75
            p, wrong = torch.sigmoid(margin), torch.sigmoid(-margin)
            log_p = torch.nn.functional.logsigmoid(margin)
            by_margin = weight * wrong**gamma * (gamma * p * log_p - wrong)
            expected = torch.where(wrong == 0, 0, by_margin) * (1 if target else -1)
            logits = x.clone().requires_grad_()
            losses.focal_loss(logits, torch.full_like(x, target), gamma=gamma).backward()
            count = len(x) if target else 1
            assert logits.grad.isfinite().all(), gamma
            # torchvision's formula forms 1 − p in float32 from γ = 1 on.
            torch.testing.assert_close(logits.grad.double() * count, expected, rtol=1e-4, atol=2e-7)
            if 0 < gamma < 1:
                torch.testing.assert_close(logits.grad.double() * count, expected, rtol=1e-4, atol=1e-37)


@pytest.mark.parametrize("step", STEPS)
def test_step_functions_keep_nan(step):
    values = losses.step_function(torch.tensor([nan, -inf, inf]), step)
    assert values[0].isnan() and values[1:].tolist() == [0, 1]
