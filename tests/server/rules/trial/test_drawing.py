"""Series drawn as short strings: what each sign means, and what is said of a drawing that has none."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_server.rules.trial.drawing import MOST_READINGS, BadDrawing, draw


def values(text, **clock):
    return [one.value for one in draw(text, **clock)]


def steps(text, **clock):
    return [(one.attempt, one.step) for one in draw(text, **clock)]


def test_values_are_repeated():
    assert values("1 2.5x3 -1e-3x2") == [1, 2.5, 2.5, 2.5, -0.001, -0.001]


def test_a_ramp_has_both_of_its_ends():
    assert values("0->4x5 4->2x3") == [0, 1, 2, 3, 4, 4, 3, 2]
    assert values("-1->1x3") == [-1, 0, 1]


def test_equal_factors():
    assert values("8~>1x4") == pytest.approx([8, 4, 2, 1])


def test_what_is_not_finite_is_drawn_too():
    odd = values("NaNx2 Inf -Inf")
    assert [math.isnan(one) for one in odd] == [True, True, False, False]
    assert odd[2:] == [math.inf, -math.inf]


def test_a_gap_takes_steps_and_time_but_has_no_reading():
    drawn = draw("1 _x3 2", every=10, seconds=0.5)
    assert [(one.step, one.time, one.value) for one in drawn] == [
        (0, 0.0, 1.0),
        (10, 0.5, None),
        (20, 1.0, None),
        (30, 1.5, None),
        (40, 2.0, 2.0),
    ]


def test_a_step_back_is_a_resume_and_a_step_ahead_is_not():
    assert steps("1x3 @10 1x2 @1 1x2", start=0) == [(1, 0), (1, 1), (1, 2), (1, 10), (1, 11), (2, 1), (2, 2)]


def test_a_pause_is_of_the_clock_alone():
    drawn = draw("1x2 +600s 1", seconds=2.0)
    assert [(one.step, one.time) for one in drawn] == [(0, 0), (1, 2), (2, 604)]


def test_brackets_repeat_and_may_hold_brackets():
    assert values("(1 (2 3)x2)x2 4") == [1, 2, 3, 2, 3, 1, 2, 3, 2, 3, 4]
    assert values("(1 2)") == [1, 2]


def test_noise_is_as_wide_as_it_says_and_the_same_each_time():
    absolute, relative = values("10±0.5x4000"), values("10±5%x4000")
    assert absolute == relative == values("10+-0.5x4000")
    assert statistics.fmean(absolute) == pytest.approx(10, abs=0.05)
    assert statistics.stdev(absolute) == pytest.approx(0.5, rel=0.05)
    assert values("10±0.5x100", seed=1) != absolute[:100]
    falling = values("100~>1±10%x2001")
    assert statistics.stdev(falling[-200:]) < statistics.stdev(falling[:200]) / 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("@5", "no reading"),
        ("1x20 banana", "'banana'"),
        ("1*20", "none of"),
        ("1x0", "leave it out"),
        ("1->2", "over how many readings"),
        ("1->2x1", "over how many readings"),
        ("1~>0x10", "above 0"),
        ("-1~>1x10", "above 0"),
        ("@5x3", "cannot be repeated"),
        ("(1 2", "not closed"),
        ("1)x3", "not opened"),
        ("(((((((((1)))))))))", "brackets"),
        ("(" * 20_000, "not closed"),
        ("1e400", "none of"),
        ("nan", "none of"),
        ("1x999999999", f"{MOST_READINGS:,}"),
        ("((1x999)x999)x999", f"{MOST_READINGS:,}"),
        ("1 " * 20_000, "characters"),
        ("1x" + "9" * 5000, "none of"),
    ],
)
def test_what_is_no_drawing_is_said_so(text, said):
    with pytest.raises(BadDrawing, match=said.replace("(", r"\(")):
        draw(text)


@given(st.text("0123456789.x->~+±%_NaInf@s() e", max_size=60))
def test_whatever_is_written_is_drawn_or_refused(text):
    try:
        drawn = draw(text)
    except BadDrawing:
        return
    assert 0 < len(drawn) <= MOST_READINGS
    for earlier, later in itertools.pairwise(drawn):
        forward = later.step > earlier.step
        assert later.attempt == earlier.attempt + (not forward)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 9)), min_size=1, max_size=20))
def test_a_list_of_numbers_comes_back(runs):
    text = " ".join(f"{value:.6f}x{count}" for value, count in runs)
    assert values(text) == [float(f"{value:.6f}") for value, count in runs for _ in range(count)]
