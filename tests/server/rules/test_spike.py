"""The robust spike against its definition, at its edges, and its false alarms under heavy tails."""

from __future__ import annotations

import math
from statistics import median

import numpy as np
import pytest
from pydantic import ValidationError
from tests.server.rules.marks import drawn, readings, wild

from foreshock_server.rules.detectors import Spike

nan, inf = math.nan, math.inf


def spike(**parameters):
    return Spike(kind="spike", **{"window": 16, "min_records": 8, "clear_records": 3, **parameters})


STEADY = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9]  # median 1, scatter 0.11


@pytest.mark.parametrize(
    ("parameters", "values", "marks"),
    [
        ({}, [1.0, 1.8, 1.8, 1.0, 1.0, 1.0], "--x--."),  # one alone is none, two are
        ({}, [1.8, 1.0, 1.8, 1.0], "----"),
        ({}, [9.0], "x"),  # far enough out for one
        ({"alone": None}, [9.0, 1.0], "--"),
        ({"consecutive": 1}, [1.8], "x"),
        ({"critical": 20.0}, [9.0, 9.0], "xX"),
        ({}, [0.1, 0.1, 0.1], "..."),  # the other way
        ({"direction": "down"}, [0.1, 0.1, 1.8], "-x-"),
        ({"direction": "both"}, [0.1, 2.0, 1.0], "-x-"),
        ({}, [nan, 1.8, inf, 1.8], "?-?x"),  # not finite: passed over
    ],
)
def test_a_spike_marks_what_leaps_out(parameters, values, marks):
    said = drawn(readings(spike(**parameters), STEADY + values))
    assert said[:8] == "?" * 8
    shown = said[8:]
    if marks == "...":  # calm has to be gathered
        marks = "--."
    assert shown == marks


def naive(values, *, z=5.0, consecutive=2, alone=12.0, window=16, least=8):
    """From the definition, in plain loops."""
    kept, row, marks = [], 0, ""
    for value in values:
        if len(kept) < least:
            kept.append(value)
            marks += "?"
            continue
        last = kept[-window:]
        middle = median(last)
        scatter = max(1.4826 * median(abs(one - middle) for one in last), 0.01 * abs(middle))
        row = row + 1 if (value - middle) / scatter > z else 0
        marks += "x" if row >= consecutive or (value - middle) / scatter > alone else "."
        kept.append(min(max(value, middle - 3 * scatter), middle + 3 * scatter))
    return marks


def test_a_spike_is_what_its_definition_says():
    chance = np.random.default_rng(4)
    values = (3 + chance.standard_t(1.5, 600) * 0.3).tolist()
    marks = drawn(readings(spike(), values)).replace("-", ".")
    assert marks == naive(values)
    assert marks.count("x") > 3


def test_a_leap_tells_the_lines_and_how_far_it_is():
    (*_, last) = readings(spike(), [*STEADY, 9.0])
    assert last.threshold == pytest.approx(1 + 5 * 1.4826 * 0.075)
    assert last.clear_level == pytest.approx(1 + 3 * 1.4826 * 0.075)
    assert last.note == "71.9 scatters from the usual 1"
    (*_, low) = readings(spike(direction="both"), [*STEADY, -9.0])
    assert low.threshold < low.clear_level < 1


def test_readings_that_are_all_alike_need_a_change_of_some_size():
    assert "x" not in drawn(readings(spike(), [1.0] * 20 + [1.02] * 3))
    assert drawn(readings(spike(), [1.0] * 20 + [1.2]))[-1] == "x"
    zeros = drawn(
        readings(spike(), [0.0] * 20 + [1.0] * 30)
    )  # around zero there is no measure, until there is
    assert "x" not in zeros
    assert zeros[-1] != "?"


def test_the_window_follows_a_new_level_in_the_end_and_no_spike_at_once():
    marks = drawn(readings(spike(), STEADY * 2 + [3.0] * 60))
    assert "x" in marks[16:24]
    assert marks[-1] == "."


def test_a_positive_statistic_over_many_scales_is_measured_by_its_logarithm():
    growing = [math.exp(0.02 * i + 0.1 * math.sin(i)) for i in range(40)]
    assert "x" not in drawn(readings(spike(log=True), growing))
    (*_, last) = readings(spike(log=True), [*growing, 100.0])
    assert last.breach
    assert 1 < last.threshold < 100
    assert last.value == 100.0


def test_huge_numbers_break_nothing():
    for detector in (spike(), spike(direction="both"), spike(log=True)):
        memory = detector.initial()
        for step, value in enumerate([*wild(200, 3), 1.7e308, -1.7e308, *[1.7e308, -1.7e308] * 20]):
            memory, _ = detector.update(memory, step, value)
            assert all(math.isfinite(one) for one in memory.window)
            assert sorted(memory.window) == list(memory.ordered)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"alone": 4.0}, "`alone: 4` must not be less than `z: 5`"),
        ({"critical": 4.0}, "`critical: 4` must not be less than `z: 5`"),
        ({"clear_z": 6.0}, "`clear_z: 6` must not exceed `z: 5`"),
        ({"min_records": 20}, "`min_records: 20` must not exceed `window: 16`"),
    ],
)
def test_a_spike_that_contradicts_itself_is_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        spike(**parameters)


def test_two_in_a_row_find_every_spike_of_half_the_level_and_are_silent_under_heavy_tails():
    chance = np.random.default_rng(5)
    detector = Spike(kind="spike", alone=None)
    calm = np.exp(0.03 * chance.standard_t(4, 10_000)).tolist()
    said = [one.breach for one in readings(detector, calm)]
    alone = [one.breach for one in readings(Spike(kind="spike", consecutive=1, alone=None), calm)]
    print(f"{sum(map(bool, said))} false in {len(calm)} readings; {sum(map(bool, alone))} of single ones")
    assert sum(map(bool, said)) <= 1
    assert sum(map(bool, alone)) >= 5  # were it not so, the second reading would be needless
    found = 0
    for start in range(500, 9500, 300):
        leapt = [*calm[start - 200 : start], 1.5 * calm[start], 1.5 * calm[start + 1]]
        found += readings(detector, leapt)[-1].breach
    assert found == 30
