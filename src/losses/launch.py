"""The launches of the kernels that compute AP-loss and AUC-loss.

Unless there are many millions of logits, launching takes the host longer than the kernels take the GPU. So each pass
uses one block of memory for all its arrays, whose offsets follow from the number of logits; and a kernel that Triton
has compiled is launched directly, without Triton's check of the arguments.
"""

import functools
import struct
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cell_kernels import collect, lay_grid, rank
from .count_kernel import count
from .rank_kernels import solve, update
from .step_functions import LARGEST_IN_DELTAS

_FEW_BINS, _MANY_BINS = 2**10, 2**15  # of the grid over the breakpoints, for less than 2¹² logits and for more
_ROOM = 2**18  # entries of the tables of the cells beyond those for as many positives as can be
_PROGRAMS = 512  # that rank positives or add up cells, whose number is not known
_COUNTING = 924  # that count scores, at most: seven for each multiprocessor of an H100, as many as fit
MERGED = 64  # cells that a program adds up at once
# For each kernel, how many logits, positives, bins or breakpoints a program processes, and its number of warps.
SHAPES = {
    "collect": (2048, 4),
    "rank": (8, 8),
    "lay_grid": (128, 4),
    "count": (512, 4),
    "solve": (2048, 16),
    "update": (512, 4),
}
OPTIONS = {"enable_fp_fusion": True}  # of Triton's compiler, whose default is about to change
# Compiled kernels by name, for each kind of call: everything that Triton's compilation depends on.
_compiled: dict[tuple[Any, ...], dict[str, Any]] = defaultdict(dict)


class Call(NamedTuple):
    """A loss of n logits, and how it is to be computed.

    Attributes:
        is_unsigned: the targets' dtype has no -1.
    """

    n: int
    is_heaviside: bool
    is_auc: bool
    is_interpolated: bool
    is_unsigned: bool
    delta: float


class Array(NamedTuple):
    """An array in a block of memory."""

    offset: int  # in bytes
    size: int
    dtype: torch.dtype


class Plan(NamedTuple):
    """What the launches for a number of logits have in common."""

    most: int  # positives
    bins: int
    room: int  # entries in the tables of the cells
    passing: tuple[Array, ...]  # arrays of the forward pass alone
    lasting: tuple[Array, ...]  # arrays of both passes


def forward(call: Call, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, the facts about the batch, and the block of memory for the backward pass."""
    n, device, is_heaviside = call.n, logits.device, call.is_heaviside
    plan = _plan(n, is_heaviside)
    facts = torch.zeros(16, dtype=torch.int32, device=device)
    block, kept = _block(plan.passing, device), _block(plan.lasting, device)
    loss = torch.empty((), dtype=torch.float32, device=device)
    flags = is_heaviside, call.is_auc, call.is_interpolated, call.is_unsigned
    compiled = _compiled[*_kind(logits, targets), *flags]
    known = "solve" in compiled
    x, t, f, out = [tensor.data_ptr() if known else tensor for tensor in (logits, targets, facts, loss)]
    keys, owners, rests, rulers, integrals, weights, held, widths, sums, table, finer = _arguments(
        block, plan.passing, known
    )
    indices, first, updates, uppers, lines = _arguments(kept, plan.lasting, known)
    delta, limit = _bits(call.delta), _bits(_largest(call))
    heaviside = {"HEAVISIDE": is_heaviside}

    launch = functools.partial(_launch, compiled)
    collecting = {"AUC": call.is_auc, "UNSIGNED": call.is_unsigned}
    launch(collect, _programs(n, "collect"), (x, t, keys, f, n, plan.most, limit), collecting)
    ranking = min(_programs(plan.most, "rank"), _PROGRAMS)
    launch(rank, ranking, (keys, f, indices, uppers, rests, owners, delta), heaviside)
    cells = uppers, rests, rulers, f, first, table, finer
    blocks = _programs(n, "count")
    counting = min(blocks, _COUNTING)
    sizes = plan.bins, plan.room, counting, -(-blocks // counting) * SHAPES["count"][0], delta
    launch(lay_grid, _programs(plan.bins, "lay_grid"), (*cells, *sizes), heaviside)
    launch(count, counting, (x, t, keys, f, uppers, rulers, first, table, finer, n, plan.bins), heaviside)
    merging = min(-(-2 * plan.most // MERGED), _PROGRAMS)
    tables = f, owners, uppers, rests, rulers, table, finer, held, widths, sums, integrals, weights, updates, lines
    constants = {**heaviside, "AUC": call.is_auc, "INTERPOLATED": call.is_interpolated, "MERGED": MERGED}
    launch(solve, merging, (*tables, out, delta), constants)
    return loss, facts, kept


def backward(
    call: Call, incoming: Tensor, out: Tensor, logits: Tensor, targets: Tensor, facts: Tensor, kept: Tensor
) -> None:
    """Write the update times the incoming gradient, of any floating dtype."""
    plan = _plan(call.n, call.is_heaviside)
    compiled = _compiled[*_kind(logits, targets), call.is_heaviside, out.dtype, incoming.dtype, _is_aligned(incoming)]
    known = "update" in compiled
    x, t, f, g, o = [tensor.data_ptr() if known else tensor for tensor in (logits, targets, facts, incoming, out)]
    indices, first, updates, uppers, lines = _arguments(kept, plan.lasting, known)
    arguments = x, t, f, uppers, first, lines, indices, updates, g, o, call.n, plan.bins
    _launch(compiled, update, _programs(call.n, "update"), arguments, {"HEAVISIDE": call.is_heaviside})


def _launch(
    compiled: dict[str, Any], kernel: Any, programs: int, arguments: tuple[Any, ...], constants: dict[str, Any]
) -> None:
    """Launch a compiled kernel, or compile and launch it."""
    name = kernel.__name__
    block, warps = SHAPES[name]
    if name in compiled:
        compiled[name][programs, 1, 1](*arguments, *constants.values(), block)
        return
    result = kernel[(programs,)](*arguments, **constants, BLOCK=block, num_warps=warps, **OPTIONS)
    if result is not None:  # as from Triton's interpreter
        compiled[name] = result


def forget() -> None:
    """Forget what has been compiled, after a change of SHAPES."""
    _compiled.clear()


def _kind(logits: Tensor, targets: Tensor) -> tuple[Any, ...]:
    """Return everything that Triton's compilation of kernels for these tensors depends on."""
    n = logits.numel()
    return logits.device, logits.dtype, targets.dtype, _is_aligned(logits), _is_aligned(targets), n % 16 == 0, n == 1


def _is_aligned(x: Tensor) -> bool:
    return x.data_ptr() % 16 == 0


def most_positives(logits: int) -> int:
    """Return for how many positives there is memory, given the number of logits."""
    return max(min(logits, 2**18), logits // 8)


@functools.lru_cache(256)
def _plan(n: int, is_heaviside: bool) -> Plan:
    most = most_positives(n)
    breakpoints = most if is_heaviside else 2 * most
    bins = _FEW_BINS if n < 2**12 else _MANY_BINS
    room = 2 * (breakpoints + 1) + _ROOM
    # In the order in which `forward` and `backward` unpack them.
    passing = [
        (most, torch.int64),  # keys
        (breakpoints, torch.int32),  # owners
        (breakpoints, torch.float32),  # rests
        (breakpoints, torch.int64),  # rulers
        (2 * breakpoints, torch.float64),  # integrals
        (most, torch.float64),  # weights
        (breakpoints, torch.int64),  # held
        (breakpoints, torch.float64),  # widths
        (2 * breakpoints, torch.float64),  # sums
        (room, torch.int64),  # table
        (1 if is_heaviside else room, torch.int64),  # finer
    ]
    lasting = [
        (most, torch.int32),  # indices
        (bins, torch.int32),  # first
        (most, torch.float32),  # updates
        (breakpoints + 1, torch.float32),  # uppers
        (breakpoints, torch.int64),  # lines
    ]
    return Plan(most, bins, room, _in_a_block(passing), _in_a_block(lasting))


def _in_a_block(arrays: list[tuple[int, torch.dtype]]) -> tuple[Array, ...]:
    """Lay out arrays one after the other, with an empty one at the end; all aligned like torch's memory."""
    laid, offset = [], 0
    for size, dtype in [*arrays, (0, torch.uint8)]:
        laid.append(Array(offset, size, dtype))
        offset += -(-size * dtype.itemsize // 512) * 512
    return tuple(laid)


def _block(arrays: tuple[Array, ...], device: torch.device) -> Tensor:
    return torch.empty(arrays[-1].offset, dtype=torch.uint8, device=device)


def _arguments(block: Tensor, arrays: tuple[Array, ...], known: bool) -> list[Any]:
    """Return the arrays in a block: addresses, or tensors where Triton has to know their dtypes."""
    if known:
        address = block.data_ptr()
        return [address + array.offset for array in arrays[:-1]]
    return [block[offset : offset + size * dtype.itemsize].view(dtype) for offset, size, dtype in arrays[:-1]]


def _programs(size: int, kernel: str) -> int:
    return -(-size // SHAPES[kernel][0])


def _largest(call: Call) -> float:
    """Return the largest magnitude of a positive that is not refused."""
    return torch.finfo(torch.float32).max if call.is_heaviside else min(LARGEST_IN_DELTAS * call.delta, 3.4e38)


@functools.lru_cache(256)
def _bits(x: float) -> int:
    """Return the bits of a float64 as an int64: Triton would round a float to float32."""
    return struct.unpack("<q", struct.pack("<d", x))[0]
