"""Readings of many series, one series after the other -> row groups of few frames: series with the same steps and times together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from foreshock_server.exchange.readings import Portion

MOST_STEPS = 65_536  # of one row group
MOST_SERIES = 4096  # of one frame


@dataclass(frozen=True)
class Packed:
    """A row group whose frame has no number yet."""

    series: tuple[int, ...]  # their places among the series of the run
    dtype: str
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.floating]  # [n, columns of all the series]


def pack(portions: Sequence[Portion], dtypes: Sequence[str]) -> list[Packed]:
    """Row groups of one writer, in an order that keeps that of each series; `dtypes` of the run's series by place."""
    together: dict[tuple[int, str, bytes, bytes], list[Portion]] = {}
    turns: dict[int, int] = {}
    for portion in portions:
        for piece in _pieces(portion):
            turn = turns[piece.series] = turns.get(piece.series, -1) + 1
            dtype = _dtype(piece.values, dtypes[piece.series])
            alike = (turn, dtype, piece.steps.tobytes(), piece.times.tobytes())
            together.setdefault(alike, []).append(piece)
    packed = []
    for (_, dtype, _, _), pieces in sorted(together.items(), key=lambda one: one[0][0]):
        for start in range(0, len(pieces), MOST_SERIES):
            some = pieces[start : start + MOST_SERIES]
            columns = [one.values.reshape(len(one.steps), -1) for one in some]
            values = np.concatenate(
                columns, axis=1, dtype={"f32": "<f4", "f64": "<f8"}[dtype], casting="same_kind"
            )
            packed.append(
                Packed(tuple(one.series for one in some), dtype, some[0].steps, some[0].times, values)
            )
    return packed


def _pieces(portion: Portion) -> list[Portion]:
    """Cut where steps do not rise, as they must within a row group, and where there are too many."""
    count = len(portion.steps)
    falls = (np.flatnonzero(np.diff(portion.steps) <= 0) + 1).tolist()
    borders = sorted({*falls, *range(0, count, MOST_STEPS), count})
    return [
        Portion(
            portion.series,
            portion.attempt,
            portion.writer,
            portion.steps[i:j],
            portion.times[i:j],
            portion.values[i:j],
        )
        for i, j in pairwise(borders)
    ]


def _dtype(values: NDArray[np.float64], told: str) -> str:
    """f32 when the series was measured so and no bit is lost by it."""
    if told != "f32":
        return "f64"
    with np.errstate(over="ignore", invalid="ignore"):
        back = values.astype("<f4").astype("<f8")
    return "f32" if np.array_equal(back.view("<i8"), values.astype("<f8", copy=False).view("<i8")) else "f64"
