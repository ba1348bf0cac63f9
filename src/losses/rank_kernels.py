"""The kernels that turn what each cell holds into the loss and its update; cell_kernels.py has those before them."""

import triton
import triton.language as tl

from .cell_kernels import (
    COPIES,
    DENSITY,
    DONE,
    INFINITE,
    MOST_COPIES,
    NEGATIVES,
    REFUSED,
    REST,
    SHIFT,
    _distance,
    _float64,
    _halves,
    _number_of_breakpoints,
    _pair,
    _read,
)
from .count_kernel import _cell, _first_probe


@triton.jit
def _smaller(a, b):
    return tl.where(b < a, b, a)


@triton.jit
def _merge(
    facts,
    uppers,
    rests,
    rulers,
    table,
    finer,
    held,
    widths,
    sums,
    number,
    per_slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the copies of the negatives' tables, and take the tables apart; the programs share the cells.

    Writes for each cell above a breakpoint its width, float64 [M], the numbers of negatives and of positives in it, as
    halves of an int64 [M], and the sums of their places above the breakpoint, float64 [2, M]. Widths and places are in
    units of the slope's width, and without the Heaviside step alone.
    """
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
        both = tl.sum(value >> shift, 0)
        if not HEAVISIDE:
            total = tl.sum(value & below, 0).to(tl.float64)
            scale, offset = _halves(tl.load(rulers + p, mask=inside, other=0))
            is_fine = scale < 0
            scale = tl.abs(scale).to(tl.float64)
            step = tl.where(scale > 0, per_slope / tl.where(scale > 0, scale, 1.0), 0.0)
            fine = tl.load(finer + at, mask=(copy < copies) & is_fine[None, :], other=0)
            fine_total = tl.sum(fine.to(tl.float64), 0) / REST  # an int64 may not hold the sum of the copies
            tl.store(sums + p, (total + fine_total) * step, mask=inside)
            own = copies * cells + p + 1
            value = tl.load(table + own, mask=inside, other=0)
            fine = tl.load(finer + own, mask=is_fine, other=0).to(tl.float64)
            tl.store(sums + number + p, ((value & below).to(tl.float64) + fine / REST) * step, mask=inside)
            tl.store(widths + p, _distance(uppers, rests, p, p + 1, p + 1 < number) * per_slope, mask=inside)
            both += (value >> shift) << 32
        tl.store(held + p, both, mask=inside)


@triton.jit
def _owner(owners, p, inside):
    """Return the rank of a breakpoint's positive, 1 for a lower breakpoint and -1 for an upper one, and what slopes.

    Some pair is on the sloped part of f where more lower breakpoints have been passed than upper ones. At a lower one
    its own pair is. With the upper one of the positive of rank r, at place p, r + 1 upper ones have been passed, so
    p - r lower ones.
    """
    owner = tl.load(owners + p, mask=inside, other=0)
    order = tl.where(owner < 0, -1 - owner, owner)
    sloped = inside & ((owner >= 0) | (p - 2 * order - 1 > 0))
    return order, tl.where(inside, tl.where(owner < 0, -1, 1), 0), sloped


@triton.jit
def _integrate(owners, held, widths, sums, integrals, number, HEAVISIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Integrate the number of scores above t, for t from each breakpoint on, in units of the slope's width.

    Writes float64 [4, P]: of the negatives the integrals from the lower breakpoints on and those from the upper ones
    on, and the same of the positives. With the Heaviside step only the numbers of negatives above, [P].
    """
    both_above = tl.full((), 0, tl.int64)
    of_negatives = tl.full((), 0.0, tl.float64)
    of_positives = tl.full((), 0.0, tl.float64)
    chunks = tl.cdiv(number, BLOCK)
    for chunk in range(0, chunks):
        p = (chunks - 1 - chunk) * BLOCK + tl.arange(0, BLOCK)
        inside = p < number
        both = tl.load(held + p, mask=inside, other=0)
        above = tl.cumsum(both, 0, reverse=True) + both_above
        if HEAVISIDE:
            tl.store(integrals + p, above.to(tl.float64), mask=inside)
        else:
            above -= both
            order, sign, sloped = _owner(owners, p, inside)
            width = tl.load(widths + p, mask=sloped, other=0.0)
            part = (above & 0xFFFFFFFF).to(tl.float64) * width + tl.load(sums + p, mask=sloped, other=0.0)
            own_part = (above >> 32).to(tl.float64) * width + tl.load(sums + number + p, mask=sloped, other=0.0)
            out = integrals + order + tl.where(sign < 0, number // 2, 0)
            tl.store(out, tl.cumsum(part, 0, reverse=True) + of_negatives, mask=inside)
            tl.store(out + number, tl.cumsum(own_part, 0, reverse=True) + of_positives, mask=inside)
            if chunk + 1 < chunks:
                of_negatives += tl.sum(part)
                of_positives += tl.sum(own_part)
        if chunk + 1 < chunks:
            both_above += tl.sum(both)


@triton.jit
def _weigh(
    integrals,
    weights,
    updates,
    positives,
    negatives,
    HEAVISIDE: tl.constexpr,
    AUC: tl.constexpr,
    INTERPOLATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return the sum of the positives' losses; write their updates and their weights."""
    loss = tl.full((), 0.0, tl.float64)
    smallest = tl.full((), 1.0, tl.float64)
    share = tl.full((), 1.0, tl.float64) / tl.maximum(positives, 1).to(tl.float64)
    for start in range(0, positives, BLOCK):
        r = start + tl.arange(0, BLOCK)
        inside = r < positives
        negatives_above = tl.load(integrals + r, mask=inside, other=0.0)
        if HEAVISIDE:
            positives_above = (positives - 1 - r).to(tl.float64)
        else:
            negatives_above -= tl.load(integrals + positives + r, mask=inside, other=0.0)
            negatives_above = tl.maximum(negatives_above, 0.0)
            positives_above = tl.load(integrals + 2 * positives + r, mask=inside, other=0.0)
            positives_above -= tl.load(integrals + 3 * positives + r, mask=inside, other=0.0)
            positives_above = tl.maximum(positives_above - 0.5, 0.0)  # without k = i: f(0) = 1/2
        some = negatives_above > 0
        if AUC:
            weight = tl.full((BLOCK,), 1.0, tl.float64) / tl.maximum(negatives, 1).to(tl.float64)
            losses = negatives_above * weight
        else:
            losses = negatives_above / tl.where(some, 1.0 + positives_above + negatives_above, 1.0)
            if INTERPOLATED:
                losses = tl.where(inside, losses, 1.0)
                losses = _smaller(tl.associative_scan(losses, 0, _smaller), smallest)
                if start + BLOCK < positives:
                    smallest = tl.min(losses)
            weight = tl.where(some, losses / tl.where(some, negatives_above, 1.0), 0.0)
        tl.store(updates + r, (-losses * share).to(tl.float32), mask=inside)
        tl.store(weights + r, weight * share, mask=inside)
        loss += tl.sum(tl.where(inside, losses, 0.0))
    return loss * share


@triton.jit
def _rise(
    owners,
    rests,
    widths,
    weights,
    lines,
    number,
    per_slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write what negatives in each cell get: at `upper`, and by how much it rises with the score."""
    value = tl.full((), 0.0, tl.float64)
    slope = tl.full((), 0.0, tl.float64)
    for start in range(0, number, BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < number
        order, sign, sloped = _owner(owners, p, inside)
        rise = tl.load(weights + order, mask=inside, other=0.0) * sign
        slopes = tl.cumsum(rise, 0) + slope
        if HEAVISIDE:
            line = _pair(slopes.to(tl.float32), tl.zeros((BLOCK,), tl.float32))
        else:
            slopes = tl.where(sloped, tl.maximum(slopes, 0.0), 0.0)
            gain = slopes * tl.load(widths + p, mask=sloped, other=0.0)
            slopes *= per_slope
            at_upper = tl.cumsum(gain, 0) - gain + value
            at_upper -= slopes * tl.load(rests + p, mask=inside, other=0.0).to(tl.float64)
            line = _pair(at_upper.to(tl.float32), slopes.to(tl.float32))
            if start + BLOCK < number:
                value += tl.sum(gain)
        tl.store(lines + p, line, mask=inside)
        if start + BLOCK < number:
            slope += tl.sum(rise)


@triton.jit(do_not_specialize=["delta_bits"])
def solve(
    facts,
    owners,
    uppers,
    rests,
    rulers,
    table,
    finer,
    held,
    widths,
    sums,
    integrals,
    weights,
    updates,
    lines,
    loss,
    delta_bits,
    HEAVISIDE: tl.constexpr,
    AUC: tl.constexpr,
    INTERPOLATED: tl.constexpr,
    MERGED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the loss, the positives' updates and the line of the negatives' updates in each cell.

    The programs together add up what the cells hold, each in blocks of MERGED cells; the last to finish does the rest.
    No array is read and written in the same step: threads are not in step with each other.
    """
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    per_slope = 0.5 / _float64(delta_bits)
    _merge(facts, uppers, rests, rulers, table, finer, held, widths, sums, number, per_slope, HEAVISIDE, MERGED)
    tl.debug_barrier()  # all that this program's threads have written is visible to who sees that it is done
    if tl.atomic_add(facts + DONE, 1, sem="acq_rel") == tl.num_programs(0) - 1:
        negatives = tl.load(facts + NEGATIVES)
        refused = (tl.load(facts + REFUSED) != 0) | (tl.load(facts + INFINITE) != 0)
        _integrate(owners, held, widths, sums, integrals, number, HEAVISIDE, BLOCK)
        tl.debug_barrier()  # what other threads have written is read from here on
        mean = _weigh(integrals, weights, updates, positives, negatives, HEAVISIDE, AUC, INTERPOLATED, BLOCK)
        tl.debug_barrier()
        _rise(owners, rests, widths, weights, lines, number, per_slope, HEAVISIDE, BLOCK)
        tl.store(loss, tl.where(refused, float("nan"), mean.to(tl.float32)))


@triton.jit(do_not_specialize=["bins"])
def update(
    logits,
    targets,
    facts,
    uppers,
    first,
    lines,
    indices,
    updates,
    incoming,
    out,
    n,
    bins,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the update of every logit, times the incoming gradient."""
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    refused = (tl.load(facts + REFUSED) != 0) | (tl.load(facts + INFINITE) != 0)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, positive, negative = _read(logits, targets, at, at < n)
    if (number > 0) & ~refused:
        factor = tl.load(incoming).to(tl.float32)
        low = tl.load(uppers)
        density = tl.load(facts + DENSITY).to(tl.float32, bitcast=True)
        needed = negative & (x >= low)
        x = tl.where(needed, x, low)
        cell = _cell(x, uppers, first, low, density, _first_probe(facts), number, bins)
        result, slope = _halves(tl.load(lines + cell - 1))
        if not HEAVISIDE:
            result += slope * (x - tl.load(uppers + cell - 1))
        result = tl.where(needed, result, 0.0)
        tl.store(out + at, (result * factor).to(out.dtype.element_ty), mask=(at < n) & ~positive)
        for start in range(tl.program_id(0) * BLOCK, positives, tl.num_programs(0) * BLOCK):
            r = start + tl.arange(0, BLOCK)
            inside = r < positives
            own = tl.load(updates + r, mask=inside, other=0.0) * factor
            tl.store(out + tl.load(indices + r, mask=inside, other=0), own.to(out.dtype.element_ty), mask=inside)
    else:  # no positives, or no loss
        counted = positive | (negative & (x != float("-inf")))
        result = tl.where(refused & counted, float("nan"), 0.0)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=at < n)
