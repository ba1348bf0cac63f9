"""AP-loss and AUC-loss on a GPU, by the kernels of cell_kernels.py and rank_kernels.py."""

import contextlib
import importlib.util
import struct
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from .checks import check_kinds
from .outcome import Outcome
from .step_functions import LARGEST_IN_DELTAS, check_step

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_UNSIGNED = {
    torch.bool: torch.uint8,
    torch.uint8: torch.uint8,
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}  # and the dtypes as which they are read
_MOST_LOGITS = 2**28  # indices into the tables are int32
_FEW_BINS, _MANY_BINS = 2**10, 2**15  # of the grid over the breakpoints, for less than 2¹² logits and for more
_ROOM = 2**17  # entries of the tables beyond one copy for as many positives as logits
_PROGRAMS = 512  # that rank positives, whose number is not known
# For each kernel how many logits, positives, bins or breakpoints one of its programs treats, and with how many warps.
SHAPES = {
    "collect": (2048, 8),
    "rank": (16, 4),
    "lay_grid": (256, 4),
    "count": (1024, 8),
    "solve": (2048, 8),
    "update": (1024, 8),
}


_choice: ContextVar[bool | None] = ContextVar("kernels", default=None)


@contextlib.contextmanager
def kernels(enabled: bool) -> Iterator[None]:
    """Use the kernels wherever they can compute a loss, on a CPU too for Triton's interpreter, or nowhere.

    Without it they are used on CUDA devices where Triton is installed. For tests and measurements.
    """
    token = _choice.set(enabled)
    try:
        yield
    finally:
        _choice.reset(token)


def suits(logits: Tensor, step: str, process_group: ProcessGroup | None) -> bool:
    """Return whether the kernels compute the loss of these logits, which no check has seen."""
    choice = _choice.get()
    return (
        choice is not False
        and isinstance(logits, Tensor)
        and (logits.is_cuda or choice is True)
        and logits.dtype in _DTYPES
        and 0 < logits.numel() < _MOST_LOGITS
        and step in ("piecewise", "heaviside")
        and process_group is None
        and importlib.util.find_spec("triton") is not None
    )


def outcome(
    name: str, logits: Tensor, targets: Tensor, *, step: str, delta: float, interpolated: bool = False
) -> Outcome:
    """Return AP-loss (name "ap") or AUC-loss ("auc") with its update, without waiting for the device.

    What the torch code refuses with an error after a look at the data makes the loss NaN here, and the update of all
    that counts: targets other than 1, 0 and -1, and positives of more than 2^36 delta.

    Args:
        name: "ap" or "auc".
        logits: float32, float16 or bfloat16, of any shape and layout, 1 to 2^28 - 1 of them.
        targets: of the same shape, with any dtype of bools, integers or floats.
        step: "piecewise" or "heaviside".
        delta: its δ.
        interpolated: of AP-loss.
    """
    from . import cell_kernels, rank_kernels

    check_step(step, delta)
    check_kinds(logits, targets)
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}")
    is_heaviside = step == "heaviside"
    shape, n = logits.shape, logits.numel()
    logits = logits.contiguous()
    is_unsigned = targets.dtype in _UNSIGNED
    targets = targets.contiguous()
    if is_unsigned:
        targets = targets.view(_UNSIGNED[targets.dtype])
    delta_bits = _bits(delta)
    limit_bits = _bits(torch.finfo(torch.float32).max if is_heaviside else min(LARGEST_IN_DELTAS * delta, 3.4e38))
    bins = _FEW_BINS if n < 2**12 else _MANY_BINS
    unit = 2.0 ** (38 if n < 2**23 else 33)  # sums of n places are below 2^62

    most = n if is_heaviside else 2 * n  # breakpoints
    room = 2 * (most + 1) + _ROOM

    def empty(size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=logits.device)

    counters = torch.zeros(4, dtype=torch.int32, device=logits.device)
    keys = empty(n, torch.int64)
    indices, owners = empty(n, torch.int32), empty(most, torch.int32)
    breakpoints = empty(most, torch.float64)
    first = empty(bins + 1, torch.int32)
    counts = empty(room, torch.int32)
    totals = counts if is_heaviside else empty(room, torch.int64)
    integrals = empty(n if is_heaviside else 4 * n, torch.float64)
    updates = empty(n, torch.float32)
    values = empty(most, torch.float32)
    slopes = values if is_heaviside else empty(most, torch.float32)
    loss = torch.empty((), dtype=torch.float32, device=logits.device)

    cell_kernels.collect[(_programs(n, "collect"),)](
        logits, targets, keys, counters, n, limit_bits, UNSIGNED=is_unsigned, **_shape("collect")
    )
    cell_kernels.rank[(min(_programs(n, "rank"), _PROGRAMS),)](
        keys, counters, indices, breakpoints, owners, delta_bits, HEAVISIDE=is_heaviside, CHUNK=128, **_shape("rank")
    )
    cell_kernels.lay_grid[(_programs(bins, "lay_grid"),)](
        breakpoints, counters, first, counts, totals, bins, room, HEAVISIDE=is_heaviside, **_shape("lay_grid")
    )
    cell_kernels.count[(_programs(n, "count"),)](
        logits,
        targets,
        counters,
        breakpoints,
        first,
        counts,
        totals,
        n,
        bins,
        room,
        unit,
        delta_bits,
        HEAVISIDE=is_heaviside,
        **_shape("count"),
    )
    rank_kernels.solve[(1,)](
        counters,
        breakpoints,
        owners,
        counts,
        totals,
        integrals,
        updates,
        values,
        slopes,
        loss,
        room,
        unit,
        delta_bits,
        HEAVISIDE=is_heaviside,
        AUC=name == "auc",
        INTERPOLATED=interpolated,
        **_shape("solve"),
    )

    def update(incoming: Tensor, dtype: torch.dtype, *tensors: Tensor) -> Tensor:
        logits, targets, *tables = tensors
        out = torch.empty(shape, dtype=dtype, device=logits.device)
        rank_kernels.update[(_programs(n, "update"),)](
            logits,
            targets,
            *tables,
            incoming,
            out,
            n,
            bins,
            delta_bits,
            HEAVISIDE=is_heaviside,
            **_shape("update"),
        )
        return out

    return Outcome(loss, update, (logits, targets, counters, breakpoints, first, values, slopes, indices, updates))


def _programs(size: int, kernel: str) -> int:
    return -(-size // SHAPES[kernel][0])


def _shape(kernel: str) -> dict[str, int]:
    block, warps = SHAPES[kernel]
    return {"BLOCK": block, "num_warps": warps}


def _bits(x: float) -> int:
    """Return the bits of a float64 as an int64: Triton would round a float to float32."""
    return struct.unpack("<q", struct.pack("<d", x))[0]
