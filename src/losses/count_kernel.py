"""The kernel that counts the scores in each cell, and how a score finds its cell."""

import triton
import triton.language as tl

from .cell_kernels import (
    BITS,
    COPIES,
    DENSITY,
    INFINITE,
    REST,
    SHIFT,
    SPAN,
    _bin,
    _halves,
    _number_of_breakpoints,
    _score,
)


@triton.jit
def _read_negatives(logits, targets, at, n):
    """Return the scores of negatives as float32, and -inf for everything else."""
    score = tl.load(logits + at, mask=at < n, other=0.0).to(tl.float32)
    target = tl.load(targets + at, mask=at < n, other=-1)
    return tl.where(target == 0, score, float("-inf"))


@triton.jit
def _first_probe(facts):
    """Return how far `_cell` looks ahead at first: the greatest power of two that is no more than SPAN."""
    span = tl.load(facts + SPAN)
    probe = 1
    while 2 * probe <= span:
        probe = 2 * probe
    return probe


@triton.jit
def _cell(x, uppers, first, low, density, probe, number, bins):
    """Return how many breakpoints are at most x, for scores that are not below all.

    Those in the bins below are known. Of those that follow them a binary search finds how many are at most x: what is
    in higher bins is greater than x, and so is what follows the last breakpoint, +inf.
    """
    cell = tl.load(first + _bin(x, low, density, bins))
    while probe > 0:
        upper = tl.load(uppers + tl.minimum(cell + probe - 1, number))
        cell += tl.where(upper <= x, probe, 0)
        probe = probe >> 1
    return cell


@triton.jit
def _steps(x, cell, uppers, rulers, bits):
    """Return the places of scores in their cells, in steps above the lower ends, and where they are to be finer."""
    scale, offset = _halves(tl.load(rulers + cell - 1))
    steps = (x - tl.load(uppers + cell - 1)) * tl.abs(scale) + offset
    return tl.minimum(steps, (1 << bits).to(tl.float32)), scale < 0


@triton.jit
def _value(steps, is_fine, shift):
    """Return what a score adds to its cell: 1 and, beside it, its place, if that is not to be finer."""
    place = tl.where(is_fine, 0.0, steps + 0.5).to(tl.int32)
    return place.to(tl.int64) + (tl.full((), 1, tl.int64) << shift)


@triton.jit
def _fine_value(steps, is_fine):
    """Return the place of a score that is to be finer, and 0 for the others."""
    return tl.where(is_fine, steps * REST, 0.0).to(tl.int64)


@triton.jit
def _full_cell(cell, left, inner, BLOCK: tl.constexpr):
    """Return the cell of the first score that is left, and its scores; -1 and none where these are few."""
    first = tl.min(tl.where(left, (inner << 20) | cell, 0x7FFFFFFF)) & 0xFFFFF
    same = left & (cell == first)
    is_full = tl.sum(same.to(tl.int32)) >= BLOCK // 32
    return tl.where(is_full, first, -1), tl.where(is_full, same, False)


@triton.jit
def _sum_of_four(x, BLOCK: tl.constexpr):
    """Return the sums of four values each: those of one thread."""
    return tl.sum(tl.reshape(x, (4, BLOCK // 4)), 0)


@triton.jit
def _add_cell(table, cell, values):
    """Add what a program has added up of one cell to a table."""
    total = tl.sum(values)
    tl.atomic_add(table + cell, total, mask=total != 0, sem="relaxed")


@triton.jit(do_not_specialize=["bins"])
def count(
    logits,
    targets,
    keys,
    facts,
    uppers,
    rulers,
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
    follow. A place in memory takes one atomic addition at a time: so a program adds up by itself what is in two cells
    that are full of scores in its first block.
    """
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    # Swapped in pairs, scores are loaded one by one: in the layout of atomic operations, to which they would be moved.
    inner = tl.arange(0, BLOCK) ^ 1
    begin = tl.program_id(0) * BLOCK
    stride = tl.num_programs(0) * BLOCK
    infinite = tl.zeros((BLOCK,), tl.int32)
    if number > 0:
        low = tl.load(uppers)
        density = tl.load(facts + DENSITY).to(tl.float32, bitcast=True)
        probe = _first_probe(facts)
        copies = tl.load(facts + COPIES)
        shift = tl.load(facts + SHIFT)
        bits = tl.load(facts + BITS)
        copy = (tl.program_id(0) % copies) * (number + 1)
        score = _read_negatives(logits, targets, begin + inner, n)
        left = score >= low  # a maximum would leave it to Triton what becomes of NaN
        cell = _cell(tl.where(left, score, low), uppers, first, low, density, probe, number, bins)
        left &= cell < 1 << 20
        cell_a, same = _full_cell(cell, left, inner, BLOCK)
        cell_b, same = _full_cell(cell, left & ~same, inner, BLOCK)
        value_a = tl.zeros((BLOCK // 4,), tl.int64)
        value_b = tl.zeros((BLOCK // 4,), tl.int64)
        fine_sum = tl.zeros((BLOCK // 4,), tl.int64)
        cell_fine = -1  # the one of the two whose places are to be finer; of both, the lower
        if not HEAVISIDE:
            other = tl.where(cell_b < 0, cell_a, cell_b)
            lower = tl.minimum(cell_a, other)
            lower = tl.where(lower < 0, tl.maximum(cell_a, other), lower)
            scale, offset = _halves(tl.load(rulers + lower - 1, mask=lower > 0, other=0))
            cell_fine = tl.where(scale < 0, lower, -1)
        for start in range(begin, n, stride):
            next_score = _read_negatives(logits, targets, start + stride + inner, n)  # while this block is counted
            left = score >= low
            infinite |= (score < float("inf")).to(tl.int32) ^ 1  # NaN too
            x = tl.where(left, score, low)
            cell = _cell(x, uppers, first, low, density, probe, number, bins)
            in_a = left & (cell == cell_a)
            in_b = left & (cell == cell_b)
            alone = left & ~(in_a | in_b)
            if HEAVISIDE:  # places do not matter
                steps, is_fine = tl.zeros((BLOCK,), tl.float32), x < low
            else:
                steps, is_fine = _steps(x, cell, uppers, rulers, bits)
            value = _value(steps, is_fine, shift)
            what = alone.to(tl.int32) | ((left & is_fine).to(tl.int32) << 1)
            value_a += _sum_of_four(tl.where(in_a, value, 0), BLOCK)
            value_b += _sum_of_four(tl.where(in_b, value, 0), BLOCK)
            some = tl.max(what)
            if some > 0:
                tl.atomic_add(table + copy + cell, value, mask=alone, sem="relaxed")
            if some > 1:
                fine = _fine_value(steps, is_fine)
                in_fine = left & (cell == cell_fine)
                fine_sum += _sum_of_four(tl.where(in_fine, fine, 0), BLOCK)
                tl.atomic_add(finer + copy + cell, fine, mask=left & ~in_fine & (fine > 0), sem="relaxed")
            score = next_score
        _add_cell(table + copy, cell_a, value_a)
        _add_cell(table + copy, cell_b, value_b)
        if not HEAVISIDE:
            _add_cell(finer + copy, cell_fine, fine_sum)
            own = copies * (number + 1)
            for start in range(begin, positives, stride):
                inside = start + inner < positives
                x = _score(tl.load(keys + start + inner, mask=inside, other=0))
                x = tl.where(inside & (x >= low), x, low)
                cell = _cell(x, uppers, first, low, density, probe, number, bins)
                steps, is_fine = _steps(x, cell, uppers, rulers, bits)
                tl.atomic_add(table + own + cell, _value(steps, is_fine, shift), mask=inside, sem="relaxed")
                fine = _fine_value(steps, is_fine)
                tl.atomic_add(finer + own + cell, fine, mask=inside & (fine > 0), sem="relaxed")
    else:
        for start in range(begin, n, stride):
            score = _read_negatives(logits, targets, start + inner, n)
            infinite |= (score < float("inf")).to(tl.int32) ^ 1  # NaN too
    tl.atomic_max(facts + INFINITE, 1, mask=tl.max(infinite) > 0, sem="relaxed")
