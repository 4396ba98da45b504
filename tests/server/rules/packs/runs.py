"""Readings of one series about a level, and what a rule says of them through the live machinery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foreshock_server.rules.columns import Subject
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import State
from foreshock_server.rules.watch import Change, Watch

NOISE = 0.02


class Verdict(NamedTuple):
    changes: list[Change]
    state: State
    severity: str

    @property
    def says(self) -> str | None:
        return self.severity if self.state is State.FIRING else None


def judge(rule: Rule, readings: Sequence[float] | np.ndarray, every: int = 1) -> Verdict:
    """Of readings at steps 0, every, 2·every, …"""
    values = np.asarray(readings, np.float64)
    watch = Watch.begin(rule, Subject(1, "s", "s", "f", "", "", {}))
    changes: list[Change] = []
    steps = (np.arange(len(values)) * every).tolist()
    times = [float(step) for step in steps]
    watch.see(steps, times, values, attempt=1, order=(0, 0, 0), changes=changes)
    return Verdict(changes, watch.machine.state, watch.machine.severity.value)


def jitter(value: float, count: int, seed: int = 0) -> np.ndarray:
    """A level with a little noise; nothing below zero that was not, no share above one."""
    noisy = value * (1 + NOISE * np.random.default_rng(seed).standard_normal(count))
    return np.minimum(noisy, 1.0) if 0 <= value <= 1 else noisy
