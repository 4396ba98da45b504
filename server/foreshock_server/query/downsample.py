"""Readings -> the few of them that draw the same line: extremes stay, and every reading that is not finite stays. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tsdownsample import MinMaxDownsampler, MinMaxLTTBDownsampler

_FEWEST = 8  # per attempt: its ends and its extremes


def thin(
    steps: NDArray[np.int64], values: NDArray[np.float64], attempts: NDArray[np.int32], points: int
) -> NDArray[np.intp]:
    """Indices of about `points` finite readings, ascending, and of none that is not finite.

    Expects readings ordered by (attempt, step); each attempt gets its share of the points, because steps
    begin again where a run was resumed.
    """
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite) <= points:
        return finite
    borders = np.flatnonzero(np.diff(attempts[finite])) + 1
    parts = []
    for part in np.split(finite, borders):
        share = max(_FEWEST, round(points * len(part) / len(finite)))
        parts.append(part[_thin_one(steps[part], values[part], share)])
    return np.concatenate(parts)


def steady(values: NDArray[np.float64], stretch: int) -> NDArray[np.intp]:
    """Indices of both extremes of every `stretch` finite readings, and of the first and the last reading, ascending.

    Readings that come later change nothing before the last stretch.
    """
    if stretch == 1 or len(values) == 0:
        return np.arange(len(values))
    whole = len(values) // stretch * stretch
    begins = np.arange(0, whole, stretch)
    rows, rest = values[:whole].reshape(-1, stretch), values[whole:]
    ends = [whole + int(rest.argmin()), whole + int(rest.argmax())] if len(rest) else []
    return np.unique(
        np.concatenate(
            [begins + rows.argmin(axis=1), begins + rows.argmax(axis=1), [0, *ends, len(values) - 1]]
        )
    ).astype(np.intp)


def _thin_one(steps: NDArray[np.int64], values: NDArray[np.float64], points: int) -> NDArray[np.intp]:
    if len(steps) <= points:
        return np.arange(len(steps))
    x, y = steps.astype(np.float64), np.ascontiguousarray(values)
    # MinMaxLTTB draws the best line but now and then passes a spike by for a larger triangle (measured: 1 in 900
    # single spikes in noise); MinMax alone promises both extremes of every stretch. Half of the points for each.
    shape = MinMaxLTTBDownsampler().downsample(  # type: ignore[no-untyped-call]  # tsdownsample leaves it untyped
        x, y, n_out=_even(points - points // 2)
    )
    extremes = MinMaxDownsampler().downsample(  # type: ignore[no-untyped-call]  # the same
        x, y, n_out=_even(points // 2)
    )
    return np.unique(np.concatenate([shape, extremes]).astype(np.intp))


def _even(points: int) -> int:
    return max(4, points // 2 * 2)  # MinMax keeps two of every stretch
