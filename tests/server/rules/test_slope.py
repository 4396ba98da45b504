"""The robust slope against its definition, at its edges, and on runs that settle or fall."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import median

import numpy as np
import pytest
from pydantic import ValidationError
from tests.server.rules.marks import drawn, readings
from tests.server.rules.synthetic import fall_from_the_start, healthy

from foreshock_server.rules.detectors import Slope

nan, inf = math.nan, math.inf


def slope(**parameters):
    return Slope(kind="slope", **{"block": 2, "blocks": 6, **parameters})


def test_nothing_is_said_before_the_window_is_full_or_min_blocks_are():
    falling = [10.0 - 0.1 * step for step in range(30)]
    assert drawn(readings(slope(below=-5.0), falling)) == "?" * 11 + "x" * 19
    assert drawn(readings(slope(below=-5.0, min_blocks=4), falling)) == "?" * 7 + "x" * 23


@pytest.mark.parametrize(
    ("parameters", "per_100", "mark"),
    [
        ({"below": -5.0}, -4.9, "."),
        ({"below": -5.0}, -5.1, "x"),
        ({"below": -5.0, "critical": -8.0}, -8.1, "X"),
        ({"below": -5.0, "clear": -1.0}, -2.0, "-"),
        ({"above": 5.0}, 5.1, "x"),
        ({"above": 5.0}, -50.0, "."),
        ({"above": 5.0, "critical": 8.0, "clear": 0.0}, 8.1, "X"),
        ({"below": 1.0}, 0.5, "x"),  # it should rise, and rises too slowly
        ({"below": 1.0}, -0.5, "x"),
        ({"below": 1.0}, 1.5, "."),
    ],
)
@pytest.mark.parametrize("cadence", [1, 10])
def test_the_level_is_a_change_per_100_steps_whatever_the_steps_between_readings(
    parameters, per_100, mark, cadence
):
    steps = list(range(0, 30 * cadence, cadence))
    said = readings(slope(**parameters), [7.0 + per_100 * step / 100 for step in steps], steps)
    assert drawn(said)[-1] == mark


def test_of_a_logarithm_it_is_a_share_per_100_steps():
    falling = [3.0 * math.exp(-0.2 * step / 100) for step in range(60)]
    (*_, last) = readings(slope(below=-0.19, log=True), falling)
    assert last.breach
    assert last.note == "falling by 18.1 % per 100 steps"
    assert drawn(readings(slope(below=-0.21, log=True), falling))[-1] == "."
    assert drawn(readings(slope(below=-0.21, log=True), [0.0] * 20))[-1] == "."  # zero has a floor


def test_a_step_in_a_level_series_is_no_trend_because_few_pairs_agree():
    level = [1.0] * 8 + [2.0] * 4
    assert drawn(readings(slope(above=0.5, agreement=0.75), level))[-1] == "-"
    assert drawn(readings(slope(above=0.5, agreement=0.5), level))[-1] == "x"


def test_one_outlier_moves_nothing():
    chance = np.random.default_rng(1)
    values = (5.0 - 0.02 * np.arange(80) + chance.normal(0, 0.01, 80)).tolist()
    wild = [1e9 if step % 16 == 3 else one for step, one in enumerate(values)]
    detector = slope(below=-1.0, block=8, blocks=8)
    assert drawn(readings(detector, values)) == drawn(readings(detector, wild))


def test_it_is_the_slope_of_the_definition():
    chance = np.random.default_rng(2)
    steps = np.cumsum(chance.integers(1, 9, 60)).tolist()
    values = np.cumsum(chance.normal(size=60)).tolist()
    detector = slope(above=0.0, block=3, blocks=7)
    memory = detector.initial()
    for i, (step, value) in enumerate(zip(steps, values, strict=True)):
        memory, _ = detector.update(memory, step, value)
        if (i + 1) % 3 or i < 20:
            continue
        blocks = [(median(steps[k : k + 3]), median(values[k : k + 3])) for k in range(i - 20, i, 3)]
        pairs = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(blocks, 2)]
        assert memory.line.slope == pytest.approx(100 * median(pairs), rel=1e-9)
        assert memory.line.agreement == pytest.approx(sum(one > 0 for one in pairs) / len(pairs))


def test_a_resume_takes_back_the_blocks_that_it_went_behind():
    """After a fall and a resume from before it, the trend is that of the run as it stands."""
    steps = [*range(40), *range(12, 40)]
    values = [5.0] * 12 + [5.0 - 0.1 * i for i in range(28)] + [5.0] * 28
    marks = drawn(readings(slope(below=-1.0), values, steps))
    assert marks[39] == "x"
    assert "x" not in marks[40:]


def test_steps_that_do_not_advance_have_no_slope():
    assert drawn(readings(slope(below=-1.0), [5.0 - i for i in range(20)], [3] * 20)) == "?" * 20


def test_what_is_not_finite_is_passed_over():
    falling = [10.0 - 0.1 * step for step in range(24)]
    mixed, steps = [], []
    for step, value in enumerate(falling):
        mixed += [value, [nan, inf, -inf][step % 3]]
        steps += [step, step]
    marks = drawn(readings(slope(below=-5.0), mixed, steps))
    assert marks[::2] == drawn(readings(slope(below=-5.0), falling))
    assert set(marks[1::2]) == {"?"}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "exactly one of `below: SLOPE` and `above: SLOPE`"),
        ({"below": -1, "above": 1}, "exactly one of"),
        ({"below": -1, "critical": -0.5}, "`critical: -0.5` must lie beyond the level -1"),
        ({"below": -1, "clear": -2}, "`clear: -2` must lie on the good side of the level -1"),
        ({"below": -1, "min_blocks": 7}, "`min_blocks: 7` must not exceed `blocks: 6`"),
    ],
)
def test_a_slope_that_contradicts_itself_is_refused(parameters, sentence):
    with pytest.raises(ValidationError, match=sentence):
        slope(**parameters)


def test_what_settles_is_not_told_and_what_falls_from_the_first_step_is():
    """Settling to 50 to 90 % over hundreds of steps loses up to a tenth in 100 steps; collapses lose more than a third."""
    detector = slope(below=-0.3, log=True, block=8, blocks=16, min_blocks=6)
    chance = np.random.default_rng(3)
    calm = [drawn(readings(detector, healthy(1500, chance).tolist())) for _ in range(40)]
    assert sum("x" in marks for marks in calm) <= 1
    falls = [fall_from_the_start(400, chance) for _ in range(40)]
    seen = [drawn(readings(detector, run.values.tolist())).find("x") for run in falls]
    assert sum(0 <= first < run.gone for first, run in zip(seen, falls, strict=True)) >= 38
