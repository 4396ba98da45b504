"""One statistic as several ranks read it -> what one process would have read, and each rank's distance from the others. Pure.

Shape suffixes: N steps, R ranks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

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


class Held(NamedTuple):
    """What a rank has of what the ranks hold together. Ranks with the same part and shard hold the same."""

    part: int  # of the rows
    shard: int = 0  # of the columns
    shards: int = 1
    width: int = 1  # columns of the shard


def of_parts(
    how: str,
    over_columns: str,
    held_R: Sequence[Held],
    values_NR: Values,
    weight_NR: Values,
    there_NR: NDArray[np.bool_],
) -> tuple[Values, NDArray[np.bool_]]:
    """One value per step of ranks that share rows or columns, and at which steps it is one: no shard of the columns is missing.

    Of ranks that hold the same the first that is there counts. Then rows are merged by `how`, as by `merged`, and the shards of
    the columns by `over_columns`, of which a mean is weighted by their widths.
    """
    counts_NR = there_NR.copy()
    for same in {(one.part, one.shard) for one in held_R}:
        copies = [r for r, one in enumerate(held_R) if (one.part, one.shard) == same]
        counts_NR[:, copies] &= there_NR[:, copies].cumsum(1) == 1
    shards = sorted({one.shard for one in held_R})
    each, there, widths = [], [], []
    for shard in shards:
        ranks = [r for r, one in enumerate(held_R) if one.shard == shard]
        each.append(merged(how, values_NR[:, ranks], weight_NR[:, ranks], counts_NR[:, ranks]))
        there.append(counts_NR[:, ranks].any(1))
        widths.append(float(held_R[ranks[0]].width))
    each_NC, there_NC = np.stack(each, 1), np.stack(there, 1)
    whole_N = np.asarray(there_NC.all(1) & (len(shards) == held_R[0].shards))
    if len(shards) == 1:
        return each_NC[:, 0], whole_N
    return merged(over_columns, each_NC, np.broadcast_to(widths, each_NC.shape), there_NC), whole_N


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
