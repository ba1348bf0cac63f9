"""The kernels that turn what each cell holds into the loss and its update; cell_kernels.py has those before them."""

import triton
import triton.language as tl

from .cell_kernels import INFINITE, NEGATIVES, REFUSED, _distance, _float64, _number_of_breakpoints, _read
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
def _step(scales, p, inside, per_slope):
    """Return a step of the places in the cell above a breakpoint, in units of the slope's width; 0 in gaps."""
    scale = tl.load(scales + p, mask=inside, other=0.0).to(tl.float64)
    return tl.where(scale != 0, per_slope / tl.where(scale != 0, tl.abs(scale), 1.0), 0.0)


@triton.jit
def _integrate(
    owners,
    uppers,
    rests,
    scales,
    held,
    totals,
    integrals,
    number,
    per_slope,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Integrate the number of scores above t, for t from each breakpoint on, in units of the slope's width.

    Writes float64 [4, P]: of the negatives the integrals from the lower breakpoints on and those from the upper ones
    on, and the same of the positives. With the Heaviside step only the numbers of negatives above, [P].
    """
    both_above = tl.full((), 0, tl.int64)
    pending = tl.full((), 0, tl.int32)
    of_negatives = tl.full((), 0.0, tl.float64)
    of_positives = tl.full((), 0.0, tl.float64)
    chunks = tl.cdiv(number, BLOCK)
    for chunk in range(0, chunks):
        p = (chunks - 1 - chunk) * BLOCK + tl.arange(0, BLOCK)
        inside = p < number
        both = tl.load(held + p, mask=inside, other=0).to(tl.int64)
        if HEAVISIDE:
            tl.store(integrals + p, (tl.cumsum(both, 0, reverse=True) + both_above).to(tl.float64), mask=inside)
            both_above += tl.sum(both)
        else:
            # The two numbers in one sum.
            both += tl.load(held + number + p, mask=inside, other=0).to(tl.int64) << 32
            above = tl.cumsum(both, 0, reverse=True) - both + both_above
            both_above += tl.sum(both)
            step = _step(scales, p, inside, per_slope)
            width = _distance(uppers, rests, p, p + 1, p + 1 < number) * per_slope
            order, sign = _owner(owners, p, inside)
            # Some pair is on the sloped part of f above more lower breakpoints than upper ones.
            sloped = tl.cumsum(sign, 0, reverse=True) - sign + pending < 0
            pending += tl.sum(sign)
            total = tl.load(totals + p, mask=inside, other=0.0) * step
            own_total = tl.load(totals + number + p, mask=inside, other=0.0) * step
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
                smallest = tl.min(losses)
            weight = tl.where(some, losses / tl.where(some, negatives_above, 1.0), 0.0)
        tl.store(updates + r, (-losses * share).to(tl.float32), mask=inside)
        tl.store(weights + r, weight * share, mask=inside)
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
            gain = slopes * _distance(uppers, rests, p, p + 1, p + 1 < number) * per_slope
            step = _step(scales, p, inside, per_slope)
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
    held,
    totals,
    integrals,
    weights,
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
    """Compute the loss, the positives' updates and the line of the negatives' updates in each cell; one program.

    No array is read and written in the same step: threads are not in step with each other.
    """
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    negatives = tl.load(facts + NEGATIVES)
    refused = (tl.load(facts + REFUSED) != 0) | (tl.load(facts + INFINITE) != 0)
    per_slope = 0.5 / _float64(delta_bits)
    _integrate(owners, uppers, rests, scales, held, totals, integrals, number, per_slope, HEAVISIDE, BLOCK)
    tl.debug_barrier()  # what other threads have written is read from here on
    mean = _weigh(integrals, weights, updates, positives, negatives, HEAVISIDE, AUC, INTERPOLATED, BLOCK)
    tl.debug_barrier()
    _rise(owners, uppers, rests, scales, weights, values, gains, number, per_slope, HEAVISIDE, BLOCK)
    tl.store(loss, tl.where(refused, float("nan"), mean.to(tl.float32)))


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
    refused = (tl.load(facts + REFUSED) != 0) | (tl.load(facts + INFINITE) != 0)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x, positive, negative = _read(logits, targets, at, at < n)
    if (number > 0) & ~refused:
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
        counted = positive | (negative & (x != float("-inf")))
        result = tl.where(refused & counted, float("nan"), 0.0)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=at < n)
