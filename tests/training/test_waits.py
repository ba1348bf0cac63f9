"""The forward half of a training step on a GPU that is not there: whatever would make the host wait for it is found.

Tensors of torch's FakeTensorMode know their device and shape alone, so no GPU is needed; autograd's engine needs one.
"""

import contextlib
import traceback
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from src.detectors import targets
from tests.training.test_step import make_trainer, make_training_batch

GPU = torch.device("cuda")
LOOKS_AT_VALUES = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_consecutive"}


class Waits(TorchDispatchMode):
    """Notes the operations for which the host waits for the GPU, and who calls them."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        taken = tensors((args, kwargs))
        on_gpu = any(x.is_cuda for x in taken)
        by_mask = name in ("index", "index_put", "index_put_") and any(x.dtype == torch.bool for x in taken[1:])
        if on_gpu and (name in LOOKS_AT_VALUES or by_mask):
            self.note(name)
        result = func(*args, **kwargs)
        crosses = len({x.device.type for x in [*taken, *tensors(result)]}) > 1
        if crosses and "copy" in name and not (kwargs.get("non_blocking") or any(x is True for x in args)):
            self.note(f"{name} between devices")
        return result

    def note(self, what: str) -> None:
        callers = [f"{x.filename.rpartition('/')[2]}:{x.lineno}" for x in traceback.extract_stack()[:-2]]
        self.found.append(f"{what} in {' '.join(callers[-8:])}")


def tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


class NoEvent:
    def __init__(self, **_: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        pass


@pytest.fixture
def no_gpu(monkeypatch):
    """Let what needs a GPU do nothing: events, the backward pass, and moving a network, which is on the device."""
    monkeypatch.setattr(torch.cuda, "Event", NoEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.autograd, "backward", lambda *_: None)
    monkeypatch.setattr(Tensor, "backward", lambda *_: None)
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self)


def find_waits(words: Iterable[str], found: list[str]) -> None:
    """Append the waits in the forward half of a step to what has been found."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        with GPU:
            trained = make_trainer(GPU, *words)
        batch = make_training_batch().to(GPU)
        with Waits(found):
            trained.step(batch)


@pytest.mark.parametrize("words", [(), ("model=retinanet_mini",), ("model=ssd",)], ids=" ".join)
def test_the_forward_half_of_a_step_waits_for_no_gpu(no_gpu, words):
    found = []
    find_waits(words, found)
    assert found == []


WAITS = {
    "a copy to the GPU": lambda boxes: torch.as_tensor((1.0, 2.0), device=boxes.device),
    "a copy from the GPU": lambda boxes: boxes.cpu(),
    "a choice by a mask": lambda boxes: boxes[boxes > 0],
    "a look at a value": lambda boxes: bool((boxes > 0).any()),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_is_found(no_gpu, monkeypatch, wait):
    encode = targets.encode_boxes

    def waiting(boxes, anchors):
        WAITS[wait](boxes)
        return encode(boxes, anchors)

    monkeypatch.setattr(targets, "encode_boxes", waiting)
    found = []
    with contextlib.suppress(RuntimeError):  # FakeTensorMode has no values to look at
        find_waits((), found)
    assert len(found) == 1 and "test_waits.py" in found[0]
