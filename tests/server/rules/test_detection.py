"""The early warning, measured on synthetic runs: how often it cries wolf, how often it sees a collapse, and how early.

Healthy: AR(1) noise with heavy tails, benign settling to 50 to 90 %, steps of ±15 %, dips of 10 to 40 % for 3 to 20 steps.
Collapsing: exponential, run-away or linear, at time scales of 50 to 500 steps.
The numbers that a README may quote are printed with `pytest -s`; the bounds below are what must not get worse.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.rules.synthetic import collapse, fall_from_the_start, healthy, noise

from foreshock_server.rules.detectors import ForecastDrop
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

RUNS, STEPS = 100, 3000  # and twice as many healthy ones
STANDARD = ForecastDrop(kind="forecast-drop")
FROM_START = next(
    rule.detector for rule in RuleSet.load(Settings()).rules if rule.id == "policy-entropy-collapse"
)
UNBOUNDED = ForecastDrop(
    kind="forecast-drop", block=4, blocks=8, share=0.2, baseline_records=10
)  # what `reach` is for


def alarms(detector, values, after=0):
    """The first steps from `after` on at which it warns and at which it is critical; None for never."""
    memory = detector.initial()
    warned = None
    warmup = 50 if detector is STANDARD else 0  # as a rule's warmup_steps does
    for step, value in enumerate(values[warmup:].tolist(), warmup):
        memory, reading = detector.update(memory, step, value)
        if step >= after and reading.breach:
            warned = step if warned is None else warned
            if reading.critical:
                return warned, step
    return warned, None


def measure(detector, runs):
    """(share detected in time, median share of the level at the alarm, median steps left) over runs that collapse."""
    seen = [(alarms(detector, run.values[: run.gone + 1], run.start)[0], run) for run in runs]
    hits = [(step, run) for step, run in seen if step is not None]
    return (
        len(hits) / len(runs),
        float(np.median([run.share[step] for step, run in hits])),
        float(np.median([run.gone - step for step, run in hits])),
    )


@pytest.fixture(scope="module")
def calm():
    chance = np.random.default_rng(7)
    return [healthy(STEPS, chance) for _ in range(2 * RUNS)]


@pytest.fixture(scope="module")
def falls():
    chance = np.random.default_rng(8)
    return [collapse(4500, chance) for _ in range(RUNS)]


@pytest.fixture(scope="module")
def early_falls():
    chance = np.random.default_rng(9)
    return [fall_from_the_start(1000, chance) for _ in range(RUNS)]


@pytest.mark.parametrize("detector", [STANDARD, FROM_START], ids=["standard", "from the start"])
def test_at_most_three_in_a_hundred_healthy_runs_warn_and_none_is_critical(detector, calm):
    seen = [alarms(detector, values) for values in calm]
    warned = np.mean([warning is not None for warning, _ in seen])
    print(f"false alarms: {warned:.1%} of {len(calm)} healthy runs of {STEPS} steps")
    assert warned <= 0.03
    assert all(critical is None for _, critical in seen)


@pytest.mark.parametrize("detector", [STANDARD, FROM_START], ids=["standard", "from the start"])
def test_a_collapse_is_seen_while_more_than_half_is_left(detector, falls):
    detected, level, lead = measure(detector, falls)
    print(f"detected {detected:.1%}, median level {level:.2f}, median lead {lead:.0f} steps")
    assert detected >= 0.98
    assert level >= 0.55
    assert lead >= 100


def test_a_fall_from_the_first_step_is_seen_while_more_than_half_is_left(early_falls):
    detected, level, lead = measure(FROM_START, early_falls)
    print(f"detected {detected:.1%}, median level {level:.2f}, median lead {lead:.0f} steps")
    assert detected >= 0.98
    assert level >= 0.55
    assert lead >= 150


def test_following_a_short_trend_far_ahead_cries_wolf(calm):
    warned = np.mean([alarms(UNBOUNDED, values)[0] is not None for values in calm[:40]])
    print(f"false alarms without `reach`: {warned:.1%}")
    assert warned > 0.25  # were it not so, `reach` would be needless


def test_the_forecast_range_holds_the_truth_for_an_exponential_fall():
    """Shown below 70 % of the baseline, as "about LOW to HIGH steps": the truth is inside, give or take a fifth, mostly."""
    chance = np.random.default_rng(10)
    inside = []
    for _ in range(40):
        pace = chance.uniform(100, 300)
        share = np.exp(-np.maximum(np.arange(1500) - 300, 0) / pace)
        values = share * np.exp(noise(1500, chance))
        memory = STANDARD.initial()
        for step, value in enumerate(values.tolist()):
            memory, reading = STANDARD.update(memory, step, value)
            ahead = reading.forecast
            if ahead is not None and ahead.target_share == STANDARD.share and share[step] < 0.55:
                truth = int(np.argmax(share < ahead.target_share)) - step
                inside.append(0.8 * ahead.low_steps <= truth <= 1.2 * ahead.high_steps)
                break
    print(f"inside: {np.mean(inside):.0%} of {len(inside)}")
    assert len(inside) >= 35
    assert np.mean(inside) >= 0.7
