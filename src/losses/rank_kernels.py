"""The kernels that turn what each cell holds into the loss and its update; cell_kernels.py has those before them."""

import triton
import triton.language as tl

from .cell_kernels import (
    COPIES,
    MOST_COPIES,
    NEGATIVES,
    REFUSED,
    REST,
    SHIFT,
    _float64,
    _number_of_breakpoints,
    _read,
)
from .count_kernel import _cell, _steps


@triton.jit
def _smaller(a, b):
    return tl.where(b < a, b, a)


@triton.jit
def _owner(owners, p, inside):
    """Return the rank of a breakpoint's positive, and 1 for a lower breakpoint, -1 for an upper one; 0 outside."""
    owner = tl.load(owners + p, mask=inside, other=0)
    return tl.where(owner < 0, -1 - owner, owner), tl.where(inside, tl.where(owner < 0, -1, 1), 0)


@triton.jit
def _width(uppers, rests, p, number, per_slope):
    """Return the width of the cell above a breakpoint, in units of the slope's; float64."""
    inside = p + 1 < number
    width = tl.load(uppers + p + 1, mask=inside, other=0.0).to(tl.float64)
    width -= tl.load(uppers + p, mask=inside, other=0.0).to(tl.float64)
    width += tl.load(rests + p + 1, mask=inside, other=0.0).to(tl.float64)
    width -= tl.load(rests + p, mask=inside, other=0.0).to(tl.float64)
    return width * per_slope


@triton.jit
def _step(scales, p, inside, per_slope):
    """Return a step of the places in the cell above a breakpoint, in units of the slope's width, and if it is wide."""
    scale = tl.load(scales + p, mask=inside, other=0.0).to(tl.float64)
    return tl.where(scale != 0, per_slope / tl.where(scale != 0, tl.abs(scale), 1.0), 0.0), scale < 0


@triton.jit
def _integrate(
    owners,
    uppers,
    rests,
    scales,
    table,
    finer,
    integrals,
    facts,
    number,
    per_slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Integrate the number of scores above t, for t from each breakpoint on, in units of the slope's width.

    Writes float64 [4, P]: of the negatives the integrals from the lower breakpoints on and those from the upper ones
    on, and the same of the positives. With the Heaviside step only the numbers of negatives above, [P].
    """
    cells = number + 1
    copies = tl.load(facts + COPIES)
    shift = tl.load(facts + SHIFT)
    below = (tl.full((), 1, tl.int64) << shift) - 1
    both_above = tl.full((), 0, tl.int64)
    pending = tl.full((), 0, tl.int32)
    of_negatives = tl.full((), 0.0, tl.float64)
    of_positives = tl.full((), 0.0, tl.float64)
    chunks = tl.cdiv(number, BLOCK)
    for chunk in range(0, chunks):
        p = (chunks - 1 - chunk) * BLOCK + tl.arange(0, BLOCK)
        inside = p < number
        held = tl.zeros((BLOCK,), tl.int32)
        places = tl.zeros((BLOCK,), tl.int64)
        for copy in tl.static_range(MOST_COPIES):  # of fixed length, so that all loads are under way together
            value = tl.load(table + copy * cells + p + 1, mask=p < tl.where(copy < copies, number, 0), other=0)
            held += (value >> shift).to(tl.int32)
            places += value & below
        if HEAVISIDE:
            tl.store(integrals + p, (tl.cumsum(held, 0, reverse=True) + both_above).to(tl.float64), mask=inside)
            both_above += tl.sum(held)
        else:
            step, is_wide = _step(scales, p, inside, per_slope)
            width = _width(uppers, rests, p, number, per_slope)
            order, sign = _owner(owners, p, inside)
            fine = tl.zeros((BLOCK,), tl.int64)
            for copy in tl.static_range(MOST_COPIES):
                fine += tl.load(
                    finer + copy * cells + p + 1, mask=is_wide & (p < tl.where(copy < copies, number, 0)), other=0
                )
            own = copies * cells + p + 1
            value = tl.load(table + own, mask=inside, other=0)
            own_held = (value >> shift).to(tl.int32)
            own_fine = tl.load(finer + own, mask=is_wide, other=0)
            total = (places.to(tl.float64) + fine.to(tl.float64) * (1 / REST)) * step
            own_total = ((value & below).to(tl.float64) + own_fine.to(tl.float64) * (1 / REST)) * step
            # The two numbers in one sum.
            both = held.to(tl.int64) + (own_held.to(tl.int64) << 32)
            above = tl.cumsum(both, 0, reverse=True) - both + both_above
            both_above += tl.sum(both)
            # Some pair is on the sloped part of f above more lower breakpoints than upper ones.
            sloped = tl.cumsum(sign, 0, reverse=True) - sign + pending < 0
            pending += tl.sum(sign)
            part = tl.where(sloped, (above & 0xFFFFFFFF).to(tl.float64) * width + total, 0.0)
            own_part = tl.where(sloped, (above >> 32).to(tl.float64) * width + own_total, 0.0)
            out = integrals + order + tl.where(sign < 0, number // 2, 0)
            tl.store(out, tl.cumsum(part, 0, reverse=True) + of_negatives, mask=inside)
            tl.store(out + number, tl.cumsum(own_part, 0, reverse=True) + of_positives, mask=inside)
            of_negatives += tl.sum(part)
            of_positives += tl.sum(own_part)


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
            weights = tl.full((BLOCK,), 1.0, tl.float64) / tl.maximum(negatives, 1).to(tl.float64)
            losses = negatives_above * weights
        else:
            losses = negatives_above / tl.where(some, 1.0 + positives_above + negatives_above, 1.0)
            if INTERPOLATED:
                losses = tl.where(inside, losses, 1.0)
                losses = _smaller(tl.associative_scan(losses, 0, _smaller), smallest)
                smallest = tl.min(losses)
            weights = tl.where(some, losses / tl.where(some, negatives_above, 1.0), 0.0)
        tl.store(updates + r, (-losses * share).to(tl.float32), mask=inside)
        tl.store(integrals + r, weights * share, mask=inside)
        loss += tl.sum(tl.where(inside, losses, 0.0))
    return loss * share


@triton.jit
def _rise(
    owners,
    uppers,
    rests,
    scales,
    weights,
    values,
    gains,
    number,
    per_slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write what negatives at each breakpoint get, and by how much it rises with each step of a place above it."""
    value = tl.full((), 0.0, tl.float64)
    slope = tl.full((), 0.0, tl.float64)
    pending = tl.full((), 0, tl.int32)
    for start in range(0, number, BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < number
        order, sign = _owner(owners, p, inside)
        rise = tl.load(weights + order, mask=inside, other=0.0) * sign
        if HEAVISIDE:
            tl.store(values + p, (tl.cumsum(rise, 0) + value).to(tl.float32), mask=inside)
            value += tl.sum(rise)
        else:
            sloped = tl.cumsum(sign, 0) + pending > 0
            pending += tl.sum(sign)
            slopes = tl.where(sloped, tl.maximum(tl.cumsum(rise, 0) + slope, 0.0), 0.0)
            slope += tl.sum(rise)
            gain = slopes * _width(uppers, rests, p, number, per_slope)
            step, _ = _step(scales, p, inside, per_slope)
            tl.store(values + p, (tl.cumsum(gain, 0) - gain + value).to(tl.float32), mask=inside)
            tl.store(gains + p, (slopes * step).to(tl.float32), mask=inside)
            value += tl.sum(gain)


@triton.jit(do_not_specialize=["delta_bits"])
def solve(
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
    HEAVISIDE: tl.constexpr,
    AUC: tl.constexpr,
    INTERPOLATED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the loss, the positives' updates and the line of the negatives' updates in each cell; one program."""
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    negatives = tl.load(facts + NEGATIVES)
    per_slope = 0.5 / _float64(delta_bits)
    _integrate(owners, uppers, rests, scales, table, finer, integrals, facts, number, per_slope, HEAVISIDE, BLOCK)
    tl.debug_barrier()  # what other threads have written is read from here on
    mean = _weigh(integrals, updates, positives, negatives, HEAVISIDE, AUC, INTERPOLATED, BLOCK)
    tl.debug_barrier()
    _rise(owners, uppers, rests, scales, integrals, values, gains, number, per_slope, HEAVISIDE, BLOCK)
    tl.store(loss, tl.where(tl.load(facts + REFUSED) != 0, float("nan"), mean.to(tl.float32)))


@triton.jit(do_not_specialize=["bins"])
def update(
    logits,
    targets,
    facts,
    uppers,
    rests,
    scales,
    first,
    values,
    gains,
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
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, positive, negative = _read(logits, targets, at, at < n)
    if number > 0:
        factor = tl.load(incoming).to(tl.float32)
        needed = negative & (x >= tl.load(uppers))
        cell = _cell(x, needed, uppers, facts, first, number, bins)
        result = tl.load(values + cell - 1, mask=needed, other=0.0)
        if not HEAVISIDE:
            steps, _ = _steps(x, cell, needed, uppers, rests, scales)
            result += tl.load(gains + cell - 1, mask=needed, other=0.0) * steps
        tl.store(out + at, (result * factor).to(out.dtype.element_ty), mask=(at < n) & ~positive)
        for start in range(tl.program_id(0) * BLOCK, positives, tl.num_programs(0) * BLOCK):
            r = start + tl.arange(0, BLOCK)
            inside = r < positives
            own = tl.load(updates + r, mask=inside, other=0.0) * factor
            tl.store(out + tl.load(indices + r, mask=inside, other=0), own.to(out.dtype.element_ty), mask=inside)
    else:  # no positives, or no loss
        refused = tl.load(facts + REFUSED) != 0
        counted = positive | (negative & (x != float("-inf")))
        result = tl.where(refused & counted, float("nan"), 0.0)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=at < n)
