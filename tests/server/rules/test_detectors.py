"""What each detector says, reading by reading, and that its memory is all it needs."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
from pydantic import ValidationError
from tests.server.rules.marks import drawn, readings, wild

from foreshock_server.rules.detectors import (
    Band,
    Changed,
    ForecastDrop,
    NonFinite,
    Plateau,
    Shift,
    Slope,
    Spike,
    Threshold,
)

nan, inf = math.nan, math.inf


def threshold(**parameters):
    return Threshold(kind="threshold", **parameters)


def forecast(**parameters):
    return ForecastDrop(kind="forecast-drop", **parameters)


def non_finite(**parameters):
    return NonFinite(kind="non-finite", **parameters)


# --- threshold


@pytest.mark.parametrize(
    ("parameters", "values", "marks"),
    [
        ({"below": 0.5}, [0.6, 0.5, 0.4, 0.5], "..x."),  # the level itself is no breach
        ({"above": 3}, [2, 3, 4], "..x"),
        ({"below": 0.5, "critical": 0.1, "clear": 0.6}, [0.7, 0.55, 0.4, 0.05, 0.55, 0.6], ".-xX-."),
        ({"above": 3, "critical": 6, "clear": 2}, [1, 2.5, 4, 7, 2.5, 2], ".-xX-."),
        ({"above": 1, "median": 3}, [0, 9, 0, 0, 9, 9], "??...x"),  # one spike is no level
        ({"below": 0}, [1, -1], ".x"),
        ({"above": 1}, [0, nan, inf, -inf, 2], ".???x"),  # not finite: another rule's news
    ],
)
def test_a_threshold_marks_what_lies_beyond_it(parameters, values, marks):
    assert drawn(readings(threshold(**parameters), values)) == marks


def test_a_relative_threshold_is_a_multiple_of_the_first_readings_for_ever():
    said = readings(
        threshold(above=3, clear=2, relative_to_baseline=True, baseline_records=3),
        [1.0, 2.0, 1.0] + [2.9] * 50 + [3.1],
    )
    assert drawn(said) == "??." + "-" * 50 + "x"
    last = said[-1]
    assert (last.baseline, last.threshold, last.clear_level, last.value) == (1.0, 3.0, 2.0, 3.1)


def test_a_baseline_that_is_given_need_not_be_gathered():
    assert drawn(readings(threshold(below=0.5, relative_to_baseline=True, baseline=10.0), [6, 4])) == ".x"


def test_a_baseline_of_zero_or_less_tells_nothing():
    detector = threshold(above=3, relative_to_baseline=True, baseline_records=1)
    assert drawn(readings(detector, [0.0, 5.0, 9.0])) == "???"
    assert drawn(readings(detector, [-1.0, 5.0])) == "??"


def test_with_two_lines_the_threshold_is_the_critical_one():
    (only,) = readings(threshold(below=0.5), [0.4])
    assert (only.threshold, only.warn_level, only.clear_level) == (0.5, None, 0.5)
    (both,) = readings(threshold(below=0.5, critical=0.1, clear=0.6), [0.4])
    assert (both.threshold, both.warn_level, both.clear_level) == (0.1, 0.5, 0.6)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "exactly one of `below: LEVEL` and `above: LEVEL`"),
        ({"below": 1, "above": 2}, "exactly one of"),
        ({"below": 1, "critical": 2}, "`critical: 2` must lie beyond the level 1"),
        ({"above": 1, "clear": 2}, "`clear: 2` must lie on the good side of the level 1"),
        ({"above": 1, "baseline": 2}, "only used with `relative_to_baseline: true`"),
        ({"above": nan}, "finite"),
        ({"above": True}, "number"),
    ],
)
def test_levels_that_contradict_one_another_are_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        threshold(**parameters)


# --- forecast-drop


def exponential(start, pace, length, level=2.0):
    return [level * math.exp(-max(0, step - start) / pace) for step in range(length)]


def test_a_level_series_is_clear_and_has_no_forecast():
    said = readings(forecast(), [2.0] * 400)
    assert drawn(said) == "?" * 199 + "-" * 31 + "." * 170  # a baseline of 200, then 32 calm readings
    assert said[-1].forecast is None
    assert (said[-1].baseline, said[-1].threshold, said[-1].clear_level) == (2.0, 0.5, 1.2)
    assert said[-1].warn_level == pytest.approx(2.0 * math.exp(-0.15))


def test_the_warning_needs_both_a_drop_that_has_begun_and_a_forecast_below_the_share():
    # e^(-200/1000) per horizon: the forecast passes 40 % when 40 %/0.819 = 49 % is left, after 716 steps, not before.
    slow = readings(forecast(share=0.4, critical_share=0.01, clear_share=0.05), exponential(250, 1000, 1200))
    assert next(i for i, one in enumerate(slow) if one.breach) == pytest.approx(250 + 716, abs=12)
    # A fast one warns before half is gone, and not before 15 % are.
    fast = readings(forecast(), exponential(300, 100, 600))
    first = next(one for one in fast if one.breach)
    assert 0.5 < first.level / first.baseline < math.exp(-0.15)


def test_theil_sen_reads_the_slope_and_the_time_that_is_left():
    """On a noiseless exponential everything is known: ln 40 % is reached after 0.916 time constants."""
    values = exponential(250, 150, 700)
    said = readings(forecast(), values)
    step = next(i for i, one in enumerate(said) if one.forecast is not None and values[i] < 1.2)
    ahead = said[step].forecast
    assert ahead.target_share == 0.4
    assert ahead.level_target == pytest.approx(0.8)
    truth = 250 + 150 * math.log(1 / 0.4) - step
    assert 0.4 * truth < ahead.low_steps <= truth <= ahead.high_steps * 1.15
    assert ahead.high_steps == pytest.approx(2 * ahead.low_steps, abs=1)
    assert ahead.horizon_steps == 200
    assert 0 < ahead.predicted_share < 0.4


def test_below_the_warnings_target_the_forecast_speaks_of_the_critical_level():
    said = readings(forecast(), exponential(250, 150, 900))
    targets = [one.forecast.target_share for one in said if one.forecast is not None]
    assert targets == sorted(targets, reverse=True)
    assert set(targets) == {0.4, 0.25}
    assert all(
        one.forecast is None for one in said if one.breach is not None and one.level < 0.5
    )  # both passed


def test_no_time_is_named_while_more_than_seven_tenths_are_left():
    said = readings(forecast(horizon=1000), exponential(250, 300, 500))
    assert any(one.breach for one in said if one.breach is not None and one.level > 1.4)
    assert all(one.forecast is None for one in said if one.breach is not None and one.level >= 1.4)


def test_steps_are_named_not_readings_where_a_reading_comes_every_ten_steps():
    values = exponential(250, 150, 450)
    by_one = readings(forecast(), values)[-1].forecast
    by_ten = readings(forecast(), values, range(0, 4500, 10))[-1].forecast
    assert by_ten.low_steps == pytest.approx(10 * by_one.low_steps, abs=5)
    assert by_ten.horizon_steps == 2000


def test_critical_is_the_running_median_below_a_quarter_whatever_the_trend():
    said = readings(forecast(), [2.0] * 250 + [0.4] * 400)
    marks = drawn(said)
    assert marks[250 + 4] == "X"  # the fifth of nine
    assert marks[-1] == "X"  # the trend has long been flat
    assert said[-1].critical


def test_a_dip_of_four_readings_is_not_critical():
    assert "X" not in drawn(readings(forecast(), [2.0] * 250 + [0.1] * 4 + [2.0] * 50))


def test_it_is_clear_only_after_so_many_calm_readings_above_the_clear_share():
    said = readings(forecast(), [2.0] * 250 + [0.3] * 50 + [1.1] * 300 + [1.3] * 300)
    marks = drawn(said)
    assert "." not in marks[254 : 600 + 35]  # 55 % is no breach any more, but not clear either
    assert marks[600 + 40] == "."


def test_a_warning_above_the_clear_share_is_not_clear_until_it_has_been_over_for_as_long():
    values = (
        exponential(250, 400, 350) + [2.0 * math.exp(-100 / 400)] * 300
    )  # down to 78 %, and there it stays
    marks = drawn(readings(forecast(horizon=1000), values))
    first, last = marks.index("x"), marks.rindex("x")
    assert last - first > 40
    assert "." not in marks[first : last + 32]
    assert marks[last + 32] == "."


def test_a_rank_of_zero_counts_as_a_very_small_one():
    said = readings(forecast(), [8.0] * 210 + [0.0] * 60)
    assert said[-1].critical
    json.dumps(forecast().dump(forecast().initial()), allow_nan=False)


def test_a_baseline_of_zero_can_tell_nothing():
    assert set(drawn(readings(forecast(), [0.0] * 300))) == {"?"}


def test_readings_that_are_not_finite_are_skipped_and_reset_nothing():
    clean = exponential(250, 100, 500)
    chance = random.Random(0)
    dirty, marks = [], []
    for value in clean:
        while chance.random() < 0.2:
            dirty.append(chance.choice([nan, inf, -inf]))
            marks.append("?")
        dirty.append(value)
        marks.append(None)
    plain, mixed = drawn(readings(forecast(), clean)), drawn(readings(forecast(), dirty))
    assert "".join(seen for seen, mark in zip(mixed, marks, strict=True) if mark is None) == plain
    assert all(seen == "?" for seen, mark in zip(mixed, marks, strict=True) if mark)


def test_a_trend_from_the_start_reaches_no_farther_than_its_bound():
    values = [math.exp(-step / 60) for step in range(60)]
    bound = forecast(block=4, min_blocks=8, blocks=32, reach=1.0, baseline_records=10)
    said = readings(bound, values)
    first = next(i for i, one in enumerate(said) if one.breach)
    assert first == 31  # eight blocks of four
    assert said[first].forecast.horizon_steps == 32
    assert said[59].forecast is None or said[59].forecast.horizon_steps == 60


@pytest.mark.parametrize(
    "parameters",
    [
        {"min_blocks": 17},
        {"clear_share": 0.2},
        {"share": 1.0},
        {"block": 1},
        {"baseline": -1.0},
        {"horizon": 2.5},
        {"windows": 3},
    ],
)
def test_a_forecast_that_makes_no_sense_is_refused(parameters):
    with pytest.raises(ValidationError):
        forecast(**parameters)


def test_the_slope_is_that_of_the_definition():
    """Against plain loops over all pairs, in the order of the definition."""
    chance = np.random.default_rng(3)
    detector = forecast(block=4, blocks=8, baseline_records=8)
    values = np.exp(np.cumsum(chance.normal(size=120)) * 0.1).tolist()
    memory = detector.initial()
    for step, value in enumerate(values):
        memory, _ = detector.update(memory, step, value)
        if (step + 1) % 4 or step < 31:
            continue
        logs = [math.log(one) for one in values[: step + 1]]
        blocks = [float(np.median(logs[i : i + 4])) for i in range(0, len(logs), 4)][-8:]
        slopes = [(blocks[j] - blocks[i]) / (4 * (j - i)) for i in range(8) for j in range(i + 1, 8)]
        slope = float(np.median(slopes))
        level = float(np.median([b - slope * 4 * (i - 7) for i, b in enumerate(blocks)]))
        assert memory.trend.slope == pytest.approx(slope, rel=1e-9, abs=1e-12)
        assert memory.trend.level == pytest.approx(level, rel=1e-9)
        assert memory.trend.ahead == pytest.approx(level + min(slope, 0) * 200)


# --- non-finite


@pytest.mark.parametrize(
    ("parameters", "values", "marks"),
    [
        ({"clear_after": 2}, [1, nan, 1, 1, inf, -inf, 1, 1], "-x-.xx-."),
        ({"clear_after": 1, "counts": True}, [0, 3, 0, nan], ".x.x"),
        ({"clear_after": 1}, [0, 3], ".."),  # not a count: three is a number like any other
        ({"at_least": 3, "of": 5, "clear_after": 9}, [nan, 1, nan, 1, nan, 1, 1, nan], "----x---"),
        ({"at_least": 2, "of": 3, "clear_after": 9}, [nan, 1, 1, nan, nan], "----x"),
    ],
)
def test_non_finite_marks_what_is_not_a_number(parameters, values, marks):
    assert drawn(readings(non_finite(**parameters), values)) == marks


def test_more_bad_readings_than_the_window_holds_are_refused():
    with pytest.raises(ValidationError, match="can never be reached"):
        non_finite(at_least=3, of=2)


def test_good_readings_are_skimmed_only_while_nothing_bad_is_remembered():
    detector = non_finite(counts=True)
    assert detector.skim(detector.initial(), np.array([0, 0, 0.0])) == 3
    assert detector.skim(detector.initial(), np.array([0, 0, nan, 0])) == 2
    assert detector.skim(detector.initial(), np.array([0, 2.0, nan, 0])) == 1
    window = non_finite(at_least=2, of=3)
    memory, _ = window.update(window.initial(), 0, nan)
    assert window.skim(memory, np.array([1.0, 1.0])) == 0


# --- memory

DETECTORS = [
    threshold(above=3, median=5, relative_to_baseline=True, baseline_records=7),
    threshold(below=0.5),
    forecast(baseline_records=20),
    forecast(block=4, min_blocks=8, blocks=32, reach=1.0, baseline_records=10),
    non_finite(at_least=2, of=6, clear_after=4),
    Band(kind="band", low=0.5, high=2, median=3, relative_to_baseline=True, baseline_records=7),
    Shift(kind="drop", to=0.5, scatter=0.5, trust_from=0.1, absolute=0.01, median=5),
    Shift(kind="rise", by=1.0, against="best", critical=3.0, clear=0.5, median=3),
    Slope(kind="slope", below=-0.1, log=True, block=4, blocks=8, min_blocks=4),
    Slope(kind="slope", above=1.0, block=3, blocks=8),
    Plateau(kind="plateau", improves="down", records=12, critical_records=30, median=5),
    Changed(kind="change", least=0.5),
    Spike(kind="spike", window=48, min_records=16, critical=20.0),
    Spike(kind="spike", direction="both", log=True, window=48, min_records=16),
]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.kind)
def test_memory_through_json_at_every_reading_changes_nothing(detector):
    values = wild(300, 1)
    expected = readings(detector, values)
    memory = detector.initial()
    for step, value in enumerate(values):
        memory, reading = detector.update(memory, step, value)
        # repr, as NaN is not equal to itself
        assert repr(reading) == repr(expected[step])
        memory = detector.load(json.loads(json.dumps(detector.dump(memory), allow_nan=False)))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.kind)
def test_memory_does_not_grow(detector):
    memory, sizes = detector.initial(), []
    for step, value in enumerate(wild(3000, 2)):
        memory, _ = detector.update(memory, step, value)
        sizes.append(len(json.dumps(detector.dump(memory))))
    assert max(sizes[1000:]) < 2000
    assert max(sizes[2000:]) <= 1.2 * max(sizes[500:1500])


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.kind)
def test_memory_of_another_kind_of_detector_begins_anew(detector):
    for other in DETECTORS:
        if other.kind != detector.kind and {other.kind, detector.kind} != {"threshold", "band"}:
            assert detector.load(other.dump(other.initial())) == detector.initial()


def test_a_threshold_that_becomes_a_band_keeps_its_baseline():
    before = threshold(above=3, relative_to_baseline=True, baseline_records=2)
    after = Band(kind="band", low=0.5, high=2.0, relative_to_baseline=True, baseline_records=2)
    memory = before.initial()
    for step in range(4):
        memory, _ = before.update(memory, step, 7.0)
    assert after.load(before.dump(memory)).baseline.value == 7.0


def test_an_edited_rule_keeps_the_baseline_and_forgets_blocks_of_another_length():
    before, after = forecast(baseline_records=20), forecast(baseline_records=20, block=4, median=5)
    memory = before.initial()
    for step, value in enumerate([2.0] * 200):
        memory, _ = before.update(memory, step, value)
    edited = after.load(before.dump(memory))
    assert edited.baseline.value == 2.0
    assert (edited.block, edited.medians, edited.trend) == ((), (), None)
    assert len(edited.recent) == 5
