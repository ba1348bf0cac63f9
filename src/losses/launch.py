"""AP-loss and AUC-loss on a GPU, by the kernels of cell_kernels.py, count_kernel.py and rank_kernels.py."""

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
_DELTAS = (1e-12, 1e12)  # δ in whose units float32 neither overflows nor vanishes
_UNSIGNED = {
    torch.bool: torch.uint8,
    torch.uint8: torch.uint8,
    torch.uint16: torch.int16,
    torch.uint32: torch.int32,
    torch.uint64: torch.int64,
}  # and the dtypes as which they are read
_MOST_LOGITS = 2**27  # indices into the tables are int32
_FEW_BINS, _MANY_BINS = 2**10, 2**15  # of the grid over the breakpoints, for less than 2¹² logits and for more
_ROOM = 2**16  # entries of the tables of the cells beyond those for as many positives as can be
_PROGRAMS = 512  # that rank positives, whose number is not known
# For each kernel how many logits, positives, bins or breakpoints one of its programs treats, and with how many warps.
SHAPES = {
    "collect": (4096, 8),
    "rank": (8, 4),
    "lay_grid": (128, 4),
    "count": (1024, 4),
    "solve": (2048, 16),
    "update": (1024, 4),
}

_choice: ContextVar[bool | None] = ContextVar("kernels", default=None)


@contextlib.contextmanager
def kernels(enabled: bool) -> Iterator[None]:
    """Use the kernels wherever they can compute a loss, on a CPU too for Triton's interpreter, or nowhere.

    Without it they are used on CUDA devices where Triton is installed.
    """
    token = _choice.set(enabled)
    try:
        yield
    finally:
        _choice.reset(token)


def suits(logits: Tensor, step: str, delta: float, process_group: ProcessGroup | None) -> bool:
    """Return whether the kernels compute the loss of these logits, which no check has seen."""
    choice = _choice.get()
    return (
        choice is not False
        and isinstance(logits, Tensor)
        and (logits.is_cuda or choice is True)
        and logits.dtype in _DTYPES
        and 0 < logits.numel() < _MOST_LOGITS
        and (step == "heaviside" or step == "piecewise" and _DELTAS[0] <= delta <= _DELTAS[1])
        and process_group is None
        and importlib.util.find_spec("triton") is not None
    )


def most_positives(logits: int) -> int:
    """Return how many positives there is memory for among so many logits."""
    most = max(min(logits, 2**18), logits // 8)
    return -(-most // 16) * 16  # so that all tables are as aligned as the kernels that are compiled for them


def outcome(
    name: str, logits: Tensor, targets: Tensor, *, step: str, delta: float, interpolated: bool = False
) -> Outcome:
    """Return AP-loss or AUC-loss with its update, without waiting for the device.

    What the torch code refuses with an error after a look at the data makes the loss NaN here, and the update of all
    that counts: targets other than 1, 0 and -1, and positives of more than 2^36 delta. So do more than
    :func:`most_positives` positives.

    Args:
        name: "ap" or "auc".
        logits: float32, float16 or bfloat16, of any shape and layout, 1 to 2^27 - 1 of them.
        targets: of the same shape, with any dtype of bools, integers or floats.
        step: "piecewise" or "heaviside".
        delta: its δ.
        interpolated: of AP-loss.
    """
    from . import cell_kernels, count_kernel, rank_kernels

    check_step(step, delta)
    check_kinds(logits, targets)
    if logits.shape != targets.shape:
        raise ValueError(f"logits and targets differ in shape: {tuple(logits.shape)} and {tuple(targets.shape)}")
    is_heaviside = step == "heaviside"
    shape, n = logits.shape, logits.numel()
    logits, targets = logits.contiguous(), targets.contiguous()
    is_unsigned = targets.dtype in _UNSIGNED
    if is_unsigned:
        targets = targets.view(_UNSIGNED[targets.dtype])
    delta_bits = _bits(delta)
    limit_bits = _bits(torch.finfo(torch.float32).max if is_heaviside else min(LARGEST_IN_DELTAS * delta, 3.4e38))
    bins = _FEW_BINS if n < 2**12 else _MANY_BINS

    most = most_positives(n)
    breakpoints = most if is_heaviside else 2 * most
    room = 2 * (breakpoints + 1) + _ROOM

    def empty(*size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=logits.device)

    facts = torch.zeros(16, dtype=torch.int32, device=logits.device)
    keys = empty(most, dtype=torch.int64)
    owners = empty(breakpoints, dtype=torch.int32)
    table, finer = (
        empty(1, room, dtype=torch.int64).expand(2, -1) if is_heaviside else empty(2, room, dtype=torch.int64)
    )
    integrals = empty(2 * breakpoints, dtype=torch.float64)
    # What the backward pass needs.
    indices, first = empty(most + bins, dtype=torch.int32).split((most, bins))
    uppers, rests, scales, values, gains, updates = empty(6, breakpoints, dtype=torch.float32)
    loss = empty(dtype=torch.float32)

    programs = _programs(n, "count")
    cell_kernels.collect[(_programs(n, "collect"),)](
        logits, targets, keys, facts, n, most, limit_bits, UNSIGNED=is_unsigned, **_shape("collect")
    )
    cell_kernels.rank[(min(_programs(most, "rank"), _PROGRAMS),)](
        keys,
        facts,
        indices,
        uppers,
        rests,
        owners,
        delta_bits,
        HEAVISIDE=is_heaviside,
        CHUNK=128,
        **_shape("rank"),
    )
    cell_kernels.lay_grid[(_programs(bins, "lay_grid"),)](
        uppers,
        rests,
        scales,
        facts,
        first,
        table,
        finer,
        bins,
        room,
        programs,
        SHAPES["count"][0],
        delta_bits,
        HEAVISIDE=is_heaviside,
        **_shape("lay_grid"),
    )
    count_kernel.count[(programs,)](
        logits,
        targets,
        facts,
        uppers,
        rests,
        scales,
        first,
        table,
        finer,
        n,
        bins,
        HEAVISIDE=is_heaviside,
        **_shape("count"),
    )
    rank_kernels.solve[(1,)](
        facts,
        owners,
        uppers,
        rests,
        scales,
        table,
        finer,
        integrals,
        updates,
        values,
        gains,
        loss,
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
            logits, targets, *tables, incoming, out, n, bins, HEAVISIDE=is_heaviside, **_shape("update")
        )
        return out

    tables = (facts, uppers, rests, scales, first, values, gains, indices, updates)
    return Outcome(loss, update, (logits, targets, *tables))


def _programs(size: int, kernel: str) -> int:
    return -(-size // SHAPES[kernel][0])


def _shape(kernel: str) -> dict[str, int]:
    block, warps = SHAPES[kernel]
    return {"BLOCK": block, "num_warps": warps}


def _bits(x: float) -> int:
    """Return the bits of a float64 as an int64: Triton would round a float to float32."""
    return struct.unpack("<q", struct.pack("<d", x))[0]
