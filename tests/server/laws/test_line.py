"""A straight line through pairs: the textbook's where the textbook applies, and an interval that holds what it says."""

from __future__ import annotations

import numpy as np
import pytest

from foreshock_server.laws.line import line, noise, student

# Two-sided quantiles of Student's t, from printed tables: (level, freedom, quantile).
TABLE = [
    (0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 3, 3.182), (0.95, 5, 2.571), (0.95, 10, 2.228), (0.95, 30, 2.042),
    (0.99, 4, 4.604), (0.99, 20, 2.845), (0.999, 6, 5.959), (0.9, 8, 1.860),
]  # fmt: skip


@pytest.mark.parametrize(("level", "freedom", "quantile"), TABLE)
def test_students_quantile_is_the_tables(level, freedom, quantile):
    assert student(level, freedom) == pytest.approx(quantile, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_in_x_it_is_least_squares(seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=40)
    y = 3 - 2 * x + random.normal(0, 0.5, 40)
    found = line(x, y)
    (slope, intercept), rest, *_ = np.linalg.lstsq(np.stack([x, np.ones(40)], 1), y, rcond=None)
    assert found.slope == pytest.approx(slope, rel=1e-12)
    assert found.intercept == pytest.approx(intercept, rel=1e-12)
    assert found.residual == pytest.approx(np.sqrt(rest[0] / 38), rel=1e-12)
    assert found.explained == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, rel=1e-9)


def test_the_error_of_a_value_is_the_textbooks_where_neighbours_err_by_themselves():
    x = np.arange(20.0)
    y = 2 * x + np.tile([1.0, -1.0], 10)  # neighbours err against each other: nothing to widen
    found = line(x, y)
    design = np.stack([x, np.ones(20)], 1)
    covariance = np.linalg.inv(design.T @ design) * found.residual**2
    at = np.array([-7.0, 1.0])
    assert found.alike == 0
    assert found.error(-7.0) == pytest.approx(np.sqrt(at @ covariance @ at), rel=1e-12)
    assert found.freedom == 18


def test_noise_is_told_from_a_trend():
    random = np.random.default_rng(3)
    together = random.normal(0, 0.1, 4000)
    x = np.linspace(0, 50, 4000) + together
    y = np.linspace(9, -2, 4000) - 0.5 * together
    of_x, of_xy = noise(x, y)
    assert of_x == pytest.approx(0.01, rel=0.1)
    assert of_xy == pytest.approx(-0.005, rel=0.1)


def test_a_noisy_x_does_not_flatten_the_line():
    random = np.random.default_rng(4)
    truth = np.linspace(0, 1, 3000)
    x, y = truth + random.normal(0, 0.3, 3000), 5 * truth
    assert line(x, y).slope < 3
    found = line(x, y, *noise(x, y))
    assert found.slope == pytest.approx(5, rel=0.1)
    assert found.reliability == pytest.approx(0.48, abs=0.05)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1, 2, 3], [1, 2, 3]),
        ([2.0] * 10, list(range(10))),
        ([1e300, -1e300] * 5, [0.0] * 10),
    ],
)
def test_no_line_where_there_is_none(x, y):
    with np.errstate(over="ignore"):
        assert line(np.array(x, float), np.array(y, float)) is None


def test_a_perfect_line_has_no_error():
    found = line(np.arange(8.0), 1 - np.arange(8.0))
    assert found.interval(100.0, 0.95) == pytest.approx((-99, -99), abs=1e-6)
    assert found.explained == pytest.approx(1)
