"""One statistic as several ranks read it -> what one process would have read, and each rank's distance from the others. Pure.

Shape suffixes: N steps, R ranks.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

ROUNDING = 1e-6  # of the value: ranks that differ by less agree
FARTHEST = 1e6  # where a distance ends, so that one infinity does not hide the rest


def merged(how: str, values_NR: Values, weight_NR: Values, there_NR: NDArray[np.bool_]) -> Values:
    """One value per step from those that are there. NaN of a rank that measured nothing (weight 0) does not count.

    `how`: sum · mean (by weight) · max · min · norm (root of the sum of squares).
    """
    if how == "mean":
        counts_NR = there_NR & (weight_NR > 0)
        weight_NR = np.where(counts_NR, weight_NR, 0.0)
        total_N = weight_NR.sum(1)
        part_NR = np.where(counts_NR, values_NR, 0.0) * weight_NR
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(part_NR.sum(1) / total_N)
    if how == "sum":
        return np.asarray(np.where(there_NR, values_NR, 0.0).sum(1))
    if how == "norm":
        largest_N = np.abs(np.where(there_NR, values_NR, 0.0)).max(1)
        scale_N = np.where((largest_N > 0) & np.isfinite(largest_N), largest_N, 1.0)
        scaled_NR = np.where(there_NR, values_NR, 0.0) / scale_N[:, None]
        return np.asarray(np.sqrt((scaled_NR**2).sum(1)) * scale_N)
    if how == "max":
        return np.asarray(np.where(there_NR, values_NR, -np.inf).max(1))
    if how == "min":
        return np.asarray(np.where(there_NR, values_NR, np.inf).min(1))
    raise ValueError(f"ranks cannot be merged by {how!r}")


def distances(values_NR: Values, there_NR: NDArray[np.bool_]) -> Values:
    """|value − median of the ranks| per step and rank, of two ranks |value − the other's|; infinite for a rank that is not
    finite while others are; NaN where it cannot be said: the rank is not there, or no other is."""
    finite_NR = there_NR & np.isfinite(values_NR)
    known_NR = np.where(finite_NR, values_NR, np.nan)
    count_N = finite_NR.sum(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # steps without a finite rank
        distance_NR = np.abs(known_NR - np.nanmedian(known_NR, axis=1, keepdims=True))
    distance_NR[count_N == 2] *= 2.0  # the median lies halfway
    distance_NR[count_N < 2] = np.nan
    distance_NR[there_NR & ~finite_NR & (count_N > 0)[:, None]] = np.inf
    return np.asarray(distance_NR)


def usual(distance_NR: Values, values_NR: Values, there_NR: NDArray[np.bool_]) -> Values:
    """Per step the middle distance between the ranks: the yardstick of a statistic; NaN where there is none."""
    finite_NR = np.where(np.isfinite(distance_NR), distance_NR, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # steps with one rank
        between_N = np.nanmedian(finite_NR, axis=1)
        size_N = np.nanmedian(np.where(there_NR & np.isfinite(values_NR), np.abs(values_NR), np.nan), axis=1)
    return np.asarray(np.maximum(between_N, ROUNDING * size_N))


def disagreement(distance_SNR: Values, yardstick_S: Values) -> Values:
    """Per step and rank: its distance from the others in multiples of the usual one, upper quartile over the statistics.

    About 2 for ranks that see different data of one kind; a rank that is wrong in a quarter of its statistics stands out.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        multiple_SNR = np.minimum(distance_SNR / yardstick_S[:, None, None], FARTHEST)
    multiple_SNR = np.where(distance_SNR == 0.0, 0.0, multiple_SNR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a rank that is not there
        return np.asarray(np.nanpercentile(multiple_SNR, 75, axis=0))
