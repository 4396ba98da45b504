"""Runs of one series, drawn from a case or from synthetic healthy shapes, and what a rule says of them through the live machinery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tests.server.rules.packs.cases import Case

from foreshock_server.rules.columns import Subject
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.state import State
from foreshock_server.rules.watch import Change, Watch

LONG = 500  # records of health before the fall, beyond what the rule waits for
PACE = 150  # records that a fall takes
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


def wait_of(rule: Rule, every: int) -> int:
    """Records that the rule lets pass before its baseline, or for one stretch of anything else."""
    longest = max(rule.warmup_steps, rule.for_steps, rule.keep_firing_steps)
    return LONG + longest // every


def jitter(value: float, count: int, seed: int = 0) -> np.ndarray:
    """A level with a little noise; nothing below zero that was not, no share above one."""
    noisy = value * (1 + NOISE * np.random.default_rng(seed).standard_normal(count))
    return np.minimum(noisy, 1.0) if 0 <= value <= 1 else noisy


def fall(case: Case) -> np.ndarray:
    """From health to sickness, not counting either end; of positive levels by equal factors."""
    if case.sharp:
        return np.empty(0)
    if case.healthy > 0 and case.sick > 0:
        return np.geomspace(case.healthy, case.sick, PACE)
    return np.linspace(case.healthy, case.sick, PACE)


def falls_ill(rule: Rule, case: Case) -> tuple[np.ndarray, int]:
    """Healthy, then ill and staying so; and the record at which the fall begins."""
    count = wait_of(rule, case.every)
    return np.concatenate([jitter(case.healthy, count), fall(case), jitter(case.sick, count, 1)]), count


def recovers(rule: Rule, case: Case) -> np.ndarray:
    """The same, and well again."""
    ill, count = falls_ill(rule, case)
    return np.concatenate([ill, fall(case)[::-1], jitter(case.healthy, count, 2)])
