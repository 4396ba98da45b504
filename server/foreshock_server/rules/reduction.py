"""Readings of a vector -> the one number a step that a rule compares, and which entry it is of. Pure.

Shape suffixes: N steps, E entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Reduction = Literal["min", "max", "mean", "median", "p10", "p90"]
NO_ENTRY = -1  # where the number is of none, or of several

_QUANTILES = {"p10": 0.1, "median": 0.5, "p90": 0.9}


class Reduced(NamedTuple):
    """A number per step that has one."""

    rows: NDArray[np.intp]  # of the steps that have a reading
    values: NDArray[np.float64]
    entries: NDArray[np.intp]  # the entry that each number is of, or NO_ENTRY


def reduced(how: Reduction, values_NE: NDArray[Any], there_NE: NDArray[np.bool_] | None) -> Reduced:
    """min and max are an entry's, mean and the quantiles (the lower of two) are of all. NaN does not count among numbers,
    and is the reading where there is nothing else: that it came is another rule's news."""
    rows, value_NE, known_NE = _present(values_NE, there_NE)
    known_NE = known_NE & ~np.isnan(value_NE)
    count_N = known_NE.sum(1)
    if how == "mean":
        with np.errstate(invalid="ignore"):
            total_N = np.where(known_NE, value_NE, 0.0).sum(1)
            return Reduced(rows, total_N / np.where(count_N, count_N, np.nan), _nobody(rows))
    sign = -1.0 if how == "max" else 1.0
    order_NE = np.argsort(np.where(known_NE, sign * value_NE, np.nan), axis=1, kind="stable")  # NaN last
    place_N = np.zeros(len(rows), np.intp)
    if how in _QUANTILES:
        place_N = np.floor(_QUANTILES[how] * np.maximum(count_N - 1, 0)).astype(np.intp)
    return _picked(rows, value_NE, order_NE[np.arange(len(rows)), place_N], count_N > 0)


def newsworthy(
    news: Callable[[NDArray[Any]], NDArray[np.bool_]],
    values_NE: NDArray[Any],
    there_NE: NDArray[np.bool_] | None,
) -> Reduced:
    """The first entry that is news, else the first that is there: for rules that look for the odd one."""
    rows, value_NE, known_NE = _present(values_NE, there_NE)
    odd_NE = news(value_NE) & known_NE
    pick_N = np.where(odd_NE.any(1), odd_NE.argmax(1), known_NE.argmax(1))
    return _picked(rows, value_NE, pick_N, np.ones(len(rows), np.bool_))


def _present(
    values_NE: NDArray[Any], there_NE: NDArray[np.bool_] | None
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.bool_]]:
    """The rows with an entry, these as float64, and which of their entries are there."""
    if there_NE is None:
        return (
            np.arange(len(values_NE)),
            values_NE.astype(np.float64),
            np.ones(values_NE.shape, np.bool_),
        )
    rows = np.flatnonzero(there_NE.any(1))
    return rows, values_NE[rows].astype(np.float64), there_NE[rows]


def _picked(
    rows: NDArray[np.intp],
    value_NE: NDArray[np.float64],
    pick_N: NDArray[np.intp],
    known_N: NDArray[np.bool_],
) -> Reduced:
    values_N = np.where(known_N, value_NE[np.arange(len(rows)), pick_N], np.nan)
    return Reduced(rows, values_N, np.where(known_N, pick_N, NO_ENTRY))


def _nobody(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.full(len(rows), NO_ENTRY, np.intp)
