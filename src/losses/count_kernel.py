"""The kernels that count the scores in each cell, and how a score finds its cell."""

import triton
import triton.language as tl

from .cell_kernels import (
    BITS,
    COPIES,
    DENSITY,
    INFINITE,
    LOW,
    MOST_COPIES,
    REST,
    SHIFT,
    SPAN,
    _bin,
    _number_of_breakpoints,
    _read,
)


@triton.jit
def _cell(x, needed, uppers, facts, first, number, bins):
    """Return the number of breakpoints that are at most x, for scores that are not below all; 0 for the others."""
    low = tl.load(facts + LOW).to(tl.float32, bitcast=True)
    density = tl.load(facts + DENSITY).to(tl.float32, bitcast=True)
    left = tl.load(facts + SPAN)
    known = tl.load(first + _bin(x, low, density, bins), mask=needed, other=0)
    begin = tl.where(known < 0, -1 - known, known)
    end = tl.where(known < 0, tl.minimum(begin + left, number), begin)
    while left > 0:
        middle = (begin + end) >> 1
        active = begin < end
        is_below = tl.load(uppers + middle, mask=active, other=0.0) <= x
        begin = tl.where(active & is_below, middle + 1, begin)
        end = tl.where(active & ~is_below, middle, end)
        left = left >> 1
    return begin


@triton.jit
def _steps(x, cell, needed, uppers, rests, scales):
    """Return the places of scores in their cells, in steps above the lower ends, and where they are to be finer."""
    scale = tl.load(scales + cell - 1, mask=needed, other=0.0)
    upper = tl.load(uppers + cell - 1, mask=needed, other=0.0)
    rest = tl.load(rests + cell - 1, mask=needed, other=0.0)
    return tl.where(scale != 0, ((x - upper) - rest) * tl.abs(scale), 0.0), scale < 0


@triton.jit(do_not_specialize=["bins"])
def count(
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
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up in each cell how many negatives are in it, and their places above its lower end; positives likewise.

    The negatives' tables have copies, one after the other, between which the programs take turns; the positives'
    follow. Where many of a program's scores are in one cell they are added up first, since a place in memory takes one
    atomic addition at a time.
    """
    number, _ = _number_of_breakpoints(facts, HEAVISIDE)
    inner = tl.arange(0, BLOCK)
    at = tl.program_id(0) * BLOCK + inner
    x, positive, negative = _read(logits, targets, at, at < n)
    left = negative & (x >= tl.load(uppers, mask=number > 0, other=float("inf"))) & (x < float("inf"))
    infinite = negative & ~(x < float("inf"))
    both = tl.sum(left.to(tl.int32) + (infinite.to(tl.int32) << 16))
    tl.atomic_max(facts + INFINITE, 1, mask=(both >> 16) > 0, sem="relaxed")
    if number > 0:
        copies = tl.load(facts + COPIES)
        shift = tl.load(facts + SHIFT)
        needed = left if HEAVISIDE else left | positive
        cell = _cell(x, needed, uppers, facts, first, number, bins)
        value = tl.zeros((BLOCK,), tl.int64) + (tl.full((), 1, tl.int64) << shift)
        fine = tl.zeros((BLOCK,), tl.int32)
        if not HEAVISIDE:
            steps, is_fine = _steps(x, cell, needed, uppers, rests, scales)
            steps = tl.minimum(steps, (1 << tl.load(facts + BITS)).to(tl.float32))
            place = tl.where(is_fine, steps, steps + 0.5).to(tl.int32)
            fine = tl.where(is_fine, ((steps - place.to(tl.float32)) * REST).to(tl.int32), 0)
            value += place
        copy = (tl.program_id(0) % copies) * (number + 1)
        many = both & 0xFFFF
        together = tl.where(number < 1 << 20, many, 0)
        while (together >= BLOCK // 32) & (many > 0):
            # Those in the cell of the first that is left.
            common = tl.min(tl.where(left, (inner << 20) | cell, 0x7FFFFFFF)) & 0xFFFFF
            same = left & (cell == common)
            total = tl.sum(tl.where(same, value, 0))
            tl.atomic_add(table + copy + common, total, sem="relaxed")
            if not HEAVISIDE:
                total_fine = tl.sum(tl.where(same, fine, 0))
                tl.atomic_add(finer + copy + common, total_fine.to(tl.int64), mask=total_fine > 0, sem="relaxed")
            together = (total >> shift).to(tl.int32)
            left = left & ~same
            many -= together
        cell += copy if HEAVISIDE else tl.where(positive, copies * (number + 1), copy)
        alone = left if HEAVISIDE else left | positive
        tl.atomic_add(table + cell, value, mask=alone, sem="relaxed")
        if not HEAVISIDE:
            tl.atomic_add(finer + cell, fine.to(tl.int64), mask=alone & (fine > 0), sem="relaxed")


@triton.jit
def merge(facts, scales, table, finer, held, totals, HEAVISIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Add up the copies of the negatives' tables, and take the tables apart.

    Writes the numbers of negatives in the cells above breakpoints, int32 [M], the sums of their places, float64 [M],
    and after each of them that of positives.
    """
    number, _ = _number_of_breakpoints(facts, HEAVISIDE)
    cells = number + 1
    copies = tl.load(facts + COPIES)
    shift = tl.load(facts + SHIFT)
    below = (tl.full((), 1, tl.int64) << shift) - 1
    copy = tl.arange(0, MOST_COPIES)[:, None]
    for start in range(tl.program_id(0) * BLOCK, number, tl.num_programs(0) * BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < number
        at = copy * cells + p[None, :] + 1
        value = tl.load(table + at, mask=(copy < copies) & inside[None, :], other=0)
        tl.store(held + p, tl.sum(value >> shift, 0).to(tl.int32), mask=inside)
        if not HEAVISIDE:
            total = tl.sum(value & below, 0).to(tl.float64)
            is_fine = tl.load(scales + p, mask=inside, other=0.0) < 0
            fine = tl.load(finer + at, mask=(copy < copies) & is_fine[None, :], other=0)
            tl.store(totals + p, total + tl.sum(fine, 0).to(tl.float64) / REST, mask=inside)
            own = copies * cells + p + 1
            value = tl.load(table + own, mask=inside, other=0)
            fine = tl.load(finer + own, mask=is_fine, other=0).to(tl.float64)
            tl.store(held + number + p, (value >> shift).to(tl.int32), mask=inside)
            tl.store(totals + number + p, (value & below).to(tl.float64) + fine / REST, mask=inside)
