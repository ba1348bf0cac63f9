"""AP-loss and AUC-loss on a GPU: when the Triton kernels compute them, and what they return to autograd."""

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_shapes, is_unsigned, signed_dtype
from .outcome import Outcome
from .step_functions import check_step

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_DELTAS = (1e-12, 1e12)  # δ in whose units float32 neither overflows nor vanishes
_MOST_LOGITS = 2**27  # indices into the tables are int32
_choice: ContextVar[bool | None] = ContextVar("kernels", default=None)


@contextlib.contextmanager
def kernels(enabled: bool) -> Iterator[None]:
    """Within this context, use the kernels wherever they can compute a loss, or nowhere.

    That includes a CPU, for Triton's interpreter. By default they are used on CUDA devices if Triton is installed.
    """
    token = _choice.set(enabled)
    try:
        yield
    finally:
        _choice.reset(token)


def suits(logits: Tensor, step: str, delta: float, process_group: ProcessGroup | None) -> bool:
    """Return whether the kernels compute the loss of these logits, which are not checked yet."""
    choice = _choice.get()
    return (
        choice is not False
        and isinstance(logits, Tensor)
        and (logits.is_cuda or choice is True)
        and logits.dtype in _DTYPES
        and 0 < logits.numel() < _MOST_LOGITS
        and (step == "heaviside" or step == "piecewise" and _DELTAS[0] <= delta <= _DELTAS[1])
        and process_group is None
        and _has_triton()
    )


def outcome(
    name: str, logits: Tensor, targets: Tensor, *, step: str, delta: float, interpolated: bool = False
) -> Outcome:
    """Return AP-loss or AUC-loss with its update, without waiting for the device.

    What the torch code refuses with an error after looking at the data makes the loss NaN here, and the update of all
    positives and negatives: targets other than 1, 0 and -1, and positives above 2^36 delta in magnitude. So do more
    positives than :func:`src.losses.launch.most_positives`.

    Args:
        name: "ap" or "auc".
        logits: float32, float16 or bfloat16, of any shape and layout, 1 to 2^27 - 1 of them.
        targets: of the same shape, with any dtype of bools, integers or floats.
        step: "piecewise" or "heaviside".
        delta: its δ.
        interpolated: of AP-loss.
    """
    from . import launch  # imported here, as it needs Triton

    check_step(step, delta)
    check_shapes(logits, targets)
    logits, targets = logits.contiguous(), targets.contiguous()
    shape, device = logits.shape, logits.device
    call = launch.Call(
        n=logits.numel(),
        is_heaviside=step == "heaviside",
        is_auc=name == "auc",
        is_interpolated=interpolated,
        is_unsigned=is_unsigned(targets),
        delta=float(delta),
    )
    targets = targets.view(torch.uint8 if targets.dtype == torch.bool else signed_dtype(targets))
    with _on(device):
        loss, facts, block = launch.forward(call, logits, targets)

    def update(incoming: Tensor, dtype: torch.dtype, *tensors: Tensor) -> Tensor:
        with _on(device):
            out = torch.empty(shape, dtype=dtype, device=device)
            launch.backward(call, incoming, out, *tensors)
            return out

    return Outcome(loss, update, (logits, targets, facts, block))


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _on(device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context in which kernels are launched on a device."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)
