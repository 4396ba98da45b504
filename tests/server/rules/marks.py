"""A detector's verdicts as letters, and readings that no training brings."""

from __future__ import annotations

import math
import random

nan, inf = math.nan, math.inf


def readings(detector, values, steps=None):
    memory, said = detector.initial(), []
    for step, value in zip(steps or range(len(values)), values, strict=True):
        memory, reading = detector.update(memory, step, value)
        said.append(reading)
    return said


def drawn(said):
    """`x` breach, `X` critical, `.` clear, `-` between, `?` cannot tell."""

    def letter(reading):
        if reading.breach is None:
            return "?"
        if reading.breach:
            return "X" if reading.critical else "x"
        return "." if reading.clear else "-"

    return "".join(letter(one) for one in said)


def wild(length, seed):
    """Falling noise with NaN, infinities, zeros and the ends of float64 in between."""
    chance = random.Random(seed)
    return [
        chance.choice([nan, inf, -inf, 0.0, -1.0, 1e300, 1e-300])
        if chance.random() < 0.1
        else chance.lognormvariate(0, 1) * math.exp(-i / 200)
        for i in range(length)
    ]
