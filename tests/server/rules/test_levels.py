"""Band and plateau, against their definitions and at their edges."""

from __future__ import annotations

import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.server.rules.marks import drawn, readings

from foreshock_server.rules.detectors import Band, Plateau

nan, inf = math.nan, math.inf


def band(**parameters):
    return Band(kind="band", **parameters)


def plateau(**parameters):
    return Plateau(kind="plateau", **{"improves": "down", "median": 1, **parameters})


# --- band


@pytest.mark.parametrize(
    ("parameters", "values", "marks"),
    [
        ({}, [1, 1.0, 2.0, 0.9, 2.1, 1.5], "...xx."),  # the levels themselves are no breach
        ({"critical_low": 0.5, "critical_high": 3}, [0.4, 0.5, 3.0, 3.1], "XxxX"),
        ({"clear_low": 1.2, "clear_high": 1.8}, [1.1, 1.2, 1.8, 1.9, 2.5], "-..-x"),
        ({"median": 3}, [9, 1.5, 1.5, 9, 9], "??..x"),
        ({}, [nan, inf, -inf, 1.5], "???."),
    ],
)
def test_a_band_marks_what_lies_outside(parameters, values, marks):
    assert drawn(readings(band(low=1.0, high=2.0, **parameters), values)) == marks


def test_a_band_tells_the_line_that_is_nearer():
    said = readings(band(low=1.0, high=2.0, critical_high=3.0, clear_low=1.1), [1.2, 1.9, 0.5, 4.0])
    assert [(one.threshold, one.warn_level, one.clear_level) for one in said] == [
        (1.0, None, 1.1),
        (3.0, 2.0, 2.0),
        (1.0, None, 1.1),
        (3.0, 2.0, 2.0),
    ]


def test_a_band_around_the_baseline():
    detector = band(low=0.5, high=2.0, relative_to_baseline=True, baseline_records=3)
    said = readings(detector, [4.0, 4.0, 4.0, 1.9, 8.1, 7.9])
    assert drawn(said) == "??.xx."
    assert (said[-1].baseline, said[-1].threshold) == (4.0, 8.0)
    assert drawn(readings(detector, [0.0, 0.0, 0.0, 5.0])) == "????"  # a baseline of zero tells nothing


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"low": 2, "high": 1}, "`low: 2` must lie below `high: 1`"),
        ({"critical_low": 1.5}, "`critical_low: 1.5` must not lie above"),
        ({"critical_high": 1.5}, "`critical_high: 1.5` must not lie below"),
        ({"clear_low": 0.5}, "must lie within the band"),
        ({"clear_low": 1.9, "clear_high": 1.1}, "must lie within the band"),
        ({"baseline": 1.0}, "only used with `relative_to_baseline: true`"),
        ({"high": nan}, "finite"),
    ],
)
def test_a_band_that_contradicts_itself_is_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        band(**{"low": 1.0, "high": 2.0, **parameters})


# --- plateau


@pytest.mark.parametrize(
    ("parameters", "values", "marks"),
    [
        ({"records": 3}, [5, 4, 3, 3, 3, 3, 2], ".....x."),
        ({"records": 3}, [5, 6, 7, 8, 4], "...x."),  # worse is no better
        ({"records": 2, "critical_records": 4}, [1] * 6, "..xxXX"),
        ({"records": 2, "improves": "up"}, [1, 2, 2, 2, 3], "...x."),
        ({"records": 2, "improves": "either"}, [1, 1, 1, 0.5, 1, 1, 1], "..x...x"),
        ({"records": 2, "enough": 1.0}, [2, 2, 2, 1, 1, 1, 1, 1], "..x....."),  # done is not stuck
        ({"records": 2, "improves": "up", "enough": 0.9}, [0.95] * 5, "....."),
        ({"records": 2, "least": 0.1}, [1.0, 0.95, 0.91, 0.89], "..x."),  # a tenth of the mark, summed up
        ({"records": 2, "least": 0.1, "relative": False}, [-5.0, -5.05, -5.09, -5.2], "..x."),
        ({"records": 2, "median": 3}, [1] * 6, "??..xx"),
        ({"records": 2}, [1, nan, inf, 1, -inf, 1], ".??.?x"),
        ({"records": 2}, [0.0] * 4, "..xx"),
    ],
)
def test_a_plateau_is_so_many_readings_without_an_improvement(parameters, values, marks):
    assert drawn(readings(plateau(**parameters), values)) == marks


def test_slow_but_steady_progress_is_no_plateau():
    falling = [2.0 * math.exp(-step / 2000) for step in range(3000)]
    assert "x" not in drawn(readings(plateau(records=200, least=0.05, median=9), falling))
    assert "x" in drawn(readings(plateau(records=200, least=0.2, median=9), falling))


def test_a_plateau_says_for_how_long():
    (*_, last) = readings(plateau(records=3), [2.0] + [2.5] * 4)
    assert last.note == "no better than 2 for 4 readings"


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.sampled_from(["down", "up", "either"]),
    st.integers(1, 5),
    st.integers(2, 12),
)
def test_a_plateau_is_what_its_definition_says(values, improves, width, records):
    """By going back from each reading to where the level last improved."""
    levels = [median(values[i + 1 - width : i + 1]) for i in range(width - 1, len(values))]
    mark, since, expected = None, 0, []
    for level in levels:
        gain = (
            0.0
            if mark is None
            else {"down": mark - level, "up": level - mark}.get(improves, abs(level - mark))
        )
        improved = mark is None or gain > 0.01 * abs(mark)
        mark, since = (level, 0) if improved else (mark, since + 1)
        expected.append("x" if since >= records else ".")
    seen = drawn(readings(plateau(improves=improves, median=width, records=records), values))
    assert seen == "?" * (len(values) - len(levels)) + "".join(expected)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"critical_records": 3, "records": 5}, "`critical_records: 3` must not be less than `records: 5`"),
        ({"improves": "either", "enough": 1.0}, "`enough` needs a direction"),
        ({"improves": "sideways"}, "down"),
        ({"least": -0.1}, "greater than or equal to 0"),
    ],
)
def test_a_plateau_that_contradicts_itself_is_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        plateau(**parameters)
