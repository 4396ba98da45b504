"""Pointers to logits in; what their rows amount to out: one program per row, which reads it once. The same results as `online`.

Each program keeps its sums apart by lane until the end, about the maximum so far, so no sum grows long; it asks for the
next columns before it computes with the ones that it has.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
EXCLUDED = tl.constexpr(-1e30)  # as in `online`
LOWEST = tl.constexpr(-math.inf)
NAN = tl.constexpr(math.nan)


@triton.jit
def _centre(peak):
    return tl.where(peak == LOWEST, 0.0, peak)


@triton.jit
def _columns(begin, column, width):
    return tl.load(begin + column, mask=column < width, other=LOWEST)


@triton.jit
def _offset(rows, inner, stride_outer, stride_inner, PICKED: tl.constexpr, ALIGNED: tl.constexpr):
    """Where the row of this program begins: rows are numbered over both leading dimensions."""
    row = tl.program_id(0).to(tl.int64)
    if PICKED:
        row = tl.load(rows + row).to(tl.int64)
    offset = (row // inner) * stride_outer + (row % inner) * stride_inner
    if ALIGNED:
        offset = tl.multiple_of(offset, 16)
    return offset


@triton.jit(do_not_specialize=["inner", "stride_outer", "count"])
def scan(
    logits,
    rows,
    actions,
    found,
    width,
    inner,
    stride_outer,
    stride_inner,
    count,
    PICKED: tl.constexpr,
    SQUARES: tl.constexpr,
    SIZES: tl.constexpr,
    CHOSEN: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    begin = logits + _offset(rows, inner, stride_outer, stride_inner, PICKED, ALIGNED)
    lane = tl.arange(0, BLOCK)
    peak = LOWEST
    total = tl.zeros([BLOCK], tl.float32)
    first = tl.zeros([BLOCK], tl.float32)
    second = tl.zeros([BLOCK], tl.float32)
    square = tl.zeros([BLOCK], tl.float32)
    square_first = tl.zeros([BLOCK], tl.float32)
    highest = tl.full([BLOCK], LOWEST, tl.float32)
    next_highest = tl.full([BLOCK], LOWEST, tl.float32)
    largest = tl.zeros([BLOCK], tl.float32)
    plain = tl.zeros([BLOCK], tl.float32)
    possible = tl.zeros([BLOCK], tl.float32)
    ahead = _columns(begin, lane, width)
    for left in range(0, width, BLOCK):
        x = ahead.to(tl.float32)
        ahead = _columns(begin, left + BLOCK + lane, width)
        top = tl.max(x, 0)
        if top > peak:
            empty = peak == LOWEST
            shift = tl.where(empty, 0.0, peak - top)
            scale = tl.where(empty, 0.0, tl.exp2(shift * LOG2E))
            second = scale * (second + 2.0 * shift * first + shift * shift * total)
            first = scale * (first + shift * total)
            total = scale * total
            if SQUARES:
                square_first = scale * scale * (square_first + shift * square)
                square = scale * scale * square
            peak = top
        y = x - _centre(peak)
        w = tl.exp2(y * LOG2E)
        y = tl.where(w > 0.0, y, 0.0)
        total += w
        first += w * y
        second += w * y * y
        if SQUARES:
            square += w * w
            square_first += w * w * y
        if SIZES:
            next_highest = tl.maximum(next_highest, tl.minimum(highest, x))
            highest = tl.maximum(highest, x)
            is_possible = x > EXCLUDED
            z = tl.where(is_possible, x, 0.0)
            largest = tl.maximum(largest, tl.abs(z))
            plain += z
            possible += is_possible.to(tl.float32)

    row = tl.program_id(0)
    sum_w = tl.sum(total, 0)
    mean = tl.sum(first, 0) / sum_w
    log_sum = tl.log(sum_w)
    nan = tl.where(mean == mean, 0.0, NAN)  # added to all: a row is bad as a whole
    entropy = log_sum - mean
    varentropy = tl.maximum(tl.sum(second, 0) / sum_w - mean * mean, 0.0)
    lse = _centre(peak) + log_sum
    tl.store(found + row, entropy + nan)
    tl.store(found + count + row, varentropy + nan)
    tl.store(found + 2 * count + row, 1.0 / sum_w + nan)
    tl.store(found + 3 * count + row, lse + nan)
    at = 4
    if SQUARES:
        share = tl.sum(square, 0) / (sum_w * sum_w)
        tl.store(found + at * count + row, share + nan)
        square_log = tl.sum(square_first, 0) / (sum_w * sum_w) - share * log_sum
        tl.store(found + (at + 1) * count + row, square_log + nan)
        at += 2
    if SIZES:
        where = tl.argmax(highest, 0)
        others = tl.maximum(tl.max(next_highest, 0), tl.max(tl.where(lane == where, LOWEST, highest), 0))
        others = tl.where(others <= 0.5 * EXCLUDED, LOWEST, others)
        tl.store(found + at * count + row, peak + nan)
        tl.store(found + (at + 1) * count + row, tl.max(largest, 0) + nan)
        tl.store(found + (at + 2) * count + row, tl.sum(plain, 0) / tl.sum(possible, 0) + nan)
        tl.store(found + (at + 3) * count + row, peak - others + nan)
        at += 4
    if CHOSEN:
        action = tl.load(actions + row)
        inside = (action >= 0) & (action < width)
        logit = tl.load(begin + tl.where(inside, action, 0)).to(tl.float32)
        tl.store(found + at * count + row, tl.where(inside, logit - lse, NAN) + nan)


@triton.jit(do_not_specialize=["p_inner", "p_outer", "q_inner", "q_outer", "count"])
def compare(
    p,
    q,
    rows,
    found,
    width,
    p_inner,
    p_outer,
    p_stride,
    q_inner,
    q_outer,
    q_stride,
    count,
    PICKED: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    begin_p = p + _offset(rows, p_inner, p_outer, p_stride, PICKED, ALIGNED)
    begin_q = q + _offset(rows, q_inner, q_outer, q_stride, PICKED, ALIGNED)
    lane = tl.arange(0, BLOCK)
    peak_p = LOWEST
    peak_q = LOWEST
    total_p = tl.zeros([BLOCK], tl.float32)
    first_p = tl.zeros([BLOCK], tl.float32)
    total_q = tl.zeros([BLOCK], tl.float32)
    first_q = tl.zeros([BLOCK], tl.float32)
    apart = tl.zeros([BLOCK], tl.float32)
    lost = tl.zeros([BLOCK], tl.float32)
    ahead_p = _columns(begin_p, lane, width)
    ahead_q = _columns(begin_q, lane, width)
    for left in range(0, width, BLOCK):
        y = ahead_p.to(tl.float32)
        z = ahead_q.to(tl.float32)
        ahead_p = _columns(begin_p, left + BLOCK + lane, width)
        ahead_q = _columns(begin_q, left + BLOCK + lane, width)
        top_p = tl.max(y, 0)
        top_q = tl.max(z, 0)
        if (top_p > peak_p) | (top_q > peak_q):
            top_p = tl.maximum(peak_p, top_p)
            top_q = tl.maximum(peak_q, top_q)
            shift_p = _centre(peak_p) - _centre(top_p)
            shift_q = _centre(peak_q) - _centre(top_q)
            scale_p = tl.where(peak_p == LOWEST, 0.0, tl.exp2(shift_p * LOG2E))
            scale_q = tl.where(peak_q == LOWEST, 0.0, tl.exp2(shift_q * LOG2E))
            apart = scale_p * (apart + (shift_p - shift_q) * total_p)
            lost = scale_p * lost
            first_p = scale_p * (first_p + shift_p * total_p)
            total_p = scale_p * total_p
            first_q = scale_q * (first_q + shift_q * total_q)
            total_q = scale_q * total_q
            peak_p = top_p
            peak_q = top_q
        y -= _centre(peak_p)
        z -= _centre(peak_q)
        w = tl.exp2(y * LOG2E)
        v = tl.exp2(z * LOG2E)
        kept = z > EXCLUDED
        apart += tl.where(kept & (w > 0.0), w * (y - z), 0.0)
        lost += tl.where(kept, 0.0, w)
        total_p += w
        total_q += v
        first_p += tl.where(w > 0.0, w * y, 0.0)
        first_q += tl.where(v > 0.0, v * z, 0.0)

    row = tl.program_id(0)
    sum_p = tl.sum(total_p, 0)
    sum_q = tl.sum(total_q, 0)
    log_p = tl.log(sum_p)
    log_q = tl.log(sum_q)
    entropy_p = log_p - tl.sum(first_p, 0) / sum_p
    entropy_q = log_q - tl.sum(first_q, 0) / sum_q
    nan = tl.where(entropy_p + entropy_q == entropy_p + entropy_q, 0.0, NAN)
    divergence = tl.maximum(tl.sum(apart, 0) / sum_p - log_p + log_q, 0.0)
    divergence = tl.where(tl.sum(lost, 0) > 0.0, -LOWEST, divergence)
    tl.store(found + row, divergence + nan)
    tl.store(found + count + row, entropy_p + nan)
    tl.store(found + 2 * count + row, entropy_q + nan)


@triton.jit(do_not_specialize=["inner", "stride_outer", "count", "mass"])
def nucleus(
    logits,
    rows,
    found,
    width,
    inner,
    stride_outer,
    stride_inner,
    count,
    mass,
    STEPS: tl.constexpr,
    ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    begin = logits + _offset(rows, inner, stride_outer, stride_inner, True, ALIGNED)
    lane = tl.arange(0, BLOCK)
    highest = tl.full([BLOCK], LOWEST, tl.float32)
    for left in range(0, width, BLOCK):
        highest = tl.maximum(highest, _columns(begin, left + lane, width).to(tl.float32))
    peak = _centre(tl.max(highest, 0))
    total = tl.zeros([BLOCK], tl.float32)
    for left in range(0, width, BLOCK):
        total += tl.exp2((_columns(begin, left + lane, width).to(tl.float32) - peak) * LOG2E)
    sum_w = tl.sum(total, 0)
    least = tl.log((1.0 - mass) * sum_w / width)
    step = -least
    for _ in range(STEPS):
        step *= 0.5
        inside = tl.zeros([BLOCK], tl.float32)
        for left in range(0, width, BLOCK):
            y = _columns(begin, left + lane, width).to(tl.float32) - peak
            inside += tl.where(y >= least + step, tl.exp2(y * LOG2E), 0.0)
        least += tl.where(tl.sum(inside, 0) >= mass * sum_w, step, 0.0)
    inside = tl.zeros([BLOCK], tl.float32)
    first = tl.zeros([BLOCK], tl.float32)
    size = tl.zeros([BLOCK], tl.float32)
    for left in range(0, width, BLOCK):
        y = _columns(begin, left + lane, width).to(tl.float32) - peak
        w = tl.exp2(y * LOG2E)
        kept = y >= least
        inside += tl.where(kept, w, 0.0)
        first += tl.where(kept, w * y, 0.0)
        size += kept.to(tl.float32)
    kept_w = tl.sum(inside, 0)
    entropy = tl.log(kept_w) - tl.sum(first, 0) / kept_w
    nan = tl.where(entropy == entropy, 0.0, NAN)
    row = tl.program_id(0)
    tl.store(found + row, tl.maximum(entropy, 0.0) + nan)
    tl.store(found + count + row, tl.sum(size, 0) + nan)
