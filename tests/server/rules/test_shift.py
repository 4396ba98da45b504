"""Drop and rise: against the beginning or the best so far, from step 0, and with a baseline that cannot be trusted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.server.rules.marks import drawn, readings
from tests.server.rules.synthetic import collapse, healthy

from foreshock_server.rules.detectors import Shift

nan, inf = math.nan, math.inf


def drop(**parameters):
    return Shift(kind="drop", **{"median": 1, "baseline_records": 2, **parameters})


def rise(**parameters):
    return Shift(kind="rise", **{"median": 1, "baseline_records": 2, **parameters})


@pytest.mark.parametrize(
    ("detector", "values", "marks"),
    [
        (drop(to=0.5), [4, 4, 2, 1.9], "?..x"),
        (drop(to=0.5, critical=0.25, clear=0.75), [4, 4, 2.5, 1.9, 0.9, 3.0], "?.-xX."),
        (drop(by=1.0), [0, 0, -1, -1.1], "?..x"),  # a difference needs no positive baseline
        (drop(by=1.0, critical=2.0, clear=0.5), [4, 4, 3.2, 2.5, 1.9, 3.5], "?.-xX."),
        (rise(to=2.0), [4, 4, 8, 8.1], "?..x"),
        (rise(by=1.0, critical=2.0), [0, 0, 1.5, 2.5], "?.xX"),
        (drop(to=0.5), [0, 0, 1, -1], "????"),  # a multiple of zero says nothing
        (drop(to=0.5, absolute=0.1), [0, 0, 1, -1], "xx.x"),
        (drop(to=0.5, baseline=8.0), [4, 3.9], ".x"),
        (drop(to=0.5, median=3), [4, 4, 4, 1, 1], "??..x"),
        (drop(to=0.5), [4, nan, 4, inf, 1, -inf], "??.?x?"),
    ],
)
def test_a_drop_or_rise_is_far_from_the_beginning(detector, values, marks):
    assert drawn(readings(detector, values)) == marks


def test_a_run_that_starts_collapsed_is_told_by_its_first_level_and_not_compared_with_itself():
    detector = drop(to=0.5, absolute=0.1, absolute_critical=0.01, absolute_clear=0.2, median=3)
    assert drawn(readings(detector, [0.05] * 4 + [0.15] * 3 + [0.3] * 3)) == "??xxx--" + "-.."
    assert drawn(readings(detector, [0.005] * 4)) == "??XX"


def test_a_statistic_that_starts_low_is_compared_with_its_best():
    growing = [*np.linspace(0.1, 4.0, 40), *np.linspace(4.0, 0.5, 20)]
    assert "x" not in drawn(readings(drop(to=0.5), growing))  # half of where it began is never reached
    marks = drawn(readings(drop(to=0.5, against="best"), growing))
    assert marks[:2] == "?."
    assert "x" not in marks[:50]
    assert marks[-1] == "x"


def test_the_best_never_follows_a_collapse():
    said = readings(drop(to=0.5, against="best"), [4.0] * 10 + [1.0] * 5000)
    assert {one.baseline for one in said[2:]} == {4.0}
    assert drawn(said)[-1] == "x"
    falling = readings(rise(to=1.5, against="best"), [5.0, 4.0, 3.0, 2.0, 2.9, 3.1])
    assert drawn(falling) == "?....x"  # a loss that has turned round


@pytest.mark.parametrize(
    ("trust", "begins", "trusted"),
    [
        ({"trust_from": 1.0}, [0.9] * 4, False),
        ({"trust_from": 1.0}, [1.0] * 4, True),
        ({"trust_to": 1.0}, [1.1] * 4, False),
        ({"scatter": 0.2}, [4, 2, 1, 3], False),
        ({"scatter": 0.2}, [4, 4.1, 3.9, 4], True),
        ({"scatter": 0.2}, [4, 4, 4, 400], True),  # one outlier is no scatter
        ({"scatter": 0.2}, [1.7e308, -1.7e308, 1.7e308, 1.7e308], True),
    ],
)
def test_a_baseline_that_cannot_be_trusted_is_not_compared_with(trust, begins, trusted):
    detector = drop(to=0.5, baseline_records=4, **trust)
    marks = drawn(readings(detector, [*begins, 0.01]))
    assert marks[-1] == ("x" if trusted else "?")
    told = drop(to=0.5, baseline_records=4, absolute=0.05, **trust)
    assert drawn(readings(told, [*begins, 0.01]))[-1] == "x"


def test_of_two_lines_the_one_that_is_met_first_is_shown():
    (_, low) = readings(drop(to=0.5, absolute=0.1), [4.0, 4.0])
    assert (low.baseline, low.threshold, low.clear_level) == (4.0, 2.0, 2.0)
    (_, high) = readings(rise(to=2.0, absolute=5.0, absolute_critical=9.0), [4.0, 4.0])
    assert (high.threshold, high.warn_level, high.clear_level) == (9.0, 5.0, 5.0)


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=40),
    st.sampled_from(["drop", "rise"]),
    st.sampled_from(["first", "best"]),
)
def test_a_rise_is_a_drop_upside_down(values, kind, against):
    """By the definition, over whole histories."""
    detector = Shift(kind=kind, by=1.0, against=against, median=1, baseline_records=3)
    best = min if kind == "rise" else max
    expected = ""
    for i, value in enumerate(values):
        base = best(values[: i + 1]) if against == "best" else sorted(values[:3])[len(values[:3]) // 2]
        worse = value > base + 1.0 if kind == "rise" else value < base - 1.0
        expected += "?" if i < 2 else "x" if worse else "."
    seen = drawn(readings(detector, values))
    for mark, wanted, value in zip(seen, expected, values, strict=True):
        assert mark == wanted or abs(abs(value) % 1.0) < 1e-9  # rounding on the very line


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "exactly one of `to: MULTIPLE` and `by: DIFFERENCE`"),
        ({"to": 0.5, "by": 1.0}, "exactly one of"),
        ({"to": 1.5}, "`to: 1.5` must lie below 1, as it is a drop"),
        ({"to": 0.5, "critical": 0.6}, "`critical: 0.6` lies on the wrong side of the level 0.5"),
        ({"to": 0.5, "clear": 0.4}, "`clear: 0.4` lies on the wrong side"),
        ({"by": 1.0, "critical": 0.5}, "`critical: 0.5` lies on the wrong side"),
        ({"to": 0.5, "absolute_clear": 0.4}, "`absolute_clear` needs `absolute: LEVEL`"),
        ({"to": 0.5, "absolute": 0.4, "absolute_clear": 0.3}, "lies on the wrong side of 0.4"),
        ({"to": 0.5, "against": "best", "scatter": 0.1}, "are about `against: first`"),
    ],
)
def test_a_drop_that_contradicts_itself_is_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        drop(**parameters)
    assert Shift(kind="rise", to=1.5).worst == "max"


@pytest.mark.parametrize("against", ["first", "best"])
def test_healthy_runs_do_not_drop_to_a_third_and_collapses_do(against):
    """Settling to half of the beginning, heavy tails, dips and steps: none of it is a drop to 30 %."""
    detector = Shift(kind="drop", to=0.3, against=against, baseline_records=20)
    chance = np.random.default_rng(6)
    calm = [drawn(readings(detector, healthy(2000, chance).tolist())) for _ in range(30)]
    assert not any("x" in marks for marks in calm)
    for _ in range(15):
        run = collapse(2500, chance, first=200, last=500)
        assert "x" in drawn(readings(detector, run.values.tolist()))
