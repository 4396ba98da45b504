"""Readings -> what is drawn of them: thinned, broken where the series is, and nothing odd lost."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_server.figures.curves import DENSE, MOST_BREAKS, POINTS, curve
from foreshock_server.figures.scene import SeriesInfo

INFO = SeriesInfo("loss", "loss", "training")


def drawn(values: list[float], steps: list[int] | None = None, attempts: list[int] | None = None):
    return curve(
        INFO,
        np.array(range(len(values)) if steps is None else steps),
        np.array(values, float),
        None if attempts is None else np.array(attempts, np.int32),
    )


def pieces(of) -> list[list[int]]:
    return [steps.tolist() for steps, _ in of.pieces()]


def test_a_short_series_is_drawn_as_it_is():
    assert drawn([3, 1, 2]).values.tolist() == [3, 1, 2]


def test_a_nan_breaks_the_line_and_is_kept_apart():
    line = drawn([1, 2, np.nan, 4, np.inf, 6])
    assert pieces(line) == [[0, 1], [3], [5]]
    assert line.odd_steps.tolist() == [2, 4]
    assert np.isnan(line.odd_values[0])
    assert np.isposinf(line.odd_values[1])


def test_an_absence_breaks_the_line_and_a_slow_cadence_does_not():
    assert pieces(drawn([1] * 6, steps=[0, 10, 20, 200, 210, 220])) == [[0, 10, 20], [200, 210, 220]]
    assert len(pieces(drawn([1] * 6, steps=[0, 50, 100, 150, 200, 250]))) == 1


def test_a_resumed_run_begins_a_new_line_where_it_went_back_to():
    line = drawn([1, 2, 3, 4, 5], steps=[0, 1, 2, 1, 2], attempts=[1, 1, 1, 2, 2])
    assert pieces(line) == [[0, 1, 2], [1, 2]]


def test_two_writers_of_one_attempt_are_woven_into_one_line():
    assert pieces(drawn([1, 3, 2, 4], steps=[0, 2, 1, 3])) == [[0, 1, 2, 3]]


def test_a_long_series_keeps_its_extremes_in_about_two_thousand_points():
    random = np.random.default_rng(0)
    values = random.normal(0, 1, 50_000)
    values[31_234], values[40_001] = 40.0, -40.0
    line = curve(INFO, np.arange(50_000), values)
    assert len(line.values) <= 1.02 * POINTS
    assert {40.0, -40.0} <= set(line.values.tolist())


def test_a_dense_series_has_a_course_of_medians_that_reaches_its_end():
    values = np.sin(np.arange(4 * DENSE) / 300) + np.random.default_rng(0).normal(0, 0.3, 4 * DENSE)
    line = curve(INFO, np.arange(4 * DENSE), values)
    assert line.course_steps[-1] >= 4 * DENSE - 16
    truth = np.sin(line.course_steps / 300)
    assert (
        np.abs(line.course_values - truth).max()
        < np.abs(values - np.sin(np.arange(4 * DENSE) / 300)).max() / 2
    )
    assert len(drawn([1.0] * DENSE).course_values) == 0


@pytest.mark.parametrize("values", [[], [np.nan], [np.nan, np.inf], [1.0], [1.0, np.nan]])
def test_few_or_no_numbers_are_drawn_without_complaint(values):
    line = drawn(values)
    assert len(line.finite[0]) + len(line.odd_steps) == len(values)


def test_a_series_in_tatters_stays_bounded():
    values = np.where(np.arange(20_000) % 2, np.nan, 1.0)
    line = curve(INFO, np.arange(20_000), values)
    assert len(line.values) <= 1.1 * POINTS + 8 * MOST_BREAKS
    assert len(line.odd_steps) == 10_000
