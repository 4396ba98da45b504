"""The outcome curves of a collapsing run and of healthy ones -> the first step at which somebody who looks at the outcome could know.

A curve is smoothed by the median of its last SMOOTHED logs. The collapse *shows* at the first log from which on, for SHOWN logs in a
row, the smoothed outcome is worse than that of every healthy run at the same step: worse than anything a healthy training does at this
age. That is a generous judge: nobody who watches one run has ten healthy ones beside it. A log counts from its first of those, which
is earlier than anybody could be sure; both make the lead of an alarm shorter than a person would find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tests.zoo.judging.trial import Curve

SMOOTHED = 5
SHOWN = 8


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each value and up to four before it; a NaN among them is one that is worse than any number."""
    padded = np.concatenate([np.full(SMOOTHED - 1, np.nan), values])
    windows = sliding_window_view(padded, SMOOTHED)
    return np.array([np.median(one[max(0, SMOOTHED - 1 - i) :]) for i, one in enumerate(windows)])


def shows(collapsing: Curve, healthy: Sequence[Curve], better: Literal["high", "low"]) -> int | None:
    """The step; None: the outcome never shows it."""
    sign = 1.0 if better == "high" else -1.0
    mine = _goodness(collapsing, sign)
    worst = np.min([_at(one, collapsing.steps, sign) for one in healthy], axis=0)
    worse = mine < worst
    for first in range(len(worse) - SHOWN + 1):
        if worse[first : first + SHOWN].all():
            return int(collapsing.steps[first])
    return None


def _goodness(curve: Curve, sign: float) -> NDArray[np.float64]:
    found = sign * smoothed(curve.values)
    return np.where(np.isnan(found), -np.inf, found)


def _at(curve: Curve, steps: NDArray[np.int64], sign: float) -> NDArray[np.float64]:
    """Its smoothed outcome as it was last known at these steps; before its first log anything is possible."""
    places = np.searchsorted(curve.steps, steps, side="right") - 1
    return np.where(places < 0, -np.inf, _goodness(curve, sign)[np.maximum(places, 0)])
