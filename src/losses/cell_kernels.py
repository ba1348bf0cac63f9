"""AP-loss and AUC-loss on a GPU in six Triton kernels, none of which waits for the host: up to what each cell holds.

The numbers of positives and of breakpoints are read on the device. Atomic operations add only integers, and floats are
added in a fixed order, so that the same scores give the same bits. Names and formulas are those
of pair_sums.py and score_lookup.py; rank_kernels.py has the other kernels, and launch.py the host's side.

Scores are float32. A breakpoint b = s_i - δ or s_i + δ is the sum of two float32: `upper`, the lowest that is not below
b, and `rest` <= 0. So x >= b exactly if x >= upper, and (x - upper) - rest is x - b with a relative error of 2^-24.
"""

import triton
import triton.language as tl

# Places in the int32 facts, which begin as zeros.
POSITIVES = tl.constexpr(0)
NEGATIVES = tl.constexpr(1)
REFUSED = tl.constexpr(2)  # not 0 where a positive or a target makes the loss NaN
SPAN = tl.constexpr(3)  # the most breakpoints in one bin of the grid
COPIES = tl.constexpr(4)  # of the negatives' table of cells
BITS = tl.constexpr(5)  # of a place in a cell
SHIFT = tl.constexpr(6)  # of the number of scores beside the sum of their places
DENSITY = tl.constexpr(7)  # bins of the grid in a unit of the score, as the bits of a float32
# Not 0 if a negative makes the loss NaN. Separate from REFUSED, which programs of `count` read while others write this.
INFINITE = tl.constexpr(8)
DONE = tl.constexpr(9)  # programs of `solve` that have added up their share of the cells

MOST_COPIES = tl.constexpr(64)
MOST_BITS = tl.constexpr(30)  # of a place, which is an int32
PART = tl.constexpr(256)  # of a block, whose positives are collected at once
RANK_CHUNK = tl.constexpr(512)  # positives with which others are compared at once
REST = tl.constexpr(65536.0)  # into which a step of a place is divided where it is to be finer


@triton.jit
def _float64(bits):
    """Return the float64 of these bits: a kernel's float argument would be rounded to float32."""
    return bits.to(tl.float64, bitcast=True)


@triton.jit
def _number_of_breakpoints(facts, HEAVISIDE: tl.constexpr):
    """Return M and P; both are 0 if the loss is NaN, so that nothing is done."""
    positives = tl.load(facts + POSITIVES)
    positives = tl.where(tl.load(facts + REFUSED) == 0, positives, 0)
    return positives if HEAVISIDE else 2 * positives, positives


@triton.jit
def _read(logits, targets, at, inside):
    """Return scores as float32, and which are positives and which negatives."""
    score = tl.load(logits + at, mask=inside, other=0.0).to(tl.float32)
    target = tl.load(targets + at, mask=inside, other=0)
    return score, inside & (target == 1), inside & (target == 0)


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


@triton.jit(do_not_specialize=["capacity", "limit_bits"])
def collect(
    logits,
    targets,
    keys,
    facts,
    n,
    capacity,
    limit_bits,
    AUC: tl.constexpr,
    UNSIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Append the positives' keys in any order, count the positives, and refuse wrong targets and positives.

    Only the positives' logits are read. Negatives are counted for AUC-loss, which alone asks for their number.
    """
    inner = tl.arange(0, BLOCK)
    begin = tl.program_id(0) * BLOCK
    inside = begin + inner < n
    target = tl.load(targets + begin + inner, mask=inside, other=0)
    positive = inside & (target == 1)
    refused = inside & (target != 0) & (target != 1)
    if not UNSIGNED:
        refused = refused & (target != -1)
    # Two sums in one: each is at most a block.
    both = tl.sum(positive.to(tl.int32) + (refused.to(tl.int32) << 16))
    tl.atomic_max(facts + REFUSED, 1, mask=(both >> 16) > 0, sem="relaxed")
    if AUC:
        negatives = tl.sum((inside & (target == 0)).to(tl.int32))
        tl.atomic_add(facts + NEGATIVES, negatives, mask=negatives > 0, sem="relaxed")
    left = both & 0xFFFF
    done = 0
    while left > 0:  # the parts of the block that have positives, which are few
        done = tl.min(tl.where(positive & (inner >= done), inner, BLOCK)) // PART * PART
        at = begin + done + tl.arange(0, PART)
        own = (at < n) & (tl.load(targets + at, mask=at < n, other=0) == 1)
        score = tl.load(logits + at, mask=own, other=0.0).to(tl.float32)
        number = tl.sum(own.to(tl.int32))
        is_wrong = own & ~(tl.abs(score).to(tl.float64) <= _float64(limit_bits))
        start = tl.atomic_add(facts + POSITIVES, number, sem="relaxed")
        wrong = tl.sum(is_wrong.to(tl.int32)) + tl.maximum(start + number - capacity, 0)
        tl.atomic_max(facts + REFUSED, 1, mask=wrong > 0, sem="relaxed")
        place = start + tl.cumsum(own.to(tl.int32)) - 1
        tl.store(keys + place, _key(score, at), mask=own & (place < capacity))
        left -= number
        done += PART


@triton.jit
def _store_breakpoint(uppers, rests, at, breakpoint, mask):
    """Write a float64 as the sum of two float32."""
    nearest = breakpoint.to(tl.float32)
    bits = nearest.to(tl.int32, bitcast=True)
    bits = tl.where(nearest.to(tl.float64) < breakpoint, bits + tl.where(bits < 0, -1, 1), bits)
    upper = bits.to(tl.float32, bitcast=True)
    tl.store(uppers + at, upper, mask=mask)
    tl.store(rests + at, (breakpoint - upper.to(tl.float64)).to(tl.float32), mask=mask)


@triton.jit(do_not_specialize=["delta_bits"])
def rank(
    keys,
    facts,
    indices,
    uppers,
    rests,
    owners,
    delta_bits,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Put positives and breakpoints in ascending order, by counting for each how many are below it.

    Writes the positives' indices [P], the breakpoints [M] with +inf after them, and the breakpoints' owners [M]: r for
    the lower breakpoint of the positive of rank r, -1 - r for its upper one.
    """
    delta = _float64(delta_bits)
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    tl.store(uppers + number, float("inf"), mask=tl.program_id(0) == 0)
    for block in range(tl.program_id(0), tl.cdiv(positives, BLOCK), tl.num_programs(0)):
        i = block * BLOCK + tl.arange(0, BLOCK)
        inside = i < positives
        key = tl.load(keys + i, mask=inside, other=0)
        score = _score(key).to(tl.float64)
        below = tl.zeros((BLOCK, RANK_CHUNK), tl.int32)
        lower_below = tl.zeros((BLOCK, RANK_CHUNK), tl.int32)
        upper_below = tl.zeros((BLOCK, RANK_CHUNK), tl.int32)
        for start in range(0, positives, RANK_CHUNK):
            k = start + tl.arange(0, RANK_CHUNK)
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
            _store_breakpoint(uppers, rests, order, score, inside)
            tl.store(owners + order, order, mask=inside)
        else:
            lower = order + tl.sum(upper_below, 1)
            upper = order + tl.sum(lower_below, 1)
            _store_breakpoint(uppers, rests, lower, score - delta, inside)
            _store_breakpoint(uppers, rests, upper, score + delta, inside)
            tl.store(owners + lower, order, mask=inside)
            tl.store(owners + upper, -1 - order, mask=inside)


@triton.jit
def _bin(x, low, density, bins):
    """Return the number of a score's bin, which is monotone in the score."""
    return tl.minimum((x - low) * density, bins - 1.0).to(tl.int32)


@triton.jit
def _first_in_bin(uppers, number, at, low, density, bins):
    """Return how many breakpoints are in the bins below each of these bins."""
    begin = tl.zeros_like(at)
    end = begin + number
    left = number
    while left > 0:
        middle = (begin + end) >> 1
        active = begin < end
        is_below = _bin(tl.load(uppers + middle, mask=active, other=0.0), low, density, bins) < at
        begin = tl.where(active & is_below, middle + 1, begin)
        end = tl.where(active & ~is_below, middle, end)
        left = left >> 1
    return begin


@triton.jit
def _copies_and_bits(cells, positives, room, programs, size):
    """Return how many copies of the negatives' table fit, the bits of a place in a cell, and those of a sum of places.

    In one cell of one copy may be all scores that its programs, of so many logits each, treat, or all positives. Their
    number and the sum of their places share an int64.
    """
    copies = 1
    while (copies < MOST_COPIES) & ((2 * copies + 1) * cells <= room) & (16 * copies < programs):
        copies = copies * 2
    most = tl.maximum(tl.cdiv(programs, copies) * size, positives)
    needed = 1
    while (1 << needed) <= most:
        needed += 1
    bits = tl.minimum(63 - 2 * needed, MOST_BITS)
    return copies, bits, bits + needed


@triton.jit
def _distance(uppers, rests, p, q, mask):
    """Return how far breakpoint q is above breakpoint p, float64."""
    distance = tl.load(uppers + q, mask=mask, other=0.0).to(tl.float64)
    distance -= tl.load(uppers + p, mask=mask, other=0.0).to(tl.float64)
    distance += tl.load(rests + q, mask=mask, other=0.0).to(tl.float64)
    return distance - tl.load(rests + p, mask=mask, other=0.0).to(tl.float64)


@triton.jit
def _pair(low, high):
    """Return two float32 as the halves of an int64, so that one load gets both."""
    high = high.to(tl.int32, bitcast=True).to(tl.int64)
    return (high << 32) | (low.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF)


@triton.jit
def _halves(pair):
    """Return the two float32 of which an int64 consists."""
    return pair.to(tl.int32).to(tl.float32, bitcast=True), (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _ruler(uppers, rests, p, number, slope, bits):
    """Return how places are measured in the cells above breakpoints: a pair of scale and offset, both 0 in gaps.

    The scale is in steps of a unit of the score; the offset, in steps, is the place of `upper` itself. The scale is
    negative where places have to be finer: in wide cells, and in the lowest ones, where f can be so small that a step
    is not small beside it.
    """
    width = _distance(uppers, rests, p, p + 1, p + 1 < number)
    above_all = _distance(uppers, rests, tl.zeros_like(p), p, p + 1 < number)
    steps = (1 << bits).to(tl.float64)
    scale = tl.minimum(steps / tl.where(width > 0, width, 1.0), 1e30).to(tl.float32)
    # Half a step of a place that is not finer is 2^-29 of f's slope, and 2^-23 of f at the lowest positive.
    is_fine = (width * 268435456.0 > slope * steps) | (width * 4194304.0 > above_all * steps)
    scale = tl.where((width > 0) & (width <= 1.001 * slope), scale, 0.0)
    rest = tl.load(rests + p, mask=p < number, other=0.0)
    return _pair(tl.where(is_fine, -scale, scale), -rest * scale)


@triton.jit(do_not_specialize=["bins", "room", "programs", "size", "delta_bits"])
def lay_grid(
    uppers,
    rests,
    rulers,
    facts,
    first,
    table,
    finer,
    bins,
    room,
    programs,
    size,
    delta_bits,
    HEAVISIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Lay a uniform grid over the breakpoints, and prepare the tables of the cells.

    Writes how many breakpoints are below each bin, int32 [bins]; how places are measured in each cell; zeros into the
    tables; and facts.
    """
    number, positives = _number_of_breakpoints(facts, HEAVISIDE)
    if number > 0:
        low = tl.load(uppers)
        width = tl.load(uppers + number - 1) - low
        density = tl.minimum((bins - 1) / tl.where(width > 0, width, 1.0), 1e30)
        copies, bits, shift = _copies_and_bits(number + 1, positives, room, programs, size)
        if tl.program_id(0) == 0:
            tl.store(facts + COPIES, copies)
            tl.store(facts + BITS, bits)
            tl.store(facts + SHIFT, shift)
            tl.store(facts + DENSITY, density.to(tl.int32, bitcast=True))
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        # Both ends of each bin are searched for at the same time.
        end = tl.arange(0, 2)[None, :]
        ends = _first_in_bin(uppers, number, at[:, None] + end, low, density, bins)
        begin = tl.sum(tl.where(end == 0, ends, 0), 1)
        held = tl.sum(tl.where(end == 1, ends, 0), 1) - begin
        tl.store(first + at, begin, mask=at < bins)
        tl.atomic_max(facts + SPAN, tl.max(tl.where(at < bins, held, 0)), sem="relaxed")
        entries = (number + 1) * (copies + 1)
        for start in range(tl.program_id(0) * BLOCK, entries, tl.num_programs(0) * BLOCK):
            entry = start + tl.arange(0, BLOCK)
            tl.store(table + entry, tl.zeros((BLOCK,), tl.int64), mask=entry < entries)
            if not HEAVISIDE:
                tl.store(finer + entry, tl.zeros((BLOCK,), tl.int64), mask=entry < entries)
                ruler = _ruler(uppers, rests, entry, number, 2 * _float64(delta_bits), bits)
                tl.store(rulers + entry, ruler, mask=entry < number)
