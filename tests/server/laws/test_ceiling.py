"""The ceiling law: what was put into a synthetic run comes out, with an interval that holds it; and where it must be silent."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from foreshock_server.laws.ceiling import ceiling

A, B = 0.2, 0.9
CEILING = B - A


def course(n, *, first=1.2, last=0.3, shape="exponential"):
    """Entropy in nat that falls from first to last over n steps."""
    t = np.arange(n) / max(1, n - 1)
    return first * (last / first) ** t if shape == "exponential" else first + (last - first) * t


def run(n=120, *, seed=0, of_h=0.02, of_r=0.02, alike=0.0, entropy=None, **more):
    """Steps, measured entropy, measured reward of a run that keeps the law."""
    random = np.random.default_rng(seed)
    truth = course(n, **more) if entropy is None else entropy
    n = len(truth)
    errors = random.normal(0, of_r, n)
    for i in range(1, n):
        errors[i] = alike * errors[i - 1] + math.sqrt(1 - alike**2) * errors[i]
    measured = np.abs(truth + random.normal(0, of_h, n))
    return np.arange(n), measured, B - A * np.exp(truth) + errors


def test_without_noise_the_law_is_found_as_it_is():
    found = ceiling(*run(of_h=0, of_r=0)).fit
    assert (found.a, found.b, found.ceiling) == pytest.approx((A, B, CEILING), abs=1e-6)
    assert found.low == pytest.approx(found.high, abs=1e-4)
    assert found.left is None


@pytest.mark.parametrize("shape", ["exponential", "linear"])
@pytest.mark.parametrize("n", [36, 500])
def test_it_is_the_least_squares_line_where_entropy_is_exact(n, shape):
    steps, entropy, reward = run(n, of_h=0, of_r=0.01, shape=shape)
    size = 2 if n == 36 else 16
    x, y = (v[: n // size * size].reshape(-1, size).mean(1) for v in (np.exp(entropy), reward))
    slope, intercept = np.linalg.lstsq(np.stack([x, np.ones(len(x))], 1), y, rcond=None)[0]
    found = ceiling(steps, entropy, reward).fit
    assert found.a == pytest.approx(-slope, rel=0.02)  # less what second differences take for noise
    assert found.ceiling == pytest.approx(intercept + slope, abs=0.003)


@pytest.mark.parametrize(
    ("n", "alike", "least"),
    [(20, 0.0, 0.9), (36, 0.0, 0.9), (300, 0.0, 0.9), (36, 0.6, 0.84), (300, 0.6, 0.88)],
)
def test_the_interval_holds_the_ceiling_as_often_as_it_says(n, alike, least):
    fits = [ceiling(*run(n, seed=seed, of_h=0.05, alike=alike)).fit for seed in range(120)]
    fits = [fit for fit in fits if fit is not None]
    assert len(fits) > 100
    assert np.mean([fit.low <= CEILING <= fit.high for fit in fits]) >= least
    assert abs(np.median([fit.ceiling for fit in fits]) - CEILING) < 0.01


@pytest.mark.parametrize("n", [36, 120, 1000])
def test_a_run_that_keeps_the_law_is_not_said_to_leave_it(n):
    fits = [ceiling(*run(n, seed=seed, of_r=0.03)).fit for seed in range(100)]
    assert sum(fit is not None and fit.left is not None for fit in fits) <= 2


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n", [60, 1000])
def test_a_run_that_leaves_the_curve_is_told_where_and_to_which_side(n, sign):
    steps, entropy, reward = run(n, of_r=0.01)
    away = np.clip((steps / n - 0.6) * 10, 0, 1) * 0.15
    found = ceiling(steps, entropy, reward + sign * away)
    assert found.fit.left.side == ("above" if sign > 0 else "below")
    assert found.fit.left.step / n == pytest.approx(0.6, abs=0.08)
    assert found.fit.left.beside * sign == pytest.approx(0.13, abs=0.03)
    assert found.fit.low <= CEILING <= found.fit.high  # the fit is that of before
    assert "left the curve" in found.message


def test_a_run_that_comes_back_has_not_left():
    steps, entropy, reward = run(500, of_r=0.01)
    reward[200:260] += 0.06
    assert ceiling(steps, entropy, reward).fit.left is None


def test_what_is_spent():
    found = ceiling(*run(1000, of_h=0, of_r=0, last=0.6)).fit
    assert found.entropy_spent == pytest.approx(0.5, abs=0.02)
    assert found.gain_spent == pytest.approx((math.exp(1.2) - math.exp(0.6)) / (math.exp(1.2) - 1), abs=0.02)


@pytest.mark.parametrize("scale", [1e-200, 1e-6, 1.0, 1e6, 1e200])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_the_unit_of_the_reward_does_not_matter(scale, shift):
    steps, entropy, reward = run()
    found = ceiling(steps, entropy, scale * (reward + shift)).fit
    assert found.ceiling / scale == pytest.approx(CEILING + shift, abs=0.02)


def reason_of(steps, entropy, reward, config=None):
    found = ceiling(steps, entropy, reward, config)
    assert (found.fit is None) == (found.reason is not None)
    assert found.message.endswith(".")
    return found.reason


@pytest.mark.parametrize("n", [0, 1, 15])
def test_too_few_readings(n):
    assert reason_of(*run(n)) == "too few readings"


def test_a_small_span_of_entropy_is_not_followed_to_its_end():
    assert reason_of(*run(first=1.2, last=1.0)) == "small span"
    assert reason_of(*run(first=1.2, last=1.2)) == "small span"


def test_a_reward_that_does_not_pay_for_entropy():
    steps, entropy, reward = run()
    assert reason_of(steps, entropy, -reward) == "no gain"
    random = np.random.default_rng(1).normal(0.5, 0.02, len(steps))
    assert reason_of(steps, entropy, random) in ("poor fit", "no gain")
    assert reason_of(steps, entropy, np.full(len(steps), 0.5)) in ("poor fit", "no gain")
    assert reason_of(steps, entropy, np.zeros(len(steps))) in ("poor fit", "no gain")


def test_much_noise_is_a_poor_fit_or_too_wide_an_interval():
    reasons = Counter(reason_of(*run(24, seed=seed, of_r=0.4)) for seed in range(50))
    assert reasons[None] <= 2


def test_entropy_that_moves_no_further_than_its_noise():
    steps, entropy, reward = run(40, first=1.0, last=0.95, of_h=0.4)
    assert reason_of(steps, entropy, reward) is not None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_out(value):
    steps, entropy, reward = run(200)
    entropy[::7], reward[3::11] = value, value
    found = ceiling(steps, entropy, reward)
    assert found.fit.low <= CEILING <= found.fit.high
    assert found.pairs == np.count_nonzero(np.isfinite(entropy) & np.isfinite(reward))
    assert reason_of(steps, np.full(200, value), reward) == "too few readings"


def test_what_no_softmax_has_is_not_taken_for_entropy():
    steps, entropy, reward = run()
    assert reason_of(steps, entropy * 1000, reward) == "no entropy"
    assert reason_of(steps, entropy - 5, reward) == "no entropy"


@pytest.mark.parametrize(
    "config",
    [
        {"entropy_coef": 0.01},
        {"actor": {"entropy_coeff": 1e-3}},
        {"ent_coef": "auto"},
        {"algorithm": {"target_entropy": -3}},
        {"clip_ratio_high": 0.28, "clip_ratio_low": 0.2},
        {"epsilon_high": 0.28, "epsilon": 0.2},
        {"policy_loss": {"loss_mode": "clip-cov"}},
        {"policy_loss.loss_mode": "kl_cov"},
    ],
)
def test_a_configuration_that_controls_entropy_withholds_the_law(config):
    found = ceiling(*run(), config)
    assert found.reason == "controlled"
    assert next(iter(str(config).split("'")[1:2])).split(".")[0] in found.message


@pytest.mark.parametrize(
    "config",
    [
        {"entropy_coef": 0.0},
        {"ent_coef": None},
        {"entropy_coeff": "0.0"},
        {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2},
        {"epsilon": 0.2, "epsilon_high": None},
        {"calculate_entropy": True, "log_entropy": True, "entropy": 3.0, "content_weight": 2.0},
        {"policy_loss": {"loss_mode": "vanilla"}},
        {"a": {"b": {"c": [1, 2, {"entropy_coef": 1}]}}},
    ],
)
def test_a_configuration_that_does_not_leaves_it(config):
    assert ceiling(*run(), config).fit is not None


def test_a_deep_configuration_is_looked_at_without_recursion():
    config: dict = {"entropy_coef": 1}
    for _ in range(5000):
        config = {"x": config}
    assert ceiling(*run(), config).reason == "controlled"


def test_entropy_that_rises_again_or_is_held_withholds_the_law():
    rises = np.concatenate([course(100), np.linspace(0.3, 1.0, 60)])
    found = ceiling(*run(entropy=rises))
    assert (found.reason, "rises again" in found.message) == ("controlled", True)
    held = np.concatenate([course(60, last=0.6), np.full(140, 0.6)])
    found = ceiling(*run(entropy=held))
    assert (found.reason, "has stayed at about 0.6" in found.message) == ("controlled", True)


def test_entropy_that_has_come_to_its_end_is_not_taken_for_held():
    spent = np.concatenate([course(60, last=0.1), np.full(140, 0.1)])
    assert ceiling(*run(entropy=spent)).fit is not None


def test_a_long_run_costs_little_and_its_path_stays_short():
    found = ceiling(*run(200_000))
    assert 16 <= len(found.path.steps) <= 32
    assert np.all(np.diff(found.path.steps) > 0)
