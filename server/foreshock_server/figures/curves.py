"""Columns of one series -> Curve: broken at absences and attempts, thinned to about two thousand points, odd readings apart. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foreshock_server.figures.scene import Curve, SeriesInfo
from foreshock_server.query.downsample import steady
from foreshock_server.store.columns import Columns

POINTS = 2000  # per curve: about what a wide screen can show
DENSE = 150  # readings from which on their medians are drawn over them: noise must not hide the course
COURSE = 100  # about so many medians
MOST_BREAKS = 200  # a line in more pieces is drawn through: the marks of the odd readings tell the story
GAP = 8  # an absence this many times as long as the usual distance between readings breaks the line


def curve(
    info: SeriesInfo,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    attempts: NDArray[np.int32] | None = None,
    points: int = POINTS,
    means: Columns | None = None,
) -> Curve:
    """Readings in the order of (attempt, arrival) -> what is drawn of them; points=0 keeps them all.

    `means`: the course of a series of which only extremes are there, by (attempt, step).
    """
    attempts = np.ones(len(steps), np.int32) if attempts is None else attempts
    order = np.lexsort((steps, attempts))  # stable: writers of one attempt are woven into one line
    steps, values, attempts = steps[order], values[order], attempts[order]
    finite = np.isfinite(values)
    parts = [part for part in _unbroken(steps, finite, attempts) if len(part)]
    odd = np.flatnonzero(~finite)
    total = sum(len(part) for part in parts)
    # Powers of two, so that neither the extremes nor the medians of a live run shift at every update.
    stretch = 2 ** math.ceil(math.log2(2 * total / points)) if 0 < points < total else 1
    kept = [part[steady(values[part], stretch)] for part in parts]
    block = 2 ** math.ceil(math.log2(max(total / COURSE, 1)))
    medians = [_medians(steps[part], values[part], block) for part in parts] if total > DENSE else []
    if means is not None:
        block = 2 ** math.ceil(math.log2(max(len(means) / COURSE, 1)))
        borders = np.flatnonzero(np.diff(means.attempts)) + 1
        lines = zip(np.split(means.steps, borders), np.split(means.values, borders), strict=True)
        medians = [_medians(at, level, block) for at, level in lines if len(at)]
    return Curve(
        info,
        *_join([(steps[keep], values[keep]) for keep in kept]),
        steps[odd],
        values[odd],
        *_join(medians),
    )


def _join(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One line of several pieces: a NaN before each but the first."""
    xs: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    ys: list[NDArray[np.float64]] = [np.empty(0)]
    for x, y in parts:
        if len(xs) > 1:
            xs.append(x[:1])
            ys.append(np.array([np.nan]))
        xs.append(x)
        ys.append(y)
    return np.concatenate(xs), np.concatenate(ys)


def _medians(
    steps: NDArray[np.int64], values: NDArray[np.float64], block: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The median of every `block` consecutive readings, at the middle one's step; what is left over makes the last, shorter block."""
    whole = len(values) // block * block
    middle = steps[block // 2 : whole : block]
    medians = np.median(values[:whole].reshape(-1, block), axis=1)
    if whole < len(values):
        middle = np.append(middle, steps[-1])
        medians = np.append(medians, np.median(values[whole:]))
    return middle, medians


def _unbroken(
    steps: NDArray[np.int64], finite: NDArray[np.bool_], attempts: NDArray[np.int32]
) -> list[NDArray[np.intp]]:
    """Indices of finite readings, split at odd readings, at attempts and at absences."""
    index = np.flatnonzero(finite)
    if len(index) < 2:
        return [index]
    ahead = np.diff(steps)
    usual = float(np.median(ahead[ahead > 0])) if np.any(ahead > 0) else 1.0
    new_attempt = np.diff(attempts[index]) != 0
    odd_between = np.diff(index) > 1  # whatever lay between two finite readings was not finite
    absent = np.diff(steps[index]) > GAP * usual
    breaks = new_attempt | odd_between | absent
    if np.count_nonzero(breaks) > MOST_BREAKS:
        breaks = new_attempt
    return np.split(index, np.flatnonzero(breaks) + 1)
