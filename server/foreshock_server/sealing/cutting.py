"""Decoded blocks of one writer -> the clock, segment and rollup rows that replace them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foreshock_server.models import Frame
from foreshock_server.store.blocks import StoredBlock
from foreshock_server.store.layout import Slot, slots
from foreshock_server.store.rollups import LEVELS, Buckets, coarser, single
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.sealed import ClockRow, SegmentRow
from foreshock_server.store.segments import Clock, encode_clock, encode_values

SLAB = 2**19  # values worked on at once


@dataclass(frozen=True)
class Place:
    """Whose blocks they are."""

    run_id: str
    attempt: int
    writer: str


@dataclass(frozen=True)
class Cut:
    """The rows of one frame."""

    frame: Frame
    clock: Clock
    values: NDArray[np.floating[Any]]  # n × columns
    absent: NDArray[np.bool_] | None

    @property
    def first_seq(self) -> int:
        """Of the block that brought its first row."""
        return int(self.clock.seqs[0])


def cut(blocks: Iterable[StoredBlock], frames: Mapping[int, Frame]) -> list[Cut]:
    """The rows of these blocks by frame, in the order in which they were recorded."""
    found: dict[int, list[tuple[int, int, RowGroup]]] = {}
    for block in blocks:
        for place, group in enumerate(block.rows):
            found.setdefault(group.frame, []).append((block.seq, place, group))
    return [_cut(frames[number], groups) for number, groups in sorted(found.items())]


def _cut(frame: Frame, found: Sequence[tuple[int, int, RowGroup]]) -> Cut:
    groups = [group for _, _, group in found]
    clock = Clock(
        np.array([seq for seq, _, _ in found], np.int64),
        np.array([place for _, place, _ in found], np.int64),
        np.array([len(group.steps) for group in groups], np.int64),
        np.concatenate([group.steps for group in groups]),
        np.concatenate([group.times for group in groups]),
    )
    absent = None
    if any(group.absent is not None for group in groups):
        gone = [
            np.zeros(group.values.shape, np.bool_) if group.absent is None else group.absent
            for group in groups
        ]
        absent = np.concatenate(gone)
    return Cut(frame, clock, np.concatenate([group.values for group in groups]), absent)


def clock_row(of: Place, one: Cut) -> ClockRow:
    """The row of `clocks`."""
    steps = one.clock.steps
    return ClockRow(
        of.run_id,
        of.attempt,
        of.writer,
        one.frame.frame,
        one.first_seq,
        int(one.clock.seqs[-1]),
        len(steps),
        int(steps.min()),
        int(steps.max()),
        float(one.clock.times[0]),
        float(one.clock.times[-1]),
        encode_clock(one.clock),
    )


def segment_rows(of: Place, one: Cut) -> Iterator[SegmentRow]:
    """A row of `segments` for each series that has a reading."""
    reach = (int(one.clock.steps.min()), int(one.clock.steps.max()))
    for slot in slots(one.frame):
        there: NDArray[np.bool_] | None = None
        values = np.ascontiguousarray(slot.of(one.values))
        if one.absent is not None:
            there = here = ~slot.of(one.absent)
            if slot.width is not None:
                # An entry without a reading beside others that have one reads NaN, as it does in a block.
                values = np.where(here, values, np.array(np.nan, values.dtype))
                there = np.asarray(here.any(1))
            values = values[there]
            if not len(values):
                continue
            steps = one.clock.steps[there]
            reach = (int(steps.min()), int(steps.max()))
        finite = np.isfinite(values)
        whole = bool(finite.all())
        numbers = values if whole else values[finite]
        odd = 0 if whole else int(np.count_nonzero(~finite if slot.width is None else ~finite.all(1)))
        yield SegmentRow(
            of.run_id,
            slot.series_id,
            of.attempt,
            of.writer,
            one.frame.frame,
            one.first_seq,
            *reach,
            len(values),
            odd,
            float(numbers.min()) if numbers.size else None,
            float(numbers.max()) if numbers.size else None,
            encode_values(values, there),
        )


def slabs(one: Cut) -> Iterator[list[Slot]]:
    """The numbers of the frame, so many series at a time that memory stays small. Vectors have no rollups."""
    numbers = [slot for slot in slots(one.frame) if slot.width is None]
    size = max(1, SLAB // len(one.values))
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def rollups(one: Cut, some: Sequence[Slot]) -> dict[int, Buckets]:
    """By level the buckets of these series."""
    columns = [slot.first for slot in some]
    values_KN = np.ascontiguousarray(one.values[:, columns].T)
    there_KN = None if one.absent is None else ~one.absent[:, columns].T
    found: dict[int, Buckets] = {}
    below, finer = 0, single(one.clock.steps, values_KN, there_KN)
    for level in LEVELS:
        finer = coarser(finer, level, below)
        found[level], below = finer, level
    return found
