"""Synthetic runs of a positive statistic, healthy and collapsing; a seed in, readings and the truth about them out.

Healthy: autocorrelated noise of 3 to 12 % with heavy tails, and one of: nothing, a benign settling to 50 to 90 % of the beginning,
or level steps of up to 15 % with short dips of 10 to 40 %. Collapsing: the same noise on an exponential, an accelerating or a
linear fall with a time constant of 50 to 500 steps (100 to 250 where it begins with the run).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
GONE = 0.2  # a collapse is over when this share of the beginning is left


class Collapse(NamedTuple):
    """A falling run: what is read, the noiseless share of the beginning, where the fall begins and where it is over."""

    readings: Values
    share: Values
    onset: int
    gone: int


def healthy(seed: int, steps: int) -> Values:
    """A run in which nothing is wrong."""
    rng = np.random.default_rng([seed, 0])
    at = np.arange(steps)
    level = np.ones(steps)
    kind = rng.integers(3)
    if kind == 1:
        rest = rng.uniform(0.5, 0.9)
        level = rest + (1 - rest) * np.exp(-at / rng.uniform(300, 1500))
    elif kind == 2:
        for start in rng.integers(300, steps, 4):
            level[start:] *= rng.uniform(0.85, 1.15)
        for start in rng.integers(300, steps - 40, 3):
            level[start : start + rng.integers(3, 20)] *= rng.uniform(0.6, 0.9)
    return rng.uniform(0.3, 3) * level * np.exp(_noise(rng, steps))


def collapsing(seed: int, steps: int, *, at_once: bool) -> Collapse:
    """A run that collapses: from its first step on, or after a healthy beginning."""
    rng = np.random.default_rng([seed, 1])
    onset = 0 if at_once else int(rng.integers(500, 3000))
    scale = rng.uniform(100, 250) if at_once else 10 ** rng.uniform(1.7, 2.7)
    since = np.maximum(np.arange(steps) - onset, 0)
    kind = 0 if at_once else rng.integers(3)
    if kind == 0:
        share = np.exp(-since / scale)
    elif kind == 1:
        share = (1 + np.exp(-4 / 0.6)) / (1 + np.exp((since - 4 * scale) / (0.6 * scale)))
    else:
        share = np.maximum(1 - since / (3 * scale), 0.0)
    share = np.maximum(share, 2e-3)
    readings = rng.uniform(0.3, 3) * share * np.exp(_noise(rng, steps))
    return Collapse(readings, share, onset, int(np.argmax(share < GONE)))


def _noise(rng: np.random.Generator, steps: int) -> Values:
    """AR(1), φ from 0 to 0.9, with t(4) innovations; the standard deviation is that of the series itself."""
    memory, deviation = rng.uniform(0, 0.9), rng.uniform(0.03, 0.12)
    shocks = rng.standard_t(4, steps) / np.sqrt(2) * deviation * np.sqrt(1 - memory**2)
    noise = np.empty(steps)
    last = 0.0
    for step, shock in enumerate(shocks):
        last = memory * last + shock
        noise[step] = last
    return noise
