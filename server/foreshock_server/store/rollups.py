"""Readings of series at common steps -> buckets on a grid of steps, from which long ranges are drawn; buckets <-> `Rollup.data`. Pure.

A bucket of level l holds 64 · 8^(l-1) steps: how many readings are finite, how many are not, the mean of the finite ones, the lowest
and the highest with their steps. A reading is a bucket of one step, so one function makes buckets of readings, coarser ones of
finer ones, and one of two: extremes, their steps and counts are the same in whatever order that is done.

Shapes are [K series, B buckets]; suffixes say so where it is not clear from the class.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.store.segments import compress, decompress

LEVELS = (1, 2, 3, 4, 5)
CHUNK = 256  # buckets of one row of the table
_BITS = {level: 6 + 3 * (level - 1) for level in LEVELS}
_CHUNK_BITS = 8
_VERSION = 1
_HEADER = struct.Struct(
    "<BBBxHHII"
)  # version, level, bytes of an extreme, buckets, single ones, bytes of counts, of ids
_NEVER = np.iinfo(np.int64).max
_AT = {1: "<u1", 2: "<u2", 3: "<u2", 4: "<u2", 5: "<u4"}  # where in a bucket: a step from its beginning


@dataclass(frozen=True)
class Buckets:
    """Buckets of one level (0: single steps), `ids` [B] ascending, of K series, the rest [K, B]; `count` 0: no finite reading."""

    ids: NDArray[np.int64]  # step >> bits of the level
    count: NDArray[np.int64]
    nonfinite: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    low_at: NDArray[np.int64]
    high: NDArray[np.float64]
    high_at: NDArray[np.int64]

    def of(self, keep: Any) -> Buckets:
        """Some of the buckets."""
        return Buckets(self.ids[keep], *(column[:, keep] for column in self.columns))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """All but the ids."""
        return (
            self.count,
            self.nonfinite,
            self.mean,
            self.low,
            self.low_at,
            self.high,
            self.high_at,
        )


def width(level: int) -> int:
    """Steps of one bucket."""
    return 1 << _BITS[level]


def chunk_of(ids_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """The chunk that each bucket rests in."""
    return ids_B >> _CHUNK_BITS


def chunks_between(level: int, first: int, last: int) -> tuple[int, int]:
    """The first and the last chunk with a bucket that touches these steps."""
    bits = _BITS[level] + _CHUNK_BITS
    return first >> bits, last >> bits


def level_for(span: int, buckets: int) -> int:
    """The coarsest level that cuts so many steps into at least so many buckets; the finest if none does."""
    return max((level for level in LEVELS if span >> _BITS[level] >= buckets), default=LEVELS[0])


def single(
    steps: NDArray[np.int64], values_KN: NDArray[np.floating[Any]], there_KN: NDArray[np.bool_] | None
) -> Buckets:
    """Readings at these steps, in any order, as buckets of one step each."""
    order = np.argsort(steps, kind="stable")
    steps, sorted_KN = steps[order], values_KN[:, order].astype(np.float64)
    finite_KN = np.isfinite(sorted_KN)
    odd_KN = ~finite_KN
    if there_KN is not None:
        finite_KN, odd_KN = finite_KN & there_KN[:, order], odd_KN & there_KN[:, order]
    number_KN = np.where(finite_KN, sorted_KN, 0.0)
    at_KN = np.broadcast_to(steps, number_KN.shape)
    count_KN, nonfinite_KN = finite_KN.astype(np.int64), odd_KN.astype(np.int64)
    return Buckets(steps, count_KN, nonfinite_KN, number_KN, number_KN, at_KN, number_KN, at_KN)


def coarser(some: Buckets, level: int, below: int = 0) -> Buckets:
    """The buckets of a level from those of one below it (0: from single steps)."""
    shift = _BITS[level] - (_BITS[below] if below else 0)
    return _grouped(some, some.ids >> shift)


def together(some: Sequence[Buckets]) -> Buckets:
    """Several collections of one level and the same series as one."""
    ids_B = np.concatenate([one.ids for one in some])
    columns = (np.concatenate(parts, axis=1) for parts in zip(*(one.columns for one in some), strict=True))
    order = np.argsort(ids_B, kind="stable")
    all_of_them = Buckets(ids_B, *columns).of(order)
    return _grouped(all_of_them, all_of_them.ids)


def stacked(some: Sequence[Buckets | None]) -> Buckets:
    """Buckets of one series each (None: it has none) as buckets of all of them."""
    ids_B = np.unique(np.concatenate([one.ids for one in some if one is not None]))
    shape = (len(some), len(ids_B))
    count_KB, nonfinite_KB = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    mean_KB, low_KB, high_KB = np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf)
    low_at_KB, high_at_KB = np.full(shape, _NEVER), np.full(shape, _NEVER)
    into = (count_KB, nonfinite_KB, mean_KB, low_KB, low_at_KB, high_KB, high_at_KB)
    for k, one in enumerate(some):
        if one is not None:
            at = slice(None) if len(one.ids) == len(ids_B) else np.searchsorted(ids_B, one.ids)
            for column, part in zip(into, one.columns, strict=True):
                column[k, at] = part[0]
    return Buckets(ids_B, *into)


def _grouped(some: Buckets, ids_B: NDArray[np.int64]) -> Buckets:
    """Buckets that get the same id, which lie side by side, as one."""
    if not len(ids_B):
        return some
    starts = np.flatnonzero(np.concatenate([[True], ids_B[1:] != ids_B[:-1]]))
    lengths = np.diff(starts, append=len(ids_B))
    count_KB = np.add.reduceat(some.count, starts, axis=1)
    total_KB = np.repeat(np.maximum(count_KB, 1), lengths, axis=1)
    # Each mean by its share: a sum of large numbers would overflow.
    mean_KB = np.add.reduceat(some.mean * (some.count / total_KB), starts, axis=1)
    there = some.count > 0
    lowest = np.where(there, some.low, np.inf)
    low_KB = np.minimum.reduceat(lowest, starts, axis=1)
    low_at = np.where(there & (lowest == np.repeat(low_KB, lengths, axis=1)), some.low_at, _NEVER)
    highest = np.where(there, some.high, -np.inf)
    high_KB = np.maximum.reduceat(highest, starts, axis=1)
    high_at = np.where(there & (highest == np.repeat(high_KB, lengths, axis=1)), some.high_at, _NEVER)
    return Buckets(
        ids_B[starts],
        count_KB,
        np.add.reduceat(some.nonfinite, starts, axis=1),
        mean_KB,
        low_KB,
        np.minimum.reduceat(low_at, starts, axis=1),
        high_KB,
        np.minimum.reduceat(high_at, starts, axis=1),
    )


def encode(some: Buckets, level: int, itemsizes: Sequence[int]) -> list[bytes]:
    """What rests in `Rollup.data` of each series: its buckets of one chunk; empty bytes for one without a reading.

    `itemsizes`: of the values of each, 4 or 8. A bucket of one reading needs no more than that: what is written seldom costs
    little. Series that were recorded together have readings in the same buckets, and what follows from that is worked out once.
    """
    counts_K2B = np.stack([some.count, some.nonfinite], axis=1).astype("<u4")
    alike: dict[tuple[bytes, int], list[int]] = {}
    for k, itemsize in enumerate(itemsizes):
        alike.setdefault((counts_K2B[k].tobytes(), itemsize), []).append(k)
    found = [b""] * len(itemsizes)
    for (_, itemsize), series in alike.items():
        counts_2B = counts_K2B[series[0]]
        there = counts_2B.any(0)
        if there.any():
            own = [column[np.ix_(series, there)] for column in some.columns]
            encoded = _encode_alike(Buckets(some.ids[there], *own), counts_2B[:, there], level, itemsize)
            for k, data in zip(series, encoded, strict=True):
                found[k] = data
    return found


def _encode_alike(some: Buckets, counts_2B: NDArray[Any], level: int, itemsize: int) -> list[bytes]:
    """Of series with these counts, all of them."""
    extreme, at = np.dtype(f"<f{itemsize}"), np.dtype(_AT[level])
    begin_B = some.ids << _BITS[level]
    some_B, many_B = counts_2B[0] > 0, counts_2B[0] > 1
    counts = compress(counts_2B.tobytes())
    places = compress((some.ids & (CHUNK - 1)).astype("<u1").tobytes())
    header = _HEADER.pack(
        _VERSION, level, itemsize, len(begin_B), int(many_B.sum()), len(counts), len(places)
    )
    head = header + counts + places
    columns = (
        some.mean[:, many_B].astype("<f8"),
        np.where(some_B, some.low, 0.0).astype(extreme),
        some.high[:, many_B].astype(extreme),
        np.where(some_B, some.low_at - begin_B, 0).astype(at),
        (some.high_at - begin_B)[:, many_B].astype(at),
    )
    return [head + b"".join(column[k].tobytes() for column in columns) for k in range(len(some.count))]


@dataclass(frozen=True)
class Means:
    """As much of a chunk as a heatmap needs; `count` 0: no finite reading."""

    ids: NDArray[np.int64]
    count: NDArray[np.int64]
    mean: NDArray[np.float64]


def decode_means(data: bytes, chunk: int) -> Means:
    """Ids, counts and means of a chunk, and nothing else of it."""
    return _Reader(data, chunk).means()


def itemsize_of(data: bytes) -> int:
    """Bytes of the values that the buckets were made of."""
    return int(_HEADER.unpack_from(data)[2])


def decode(data: bytes, chunk: int) -> Buckets:
    """The buckets of one series that rest in a chunk (K = 1); ValueError for bytes of another version."""
    return _Reader(data, chunk).buckets()


class _Reader:
    """The parts of an encoded chunk, found but not converted."""

    def __init__(self, data: bytes, chunk: int) -> None:
        version, level, itemsize, buckets, many, counts, places = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise ValueError(f"a rollup of version {version}; this release reads version {_VERSION}")
        at = _HEADER.size
        raw = np.frombuffer(decompress(data[at : at + counts]), "<u4").reshape(2, -1)
        self.count, self.nonfinite = raw[0].astype(np.int64), raw[1].astype(np.int64)
        at += counts
        inside = np.frombuffer(decompress(data[at : at + places]), np.uint8)
        self.ids = (chunk << _CHUNK_BITS) + inside.astype(np.int64)
        self._data, self._at, self._level = data, at + places, level
        self._extreme, self._buckets, self._many = np.dtype(f"<f{itemsize}"), buckets, many

    def means(self) -> Means:
        mean_M = self._take(np.dtype("<f8"), self._many)
        if self._many == self._buckets:
            return Means(self.ids, self.count, mean_M)
        mean_B = self._take(self._extreme, self._buckets).astype(np.float64)
        mean_B[self.count > 1] = mean_M
        return Means(self.ids, self.count, mean_B)

    def buckets(self) -> Buckets:
        many_B, some_B = self.count > 1, self.count > 0
        mean_M = self._take(np.dtype("<f8"), self._many)
        low_B = self._take(self._extreme, self._buckets).astype(np.float64)
        high_M = self._take(self._extreme, self._many)
        at = np.dtype(_AT[self._level])
        begin_B = self.ids << _BITS[self._level]
        low_at_B = begin_B + self._take(at, self._buckets).astype(np.int64)
        high_at_M = self._take(at, self._many).astype(np.int64)
        mean_B, high_B, high_at_B = low_B.copy(), low_B.copy(), low_at_B.copy()
        mean_B[many_B], high_B[many_B] = mean_M, high_M
        high_at_B[many_B] = begin_B[many_B] + high_at_M
        low_B, high_B = np.where(some_B, low_B, np.inf), np.where(some_B, high_B, -np.inf)
        low_at_B, high_at_B = np.where(some_B, low_at_B, _NEVER), np.where(some_B, high_at_B, _NEVER)
        return Buckets(
            self.ids,
            self.count[None],
            self.nonfinite[None],
            mean_B[None],
            low_B[None],
            low_at_B[None],
            high_B[None],
            high_at_B[None],
        )

    def _take(self, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
        found = np.frombuffer(self._data, dtype, size, self._at)
        self._at += size * dtype.itemsize
        return found
