"""A line of few points shows what the line of all points shows: its extremes, its ends, and nothing that was not read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_server.models import Series
from foreshock_server.query import columns
from foreshock_server.query.downsample import steady, thin
from foreshock_server.store.columns import Columns
from foreshock_server.store.overview import Overview


def readings(values, attempts=None) -> Columns:
    values = np.asarray(values, np.float64)
    attempts = np.ones(len(values), np.int32) if attempts is None else np.asarray(attempts, np.int32)
    steps = np.concatenate([np.arange(np.sum(attempts == one)) for one in [*np.unique(attempts), 0]])
    return Columns(steps.astype(np.int64), steps + 0.5, values, attempts)


def kept(data: Columns, points: int):
    return thin(data.steps, data.values, data.attempts, points)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(40))
def test_a_spike_of_one_sample_in_a_hundred_thousand_survives(noise, seed):
    rng = np.random.default_rng(seed)
    values = noise * rng.normal(size=100_000)
    at, down = (int(one) for one in rng.choice(100_000, 2, replace=False))
    values[at] = values.max() + 1.0
    values[down] = values.min() - 1.0
    chosen = kept(readings(values), 2000)
    assert at in chosen
    assert down in chosen
    assert len(chosen) <= 2000


def test_every_stretch_keeps_both_of_its_extremes():
    values = np.random.default_rng(0).normal(size=100_000)
    chosen = set(kept(readings(values), 2000).tolist())
    for begin in range(1, 99_000, 700):  # longer than two of the stretches of 100,000 / 500
        stretch = values[begin : begin + 700]
        inner = stretch[200:-200]
        if inner.max() == stretch.max():
            assert begin + int(stretch.argmax()) in chosen
        if inner.min() == stretch.min():
            assert begin + int(stretch.argmin()) in chosen


def test_the_ends_stay():
    chosen = kept(readings(np.random.default_rng(1).normal(size=5000)), 100)
    assert (chosen[0], chosen[-1]) == (0, 4999)


def whole(data: Columns) -> Overview:
    return Overview(data, len(data), int((~np.isfinite(data.values)).sum()))


def test_each_attempt_keeps_its_share_and_its_ends():
    attempts = np.repeat([1, 2], [9000, 1000])
    data = readings(np.random.default_rng(2).normal(size=10_000), attempts)
    chosen = kept(data, 1000)
    assert {8999, 9000} <= set(chosen.tolist())
    assert 50 <= np.sum(data.attempts[chosen] == 2) <= 150


def test_what_is_not_finite_is_listed_beside_the_line_and_never_dropped():
    values = np.random.default_rng(3).normal(size=100_000)
    values[[7, 50_000]] = np.nan
    values[80_000] = -np.inf
    drawn = columns.draw(Series(key="a", unit=""), whole(readings(values)), 2000)
    assert drawn.odd.tolist() == [7, 50_000, 80_000]
    body = columns.as_json("r", 1, [drawn])["series"][0]
    at = dict(zip(body["steps"], body["values"], strict=True))
    assert (at[7], at[50_000], at[80_000]) == ("NaN", "NaN", "-Infinity")
    assert (body["downsampled"], body["points_total"]) == (True, 100_000)


def test_of_very_many_odd_readings_the_first_are_listed_and_all_are_counted():
    drawn = columns.draw(Series(key="a", unit=""), whole(readings(np.full(30_000, np.nan))), 2000)
    assert (len(drawn.odd), drawn.odd_total) == (columns.MOST_ODD, 30_000)
    assert len(drawn.columns) == columns.MOST_ODD


def test_few_points_are_left_as_they_are():
    drawn = columns.draw(Series(key="a", unit=""), whole(readings([1.0, np.nan, 3.0])), 2000)
    assert not drawn.downsampled
    assert columns.as_json("r", 1, [drawn])["series"][0]["values"] == [1.0, "NaN", 3.0]


numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=300)


@settings(max_examples=300, deadline=None)
@given(numbers, st.integers(1, 3), st.integers(1, 60))
def test_indices_are_ascending_finite_and_bounded(values, attempts, points):
    data = readings(values, np.sort(np.arange(len(values)) % attempts))
    chosen = kept(data, points)
    assert np.all(np.diff(chosen) > 0)
    assert np.isfinite(data.values[chosen]).all()
    finite = int(np.isfinite(data.values).sum())
    assert (
        len(chosen) == finite if finite <= points else len(chosen) <= max(points, 8 * attempts) + 4 * attempts
    )
    if finite:
        whole = data.values[np.isfinite(data.values)]
        assert data.values[chosen].max() == whole.max()
        assert data.values[chosen].min() == whole.min()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.sampled_from([1, 2, 4, 16, 64]))
def test_steady_points_hold_the_extremes_of_every_stretch_and_both_ends(values, stretch):
    values = np.array(values)
    kept = steady(values, stretch)
    assert {0, len(values) - 1} <= set(kept.tolist())
    for begin in range(0, len(values), stretch):
        own = values[kept[(kept >= begin) & (kept < begin + stretch)]]
        part = values[begin : begin + stretch]
        assert (own.min(), own.max()) == (part.min(), part.max())
    assert len(kept) <= 2 * -(-len(values) // stretch) + 2


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=400), st.integers(1, 60))
def test_steady_points_stay_when_more_readings_come(values, more):
    values = np.array(values)
    stretch = 16
    before, after = steady(values[: max(1, len(values) - more)], stretch), steady(values, stretch)
    settled = max(1, len(values) - more) // stretch * stretch
    ended = before[before < settled]
    kept = after[after < settled]
    assert set(kept) <= set(ended)
    assert len(set(ended) - set(kept)) <= 1  # the last reading, when it was the last
