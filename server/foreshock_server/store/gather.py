"""Encoded blocks of one writer -> the readings of single series: one pass over the blocks, however many series are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.store.layout import Slot
from foreshock_server.store.rows import RowGroup, decode_rows


@dataclass(frozen=True)
class Gathered:
    """Readings of one series in the order in which they were recorded, with the seq of the block that brought each.

    `values` are [n] of a number, [n, entries] of a vector; an entry without a reading beside others that have one is NaN.
    """

    seqs: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.floating[Any]]

    def after(self, seq: int) -> Gathered:
        """Those of later blocks."""
        return self._from(slice(int(np.searchsorted(self.seqs, seq, side="right")), None))

    def upto(self, seq: int) -> Gathered:
        """Those of this and earlier blocks."""
        return self._from(slice(None, int(np.searchsorted(self.seqs, seq, side="right"))))

    def copy(self) -> Gathered:
        """The same in memory of its own."""
        return Gathered(self.seqs.copy(), self.steps.copy(), self.times.copy(), self.values.copy())

    def _from(self, part: slice) -> Gathered:
        return Gathered(self.seqs[part], self.steps[part], self.times[part], self.values[part])


@dataclass
class _Frame:
    """The wanted columns of one frame, block by block: cheaper than column by column, which would be Python's loop."""

    slots: Sequence[Slot]
    seqs: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # of the row group among all of the writer
    steps: list[NDArray[np.int64]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    values: list[NDArray[Any]] = field(default_factory=list)
    absent: list[NDArray[np.bool_] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.positions = np.concatenate(
            [np.arange(one.columns.start, one.columns.stop) for one in self.slots]
        )

    def add(self, seq: int, place: int, group: RowGroup) -> None:
        self.seqs.append(seq)
        self.places.append(place)
        self.steps.append(group.steps)
        self.times.append(group.times)
        self.values.append(group.values[:, self.positions])
        self.absent.append(None if group.absent is None else group.absent[:, self.positions])

    def columns(self) -> list[tuple[NDArray[np.int64], Gathered]]:
        """For each wanted position its readings, with their place among all row groups."""
        if not self.seqs:
            return []
        lengths = [len(steps) for steps in self.steps]
        seqs, places = np.repeat(self.seqs, lengths), np.repeat(self.places, lengths)
        steps, times = np.concatenate(self.steps), np.concatenate(self.times)
        values = np.concatenate(self.values)
        there = None
        if any(absent is not None for absent in self.absent):
            shapes = zip(self.absent, self.values, strict=True)
            there = ~np.concatenate([np.zeros(v.shape, np.bool_) if a is None else a for a, v in shapes])
        columns, first = [], 0
        for slot in self.slots:
            own = slot._replace(first=first)  # among the wanted columns
            first = own.columns.stop
            keep: Any = slice(None)
            numbers = own.of(values)
            if there is not None and slot.width is None:
                keep = own.of(there)
            elif there is not None:
                keep = own.of(there).any(1)
                numbers = np.where(own.of(there), numbers, np.array(np.nan, numbers.dtype))
            columns.append((places[keep], Gathered(seqs[keep], steps[keep], times[keep], numbers[keep])))
        return columns


def gather(blocks: Iterable[tuple[int, bytes]], frames: Mapping[int, Sequence[Slot]]) -> dict[int, Gathered]:
    """Readings by series id. `blocks` are (seq, rows) by seq; `frames` says which slots of each to take."""
    wanted = {number: _Frame(found) for number, found in frames.items()}
    place = 0
    for seq, data in blocks:
        for group in decode_rows(data):
            place += 1
            frame = wanted.get(group.frame)
            if frame is not None:
                frame.add(seq, place, group)
    found: dict[int, list[tuple[NDArray[np.int64], Gathered]]] = {}
    for number, frame in wanted.items():
        for slot, column in zip(frames[number], frame.columns(), strict=False):
            found.setdefault(slot.series_id, []).append(column)
    return {series_id: _merge(columns) for series_id, columns in found.items()}


def _merge(columns: Sequence[tuple[NDArray[np.int64], Gathered]]) -> Gathered:
    """One series that several frames hold: in the order of its row groups."""
    if len(columns) == 1:
        return columns[0][1]
    order = np.argsort(np.concatenate([places for places, _ in columns]), kind="stable")
    parts = [one for _, one in columns]
    return Gathered(
        np.concatenate([one.seqs for one in parts])[order],
        np.concatenate([one.steps for one in parts])[order],
        np.concatenate([one.times for one in parts])[order],
        np.concatenate([one.values for one in parts])[order],
    )
