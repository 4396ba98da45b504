"""What grows is told from what only moves about."""

from __future__ import annotations

import numpy as np
import pytest
from tests.load.growth import growth
from tests.load.trainers import series

TIMES = list(range(300))


def test_a_leak_is_seen_through_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 5, 300)
    grown = growth(TIMES, [100 + 0.5 * t + e for t, e in zip(TIMES, noise, strict=True)])
    assert grown.by == pytest.approx(0.5 * 210, rel=0.1)
    assert grown.exceeds(0.1, 50)


@pytest.mark.parametrize(
    "values",
    [
        [100.0] * 300,
        [100 + 20 * (t % 30) / 30 for t in TIMES],  # a saw
        [100.0 + (900 if 200 < t < 215 else 0) for t in TIMES],  # a spike
        [100 * (1 - np.exp(-t / 15)) for t in TIMES],  # what is full after the warm-up
    ],
)
def test_what_moves_about_a_level_does_not_grow(values: list[float]) -> None:
    assert not growth(TIMES, values).exceeds(0.1, 5)


def test_too_few_samples_are_said_to_be_so() -> None:
    with pytest.raises(ValueError, match="run it for longer"):
        growth([1.0], [1.0])


@pytest.mark.parametrize("number", [1, 2, 500])
def test_a_run_has_as_many_series_as_were_asked_for(number: int) -> None:
    keys = [one["key"] for one in series(number)]
    assert len(set(keys)) == len(keys) == number
