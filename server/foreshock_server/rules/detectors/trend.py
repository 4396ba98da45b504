"""Points -> the line that most of their pairs agree on (Theil-Sen), robust against outliers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def slopes_between(x_K: NDArray[np.float64], y_K: NDArray[np.float64]) -> NDArray[np.float64]:
    """The slope of each pair of points of which the later one lies farther to the right; K points, at most K (K - 1) / 2 slopes."""
    i, j = pairs_of(len(x_K))
    apart = x_K[j] - x_K[i]
    forward = apart > 0
    return np.asarray((y_K[j] - y_K[i])[forward] / apart[forward], np.float64)


@lru_cache(maxsize=64)
def pairs_of(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """All pairs (i, j) with i < j < count."""
    i, j = np.triu_indices(count, 1)
    return i, j


def middle_of_array(values: NDArray[np.float64]) -> float:
    """np.median, without the eight tenths of its time that it spends on axes and NaNs."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    parted = np.partition(values, (half - 1, half))
    return float(parted[half - 1] + parted[half]) / 2.0


def running_middles(before: Sequence[float], values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Of each of these values, the median of the last `width` up to it; `before`: the last ones before them, `width` at least."""
    if width == 1:
        return values
    joined = np.concatenate([np.asarray(before[-(width - 1) :], np.float64), values])
    ordered_NW = np.sort(joined[_windows(len(values), width)], axis=1)
    half = width // 2
    if width % 2:
        return np.asarray(ordered_NW[:, half], np.float64)
    with np.errstate(over="ignore"):  # of two huge numbers, as Python does it
        return np.asarray((ordered_NW[:, half - 1] + ordered_NW[:, half]) / 2, np.float64)


@lru_cache(maxsize=512)
def _windows(count: int, width: int) -> NDArray[np.intp]:
    """The places of each of so many windows, one farther on than the other."""
    return np.asarray(np.add.outer(np.arange(count), np.arange(width)), np.intp)
