"""The kernels that turn what each cell holds into the loss and its update; cell_kernels.py has those before them."""

import triton
import triton.language as tl

from .cell_kernels import NEGATIVES, REFUSED, SPAN, _cell, _copies, _float64, _number_of_breakpoints, _read


@triton.jit
def _smaller(a, b):
    return tl.where(b < a, b, a)


@triton.jit
def _owner(owners, p, inside):
    """Return the rank of a breakpoint's positive, and 1 for a lower breakpoint, -1 for an upper one; 0 outside."""
    owner = tl.load(owners + p, mask=inside, other=0)
    return tl.where(owner < 0, -1 - owner, owner), tl.where(inside, tl.where(owner < 0, -1, 1), 0)


@triton.jit
def _width(breakpoints, p, number, slope):
    """Return the width of the cell above a breakpoint, in units of the slope's."""
    inside = p + 1 < number
    upper = tl.load(breakpoints + p + 1, mask=inside, other=0.0)
    return tl.where(inside, upper - tl.load(breakpoints + p, mask=inside, other=0.0), 0.0) / slope


@triton.jit
def _contents(counts, totals, p, cells, copies, inside, HEAVISIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Return the number of scores in the cells above breakpoints, and the sum of their distances, over all copies."""
    number = tl.zeros((BLOCK,), tl.int32)
    total = tl.zeros((BLOCK,), tl.int64)
    for copy in range(0, copies):
        at = copy * cells + p + 1
        number += tl.load(counts + at, mask=inside, other=0)
        if not HEAVISIDE:
            total += tl.load(totals + at, mask=inside, other=0)
    return number, total


@triton.jit
def _integrate_from_above(
    breakpoints,
    owners,
    counts,
    totals,
    integrals,
    number,
    copies,
    cells,
    slope,
    unit,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Integrate the number of scores above t, for t from each breakpoint on, in units of the slope's width.

    Writes the integrals float64 [P] from the lower breakpoints on, and then those from the upper ones on. With the
    Heaviside step these are the numbers of scores above.
    """
    above = tl.full((), 0, tl.int32)
    pending = tl.full((), 0, tl.int32)
    integral = tl.full((), 0.0, tl.float64)
    chunks = tl.cdiv(number, BLOCK)
    for chunk in range(0, chunks):
        p = (chunks - 1 - chunk) * BLOCK + tl.arange(0, BLOCK)
        inside = p < number
        held, total = _contents(counts, totals, p, cells, copies, inside, HEAVISIDE, BLOCK)
        from_here = tl.cumsum(held, 0, reverse=True) + above
        above += tl.sum(held)
        if HEAVISIDE:
            tl.store(integrals + p, from_here.to(tl.float64), mask=inside)
        else:
            order, sign = _owner(owners, p, inside)
            # Some pair is on the sloped part of f above more lower breakpoints than upper ones.
            sloped = tl.cumsum(sign, 0, reverse=True) - sign + pending < 0
            pending += tl.sum(sign)
            part = (from_here - held).to(tl.float64) * _width(breakpoints, p, number, slope)
            part = tl.where(sloped, part + total.to(tl.float64) / unit, 0.0)
            tl.store(
                integrals + order + tl.where(sign < 0, number // 2, 0),
                tl.cumsum(part, 0, reverse=True) + integral,
                mask=inside,
            )
            integral += tl.sum(part)


@triton.jit
def _weigh(
    integrals,
    updates,
    positives,
    negatives,
    HEAVISIDE: tl.constexpr,
    AUC: tl.constexpr,
    INTERPOLATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Return the sum of the positives' losses; write their updates, and their weights in place of the integrals."""
    loss = tl.full((), 0.0, tl.float64)
    smallest = tl.full((), 1.0, tl.float64)
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
            weights = tl.full((BLOCK,), 1.0, tl.float64) / tl.maximum(negatives, 1).to(tl.float64)
            losses = negatives_above * weights
        else:
            losses = negatives_above / tl.where(some, 1.0 + positives_above + negatives_above, 1.0)
            if INTERPOLATED:
                losses = tl.where(inside, losses, 1.0)
                losses = _smaller(tl.associative_scan(losses, 0, _smaller), smallest)
                smallest = tl.min(losses)
            weights = tl.where(some, losses / tl.where(some, negatives_above, 1.0), 0.0)
        tl.store(updates + r, (-losses / positives).to(tl.float32), mask=inside)
        tl.store(integrals + r, weights / positives, mask=inside)
        loss += tl.sum(tl.where(inside, losses, 0.0))
    return loss


@triton.jit
def _rise(
    breakpoints,
    owners,
    weights,
    values,
    slopes,
    number,
    slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write what negatives at each breakpoint get, and by how much it rises from there, a slope's width further on."""
    value = tl.full((), 0.0, tl.float64)
    rise = tl.full((), 0.0, tl.float64)
    pending = tl.full((), 0, tl.int32)
    for start in range(0, number, BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < number
        order, sign = _owner(owners, p, inside)
        steps = tl.load(weights + order, mask=inside, other=0.0) * sign
        rises = tl.cumsum(steps, 0) + rise
        rise += tl.sum(steps)
        if HEAVISIDE:
            tl.store(values + p, rises.to(tl.float32), mask=inside)
        else:
            sloped = tl.cumsum(sign, 0) + pending > 0
            pending += tl.sum(sign)
            rises = tl.where(sloped, tl.maximum(rises, 0.0), 0.0)
            gains = rises * _width(breakpoints, p, number, slope)
            tl.store(values + p, (tl.cumsum(gains, 0) - gains + value).to(tl.float32), mask=inside)
            tl.store(slopes + p, rises.to(tl.float32), mask=inside)
            value += tl.sum(gains)


@triton.jit(do_not_specialize=["room", "unit", "delta_bits"])
def solve(
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
    HEAVISIDE: tl.constexpr,
    AUC: tl.constexpr,
    INTERPOLATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the loss, the positives' updates and the line of the negatives' updates in each cell; one program."""
    number, positives = _number_of_breakpoints(counters, HEAVISIDE)
    slope = 2 * _float64(delta_bits)
    cells = number + 1
    copies = _copies(cells, room)
    _integrate_from_above(
        breakpoints, owners, counts, totals, integrals, number, copies, cells, slope, unit, HEAVISIDE, BLOCK
    )
    if not HEAVISIDE:
        own = copies * cells
        _integrate_from_above(
            breakpoints,
            owners,
            counts + own,
            totals + own,
            integrals + 2 * positives,
            number,
            1,
            cells,
            slope,
            unit,
            HEAVISIDE,
            BLOCK,
        )
    tl.debug_barrier()  # what other threads have written is read from here on
    negatives = tl.load(counters + NEGATIVES)
    total = _weigh(integrals, updates, positives, negatives, HEAVISIDE, AUC, INTERPOLATED, BLOCK)
    tl.debug_barrier()
    _rise(breakpoints, owners, integrals, values, slopes, number, slope, HEAVISIDE, BLOCK)
    mean = total / tl.maximum(positives, 1)
    tl.store(loss, tl.where(tl.load(counters + REFUSED) != 0, float("nan"), mean.to(tl.float32)))


@triton.jit(do_not_specialize=["bins", "delta_bits"])
def update(
    logits,
    targets,
    counters,
    breakpoints,
    first,
    values,
    slopes,
    indices,
    updates,
    incoming,
    out,
    n,
    bins,
    delta_bits,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the update of every logit, times the incoming gradient."""
    number, positives = _number_of_breakpoints(counters, HEAVISIDE)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    score, positive, negative, _ = _read(logits, targets, at, at < n)
    if number > 0:
        factor = tl.load(incoming).to(tl.float32)
        x = score.to(tl.float64)
        needed = negative & (x >= tl.load(breakpoints))
        cell = _cell(x, needed, breakpoints, number, first, tl.load(counters + SPAN), bins)
        needed = needed & (cell > 0)
        result = tl.load(values + cell - 1, mask=needed, other=0.0)
        if not HEAVISIDE:
            slope = 2 * _float64(delta_bits)
            above = (x - tl.load(breakpoints + cell - 1, mask=needed, other=0.0)) / slope
            result += tl.load(slopes + cell - 1, mask=needed, other=0.0) * tl.minimum(above, 1.0).to(tl.float32)
        result = tl.where(needed, result, 0.0)
        tl.store(out + at, (result * factor).to(out.dtype.element_ty), mask=(at < n) & ~positive)
        for start in range(tl.program_id(0) * BLOCK, positives, tl.num_programs(0) * BLOCK):
            r = start + tl.arange(0, BLOCK)
            inside = r < positives
            own = tl.load(updates + r, mask=inside, other=0.0) * factor
            tl.store(out + tl.load(indices + r, mask=inside, other=0), own.to(out.dtype.element_ty), mask=inside)
    else:  # no positives, or no loss
        refused = tl.load(counters + REFUSED) != 0
        counted = positive | (negative & (score != float("-inf")))
        result = tl.where(refused & counted, float("nan"), 0.0)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=at < n)
