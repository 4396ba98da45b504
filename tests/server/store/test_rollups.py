"""Buckets against what loops in float64 say, in whatever order they are put together, and through bytes and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_server.store import rollups
from foreshock_server.store.rollups import Buckets, coarser, single, stacked, together

Naive = dict[int, tuple[int, int, float, float, int, float, int]]


def naive(steps: Sequence[int], values: Sequence[float], level: int) -> Naive:
    """Bucket -> count, not finite, mean, low, its step, high, its step; by definition."""
    size = 64 * 8 ** (level - 1)
    held: dict[int, list[tuple[int, float]]] = {}
    for step, value in zip(steps, values, strict=True):
        held.setdefault(math.floor(step / size) if abs(step) < 2**50 else step // size, []).append(
            (step, value)
        )
    found: Naive = {}
    for bucket, readings in held.items():
        finite = [(step, value) for step, value in readings if math.isfinite(value)]
        odd = len(readings) - len(finite)
        if not finite:
            found[bucket] = (0, odd, math.nan, math.inf, 0, -math.inf, 0)
            continue
        low, high = min(v for _, v in finite), max(v for _, v in finite)
        mean = math.fsum(v / len(finite) for _, v in finite)
        at = [min(step for step, v in finite if v == extreme) for extreme in (low, high)]
        found[bucket] = (len(finite), odd, mean, low, at[0], high, at[1])
    return found


def of_series(some: Buckets, k: int) -> Buckets:
    """Those of one series that hold a reading."""
    there = (some.count[k] > 0) | (some.nonfinite[k] > 0)
    return Buckets(some.ids[there], *(column[k : k + 1, there] for column in some.columns))


def listed(some: Buckets, k: int) -> Naive:
    one = of_series(some, k)
    found: Naive = {}
    for i, bucket in enumerate(one.ids.tolist()):
        count, odd, mean, low, low_at, high, high_at = (column[0, i].item() for column in one.columns)
        if not count:
            mean, low_at, high_at = math.nan, 0, 0
        found[bucket] = (count, odd, mean, low, low_at, high, high_at)
    return found


def same(got: Naive, want: Naive) -> None:
    assert got.keys() == want.keys()
    for bucket, (*counts, mean, low, low_at, high, high_at) in want.items():
        assert got[bucket][:2] == tuple(counts)
        assert got[bucket][3:] == (low, low_at, high, high_at)
        scale = max(abs(low), abs(high)) if counts[0] else 1.0
        assert math.isnan(mean) or got[bucket][2] == pytest.approx(mean, rel=1e-9, abs=1e-12 * scale)


numbers = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 1e30, 5e-324]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e15, 1e15 + 100),  # noise on a huge offset
)
steps_ = st.one_of(st.integers(-200, 5000), st.integers(-(2**62), 2**62))
readings = st.lists(st.tuples(steps_, numbers, numbers, st.booleans()), min_size=1, max_size=60)


def buckets_of(rows: Sequence[tuple[int, float, float, bool]], level: int) -> Buckets:
    steps = np.array([row[0] for row in rows], np.int64)
    values = np.array([[row[1] for row in rows], [row[2] for row in rows]])
    there = np.array([[True] * len(rows), [row[3] for row in rows]])
    below, some = 0, single(steps, values, there)
    for coarse in range(1, level + 1):
        some, below = coarser(some, coarse, below), coarse
    return some


@settings(max_examples=150, deadline=None)
@given(readings, st.sampled_from(rollups.LEVELS), st.integers(0, 60))
def test_buckets_are_what_their_definition_says_in_one_go_or_put_together(rows, level, border):
    want = [
        naive([row[0] for row in rows], [row[1] for row in rows], level),
        naive([row[0] for row in rows if row[3]], [row[2] for row in rows if row[3]], level),
    ]
    at_once = buckets_of(rows, level)
    parts = [part for part in (rows[:border], rows[border:]) if part]
    added = together([buckets_of(part, level) for part in parts])
    backwards = together([buckets_of(part, level) for part in parts[::-1]])
    for some in (at_once, added, backwards):
        for k in (0, 1):
            same(listed(some, k), want[k])


def in_single_precision(
    rows: Sequence[tuple[int, float, float, bool]],
) -> list[tuple[int, float, float, bool]]:
    with np.errstate(over="ignore", under="ignore"):
        return [(step, float(np.float32(a)), float(np.float32(b)), there) for step, a, b, there in rows]


@settings(max_examples=150, deadline=None)
@given(readings, st.sampled_from(rollups.LEVELS), st.sampled_from([[8, 8], [8, 4], [4, 4]]))
def test_buckets_rest_as_bytes_and_come_back(rows, level, itemsizes):
    rows = in_single_precision(rows) if 4 in itemsizes else rows
    some = buckets_of(rows, level)
    chunks = rollups.chunk_of(some.ids)
    for chunk in np.unique(chunks).tolist():
        own = some.of(chunks == chunk)
        encoded = rollups.encode(own, level, itemsizes)
        back = []
        for k in (0, 1):
            one = of_series(own, k)
            data = encoded[k]
            assert bool(data) == bool(len(one.ids))
            if not data:
                back.append(None)
                continue
            assert rollups.itemsize_of(data) == itemsizes[k]
            back.append(rollups.decode(data, chunk))
            same(listed(back[k], 0), listed(own, k))
            means = rollups.decode_means(data, chunk)
            assert means.ids.tolist() == one.ids.tolist()
            there = one.count[0] > 0
            assert means.count.tolist() == one.count[0].tolist()
            np.testing.assert_allclose(means.mean[there], one.mean[0][there], rtol=1e-12)
        if any(one is not None for one in back):
            again = stacked(back)
            for k in (0, 1):
                same(listed(again, k), listed(own, k))


def test_float32_extremes_are_exact_and_cost_less():
    values = np.random.default_rng(0).standard_normal((1, 64 * 256)).astype(np.float32)
    some = coarser(single(np.arange(values.shape[1]), values, None), 1)
    (small,), (wide,) = rollups.encode(some, 1, [4]), rollups.encode(some, 1, [8])
    same(listed(rollups.decode(small, 0), 0), listed(some, 0))
    assert len(small) < len(wide) < 1.1 * len(small) * (8 + 16 + 2) / (8 + 8 + 2)
    assert len(small) < 0.3 * values.shape[1]  # bytes per reading


@pytest.mark.parametrize(
    ("span", "buckets", "level"), [(10, 5, 1), (64 * 100, 100, 1), (10**6, 1000, 2), (10**8, 2000, 4)]
)
def test_the_coarsest_level_that_is_fine_enough_is_taken(span, buckets, level):
    assert rollups.level_for(span, buckets) == level


def test_bytes_of_another_release_are_refused():
    with pytest.raises(ValueError, match="version 9"):
        rollups.decode(b"\x09" + bytes(40), 0)
