"""(series, step) -> the number that the crash matrix's trainer logs, so that what is stored can be compared without a record.

The policy entropy falls and comes back and the loss is NaN once, so a whole run raises and resolves alerts of two rules.
"""

from __future__ import annotations

import math

STEPS = 400
SERIES = ("policy_entropy", "loss", *(f"noise/{number}" for number in range(6)))
_NAN_AT = 60


def value(series: str, step: int) -> float:
    """The same float64 in every process."""
    if series == "policy_entropy":
        level = math.exp(-step / 40) if step < 150 else min(1.0, (step - 149) / 60)
        return level + 0.01 * math.sin(step)
    if series == "loss":
        return math.nan if step == _NAN_AT else 2.0 / (1 + step) + 0.1 * math.cos(3 * step)
    number = int(series.rpartition("/")[2])
    return math.sin(12.9898 * step + 78.233 * number) * 43758.5453


def row(step: int) -> dict[str, float]:
    """All that one step logs."""
    return {series: value(series, step) for series in SERIES}
