"""Focal loss and OHEM as they compute on a GPU, where the host looks at no value: here on a CPU, and without values."""

import contextlib

import pytest
import torch

from src.losses import checks, compiling, focal_loss, ohem, ohem_loss
from tests.losses.problems import loss_and_update
from tests.support.exhaustive import trials

INF, NAN = float("inf"), float("nan")
WRONG = (([2, 0], torch.int64), ([255, 0], torch.uint8), ([0.5, 0], torch.float32))


@contextlib.contextmanager
def as_on_a_gpu():
    """Take every device for one for which the host would wait if it looked at a value."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (checks, compiling, ohem):
            patched.setattr(module, "waits", lambda x: True)
        yield


def random_problem(seed, dtype, background):
    """Return logits and targets of three images, of which some anchors are ignored where the dtype has a −1."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 30, 4 + background, generator=generator)
    classes = torch.randint(4, (3, 30), generator=generator)
    kinds = torch.rand(3, 30, generator=generator)
    targets = torch.nn.functional.one_hot(classes, 4) * (kinds < [0.05, 0.2, 0.6][seed % 3])[..., None]
    if dtype in (torch.int8, torch.float32):
        targets[kinds > 0.9] = -1
    return logits, targets.to(dtype)


@pytest.mark.parametrize("function", [focal_loss, ohem_loss])
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.float32])
def test_loss_and_gradient_are_the_same(function, dtype):
    for seed in trials(6, 60):
        logits, targets = random_problem(seed, dtype, background=function is ohem_loss)
        for bad in (None, NAN, -INF, INF):
            if bad is not None:
                logits[0, 0, 0] = bad
            expected = loss_and_update(function, logits, targets)
            with as_on_a_gpu():
                actual = loss_and_update(function, logits, targets)
            torch.testing.assert_close(actual, expected, equal_nan=True)


@pytest.mark.parametrize("function", [focal_loss, ohem_loss])
def test_nothing_looks_at_a_value(function):
    """On the device "meta" a look at a value is an error."""
    logits, targets = random_problem(1, torch.int8, background=function is ohem_loss)
    with as_on_a_gpu():
        loss, update = loss_and_update(function, logits.to("meta"), targets.to("meta"))
    assert loss.shape == () and update.shape == logits.shape
    with pytest.raises(RuntimeError, match="meta"):
        function(logits.to("meta"), targets.to("meta"))


@pytest.mark.parametrize("wrong", [torch.tensor(x, dtype=y) for x, y in WRONG])
def test_wrong_targets_make_the_loss_nan(wrong):
    with as_on_a_gpu():
        assert focal_loss(torch.zeros(2), wrong).isnan()
        assert ohem_loss(torch.zeros(1, 2, 2), wrong.view(1, 2, 1)).isnan()
        two_classes = torch.tensor([[[1, 1], [0, 0]]])
        loss, update = loss_and_update(ohem_loss, torch.zeros(1, 2, 3), two_classes)
        assert loss.isnan() and update.isnan().all()
