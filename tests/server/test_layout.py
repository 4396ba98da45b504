"""Whatever numbers and vectors stand beside each other in a frame: each is read, and counted, as if it stood alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_server.store.gather import gather
from foreshock_server.store.layout import column_count, column_owners, slots
from foreshock_server.store.rows import RowGroup, encode_rows
from foreshock_server.store.tally import Placed, count

WIDTHS = st.lists(st.one_of(st.none(), st.integers(1, 4)), min_size=1, max_size=6)
VALUES = st.sampled_from([0.0, 1.0, -2.5, 3.0, math.nan, math.inf])


@st.composite
def frames(draw):
    """A frame and some row groups of it, in the order of their steps."""
    widths = draw(WIDTHS)
    frame = SimpleNamespace(series_ids=[7 + 3 * place for place in range(len(widths))], widths=widths)
    if not any(widths):
        frame.widths = draw(st.sampled_from([None, widths]))
    columns = column_count(frame)
    groups, step = [], 0
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(1, 4))
        cells = rows * columns
        values = np.array(draw(st.lists(VALUES, min_size=cells, max_size=cells)), np.float32)
        gone = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells)))
        steps = np.arange(step, step + rows)
        step += rows
        absent = gone.reshape(rows, columns) if gone.any() else None
        groups.append(RowGroup(1, steps, steps * 0.5, values.reshape(rows, columns), absent))
    return frame, groups


def naive(groups, first, width):
    """(step, entries) of each reading of the series in these columns; an absent entry beside others is NaN."""
    found = []
    for group in groups:
        for row, step in enumerate(group.steps.tolist()):
            there = [
                group.absent is None or not group.absent[row, first + entry] for entry in range(width or 1)
            ]
            if any(there):
                entries = [
                    float(group.values[row, first + entry]) if here else math.nan
                    for entry, here in enumerate(there)
                ]
                found.append((step, entries, there))
    return found


@given(frames())
@settings(max_examples=300, deadline=None)
def test_each_series_is_read_as_if_it_stood_alone(drawn):
    frame, groups = drawn
    own = slots(frame)
    data = encode_rows(groups)
    found = gather([(1, data)], {1: own})
    some = gather([(1, data)], {1: own[1::2]} if own[1:] else {})
    first = 0
    for place, width in enumerate(frame.widths or [None] * len(frame.series_ids)):
        series_id = frame.series_ids[place]
        expected = naive(groups, first, width)
        first += width or 1
        for read in (found, some) if place % 2 else (found,):
            one = read[series_id]
            assert one.steps.tolist() == [step for step, *_ in expected]
            assert one.values.ndim == (1 if width is None else 2)
            matrix = one.values.reshape(len(expected), width or 1).astype(float)
            np.testing.assert_array_equal(
                matrix, np.array([entries for _, entries, _ in expected]).reshape(-1, width or 1)
            )


@given(frames())
@settings(max_examples=300, deadline=None)
def test_each_series_is_counted_as_if_it_stood_alone(drawn):
    frame, groups = drawn
    owners = column_owners(frame)
    counts = count(Placed(1, group, owners) for group in groups)
    known = counts.series_id.tolist()
    first = 0
    for place, width in enumerate(frame.widths or [None] * len(frame.series_ids)):
        expected = naive(groups, first, width)
        first += width or 1
        if not expected:
            assert frame.series_ids[place] not in known
            continue
        i = known.index(frame.series_ids[place])
        present = [
            value
            for _, entries, there in expected
            for value, here in zip(entries, there, strict=True)
            if here
        ]
        step, entries, there = expected[-1]
        last = [value for value, here in zip(entries, there, strict=True) if here]
        assert counts.points[i] == len(present)
        assert counts.nonfinite[i] == sum(not math.isfinite(value) for value in present)
        assert (counts.first_step[i], counts.last_step[i]) == (expected[0][0], step)
        np.testing.assert_allclose(counts.value[i], sum(last) / len(last))
