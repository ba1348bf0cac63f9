"""AP-loss and AUC-loss on a GPU in seven Triton kernels, none of which waits for the host.

The numbers of positives and of breakpoints are read on the device. Whatever is added by atomic operations is an
integer, and floats are added in a fixed order, so that the same scores give the same bits. Names and formulas are those
of pair_sums.py and score_lookup.py. The host's side is in launch.py.
"""

import triton
import triton.language as tl

# Places in the int32 counters, which begin as zeros.
POSITIVES = tl.constexpr(0)
NEGATIVES = tl.constexpr(1)
REFUSED = tl.constexpr(2)  # not 0 where a logit or a target makes the loss NaN
SPAN = tl.constexpr(3)  # the most breakpoints in one bin

MOST_COPIES = tl.constexpr(16)


@triton.jit
def _float64(bits):
    """Return the float64 of these bits: a kernel's float argument would be rounded to float32."""
    return bits.to(tl.float64, bitcast=True)


@triton.jit
def _read(logits, targets, at, inside):
    """Return scores as float32, and which are positives and which negatives."""
    score = tl.load(logits + at, mask=inside, other=0.0).to(tl.float32)
    target = tl.load(targets + at, mask=inside, other=0)
    return score, inside & (target == 1), inside & (target == 0), target


@triton.jit
def _number_of_breakpoints(counters, HEAVISIDE: tl.constexpr):
    """Return M and P; both are 0 where the loss is NaN, so that nothing is done."""
    positives = tl.load(counters + POSITIVES)
    positives = tl.where(tl.load(counters + REFUSED) == 0, positives, 0)
    return positives if HEAVISIDE else 2 * positives, positives


@triton.jit
def _key(score, index):
    """Return an int64 that is greater for a higher score, and of equal scores for the later index."""
    bits = tl.where(score == 0, 0.0, score).to(tl.int32, bitcast=True)  # -0 equals 0
    ascending = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ascending.to(tl.int64) << 32) | index.to(tl.int64)


@triton.jit
def _score(key):
    """Return the score in a key, as float32."""
    ascending = (key >> 32).to(tl.int32)
    return tl.where(ascending < 0, ascending ^ 0x7FFFFFFF, ascending).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["limit_bits"])
def collect(logits, targets, keys, counters, n, limit_bits, UNSIGNED: tl.constexpr, BLOCK: tl.constexpr):
    """Append the positives' keys in any order, count positives and negatives, and refuse what has no loss."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    score, positive, negative, target = _read(logits, targets, at, at < n)
    refused = (positive & ~(tl.abs(score).to(tl.float64) <= _float64(limit_bits))) | (
        negative & ~(score < float("inf"))
    )
    if UNSIGNED:
        refused = refused | ((at < n) & (target != 0) & (target != 1))
    else:
        refused = refused | ((at < n) & (target != 0) & (target != 1) & (target != -1))
    # Three sums in one.
    together = positive.to(tl.int64) + (negative.to(tl.int64) << 20) + (refused.to(tl.int64) << 40)
    together = tl.sum(together)
    number = (together & 0xFFFFF).to(tl.int32)
    negatives = ((together >> 20) & 0xFFFFF).to(tl.int32)
    tl.atomic_add(counters + NEGATIVES, negatives, mask=negatives > 0, sem="relaxed")
    tl.atomic_max(counters + REFUSED, 1, mask=(together >> 40) > 0, sem="relaxed")
    if number > 0:
        start = tl.atomic_add(counters + POSITIVES, number, sem="relaxed")
        tl.store(keys + start + tl.cumsum(positive.to(tl.int32)) - 1, _key(score, at), mask=positive)


@triton.jit(do_not_specialize=["delta_bits"])
def rank(
    keys,
    counters,
    indices,
    breakpoints,
    owners,
    delta_bits,
    HEAVISIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Put positives and breakpoints in ascending order, by counting for each how many are below it.

    Writes the positives' indices [P], the breakpoints [M], and the breakpoints' owners [M]: r for the lower breakpoint
    of the positive of rank r, -1 - r for its upper one.
    """
    delta = _float64(delta_bits)
    _, positives = _number_of_breakpoints(counters, HEAVISIDE)
    for block in range(tl.program_id(0), tl.cdiv(positives, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        inside = i < positives
        key = tl.load(keys + i, mask=inside, other=0)
        score = _score(key).to(tl.float64)
        below = tl.zeros((BLOCK, CHUNK), tl.int32)
        lower_below = tl.zeros((BLOCK, CHUNK), tl.int32)
        upper_below = tl.zeros((BLOCK, CHUNK), tl.int32)
        for start in range(0, positives, CHUNK):
            k = start + tl.arange(0, CHUNK)
            other = tl.load(keys + k, mask=k < positives, other=0x7FFFFFFFFFFFFFFF)
            below += (other[None, :] < key[:, None]).to(tl.int32)
            if not HEAVISIDE:
                # Of a lower and an upper breakpoint that are equal the lower is first.
                other_score = tl.where(k < positives, _score(other).to(tl.float64), float("inf"))
                upper_below += ((other_score + delta)[None, :] < (score - delta)[:, None]).to(tl.int32)
                lower_below += ((other_score - delta)[None, :] <= (score + delta)[:, None]).to(tl.int32)
        order = tl.sum(below, 1)
        tl.store(indices + order, (key & 0x7FFFFFFF).to(tl.int32), mask=inside)
        if HEAVISIDE:
            tl.store(breakpoints + order, score, mask=inside)
            tl.store(owners + order, order, mask=inside)
        else:
            lower = order + tl.sum(upper_below, 1)
            upper = order + tl.sum(lower_below, 1)
            tl.store(breakpoints + lower, score - delta, mask=inside)
            tl.store(breakpoints + upper, score + delta, mask=inside)
            tl.store(owners + lower, order, mask=inside)
            tl.store(owners + upper, -1 - order, mask=inside)


@triton.jit
def _grid(breakpoints, number, bins):
    """Return where the uniform grid over the breakpoints begins and ends, and its bins in a unit of the score."""
    low = tl.load(breakpoints)
    high = tl.load(breakpoints + number - 1)
    width = high - low
    return low, high, (bins - 1) / tl.where(width > 0, width, 1.0)


@triton.jit
def _bin(x, low, high, scale, bins):
    """Return the number of a score's bin, which is monotone in the score."""
    return tl.minimum(((tl.minimum(tl.maximum(x, low), high) - low) * scale).to(tl.int32), bins - 1)


@triton.jit
def _first_in_bin(breakpoints, number, at, bins):
    """Return how many breakpoints are in the bins below each of these bins."""
    low, high, scale = _grid(breakpoints, number, bins)
    begin = tl.zeros_like(at)
    end = begin + number
    left = number
    while left > 0:
        middle = (begin + end) >> 1
        active = begin < end
        at_middle = tl.load(breakpoints + middle, mask=active, other=0.0)
        is_below = _bin(at_middle, low, high, scale, bins) < at
        begin = tl.where(active & is_below, middle + 1, begin)
        end = tl.where(active & ~is_below, middle, end)
        left = left >> 1
    return begin


@triton.jit
def _cell(x, counts, breakpoints, number, first, span, bins):
    """Return the number of breakpoints that are at most x, for those that count; 0 for the others."""
    low, high, scale = _grid(breakpoints, number, bins)
    at = first + _bin(x, low, high, scale, bins)
    begin = tl.load(at, mask=counts, other=0)
    end = tl.load(at + 1, mask=counts, other=0)
    left = span
    while left > 0:
        middle = (begin + end) >> 1
        active = begin < end
        is_below = tl.load(breakpoints + middle, mask=active, other=0.0) <= x
        begin = tl.where(active & is_below, middle + 1, begin)
        end = tl.where(active & ~is_below, middle, end)
        left = left >> 1
    return begin


@triton.jit
def _copies(cells, room):
    """Return how many copies of the negatives' table fit into the room beside that of the positives."""
    copies = 1
    while (copies < MOST_COPIES) & ((2 * copies + 1) * cells <= room):
        copies = copies * 2
    return copies


@triton.jit(do_not_specialize=["bins", "room"])
def lay_grid(
    breakpoints,
    counters,
    first,
    counts,
    totals,
    bins,
    room,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write how many breakpoints are below each bin, int32 [bins + 1], and zeros into the tables of the cells."""
    number, _ = _number_of_breakpoints(counters, HEAVISIDE)
    if number > 0:
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        begin = _first_in_bin(breakpoints, number, at, bins)
        end = _first_in_bin(breakpoints, number, at + 1, bins)
        tl.store(first + at, begin, mask=at < bins)
        tl.store(first + at + 1, end, mask=at == bins - 1)
        tl.atomic_max(counters + SPAN, tl.max(tl.where(at < bins, end - begin, 0)), sem="relaxed")
        cells = number + 1
        entries = cells * (_copies(cells, room) + 1)
        for start in range(tl.program_id(0) * BLOCK, entries, tl.num_programs(0) * BLOCK):
            entry = start + tl.arange(0, BLOCK)
            tl.store(counts + entry, tl.zeros((BLOCK,), tl.int32), mask=entry < entries)
            if not HEAVISIDE:
                tl.store(totals + entry, tl.zeros((BLOCK,), tl.int64), mask=entry < entries)


@triton.jit
def _add(counts, totals, cell, place, mask, HEAVISIDE: tl.constexpr):
    """Add scores one by one to the tables of their cells."""
    tl.atomic_add(counts + cell, 1, mask=mask, sem="relaxed")
    if not HEAVISIDE:
        tl.atomic_add(totals + cell, place, mask=mask & (place > 0), sem="relaxed")


@triton.jit(do_not_specialize=["bins", "room", "unit", "delta_bits"])
def count(
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
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up in each cell how many negatives are in it, and how far they are above its lower end; positives likewise.

    Distances are integers, in units of 2 δ / unit. The negatives' tables have copies, one after the other, between
    which the programs take turns; the positives' follow. Where many of a program's scores are in one cell they are
    added up first, since a place in memory takes one atomic addition at a time.
    """
    number, _ = _number_of_breakpoints(counters, HEAVISIDE)
    if number > 0:
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        score, positive, negative, target = _read(logits, targets, at, at < n)
        x = score.to(tl.float64)
        left = negative & (x >= tl.load(breakpoints))
        needed = left if HEAVISIDE else left | positive
        cell = _cell(x, needed, breakpoints, number, first, tl.load(counters + SPAN), bins)
        place = tl.zeros((BLOCK,), tl.int64)
        if not HEAVISIDE:
            slope = 2 * _float64(delta_bits)
            above = x - tl.load(breakpoints + cell - 1, mask=needed & (cell > 0), other=0.0)
            place = (tl.minimum(above, slope) * (unit / slope) + 0.5).to(tl.int64)
            place = tl.where(needed & (cell > 0) & (cell < number), place, 0)
        copies = _copies(number + 1, room)
        if not HEAVISIDE:
            own = copies * (number + 1)
            _add(counts + own, totals + own, cell, place, positive, HEAVISIDE)
        copy = (tl.program_id(0) % copies) * (number + 1)
        together = tl.full((), BLOCK, tl.int32)
        while together >= BLOCK // 32:
            # The cell of the first that is left.
            candidate = tl.min(tl.where(left, (at.to(tl.int64) << 32) | cell.to(tl.int64), 0x7FFFFFFFFFFFFFFF))
            same = left & (cell == (candidate & 0x7FFFFFFF).to(tl.int32))
            together = tl.sum(same.to(tl.int32))
            common = copy + (candidate & 0x7FFFFFFF).to(tl.int32)
            tl.atomic_add(counts + common, together, mask=together > 0, sem="relaxed")
            if not HEAVISIDE:
                total = tl.sum(tl.where(same, place, 0))
                tl.atomic_add(totals + common, total, mask=total > 0, sem="relaxed")
            left = left & ~same
        _add(counts + copy, totals + copy, cell, place, left, HEAVISIDE)
