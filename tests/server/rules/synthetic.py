"""Runs that no one trained: healthy ones that nobody should be woken for, and ones that collapse.

Healthy: AR(1) noise with heavy tails, benign settling to 50 to 90 %, steps of ±15 %, dips of 10 to 40 % for 3 to 20 steps.
Collapsing: exponential, run-away or linear, at time scales of 50 to 500 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fall:
    values: np.ndarray
    share: np.ndarray  # of the level before the fall, without noise
    start: int

    @property
    def gone(self) -> int:
        """The step at which 20 % is left."""
        return int(np.argmax(self.share < 0.2))


def noise(length, chance):
    """ln of the noise: AR(1) with a coefficient up to 0.9 and Student-t innovations, 3 to 12 % overall."""
    memory, size = chance.uniform(0, 0.9), chance.uniform(0.03, 0.12)
    innovations = chance.standard_t(4, length) / np.sqrt(2) * size * np.sqrt(1 - memory**2)
    noisy = np.empty(length)
    level = 0.0
    for i, innovation in enumerate(innovations):
        level = memory * level + innovation
        noisy[i] = level
    return noisy


def healthy(length, chance):
    """A run that nobody should be woken for."""
    steps = np.arange(length)
    share = np.ones(length)
    kind = chance.integers(3)
    if kind == 1:
        end, pace = chance.uniform(0.5, 0.9), chance.uniform(300, 1500)
        share = end + (1 - end) * np.exp(-steps / pace)
    if kind == 2:
        for _ in range(4):
            share[chance.integers(300, length) :] *= chance.uniform(0.85, 1.15)
        for _ in range(3):
            start = chance.integers(300, length - 40)
            share[start : start + chance.integers(3, 20)] *= chance.uniform(0.6, 0.9)
    return chance.uniform(0.3, 3) * share * np.exp(noise(length, chance))


def collapse(length, chance, *, first=500, last=1500):
    """A run that begins to collapse somewhere between two steps."""
    start, pace, kind = chance.integers(first, last), 10 ** chance.uniform(1.7, 2.7), chance.integers(3)
    since = np.maximum(np.arange(length) - start, 0)
    if kind == 0:
        share = np.exp(-since / pace)
    elif kind == 1:
        share = (1 + np.exp(-4 / 0.6)) / (1 + np.exp((since - 4 * pace) / (0.6 * pace)))
    else:
        share = np.maximum(1 - since / (3 * pace), 1e-3)
    share = np.maximum(share, 2e-3)
    return Fall(chance.uniform(0.3, 3) * share * np.exp(noise(length, chance)), share, int(start))


def fall_from_the_start(length, chance):
    """Reinforcement learning as it is reported: -73 % within some 130 to 330 steps."""
    share = np.exp(-np.arange(length) / chance.uniform(100, 250))
    return Fall(share * np.exp(noise(length, chance)), share, 0)
