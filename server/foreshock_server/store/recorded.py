"""What a run's writers recorded of some series, sealed and fresh, in the order in which they recorded it: a portion at a time.

Rules see again what they saw while the run went on: the same readings, in the same row groups or in longer ones of the same order.
Only one portion is in memory, which is as much as was sealed at once, and of it only the series that are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Clock as ClockTable
from foreshock_server.models import Segment, Writer
from foreshock_server.store.blocks import Portion, RowGroup, StoredBlock, portion
from foreshock_server.store.layout import Slot, slots
from foreshock_server.store.sealed import portions
from foreshock_server.store.segments import Clock, decode_clock, decode_values
from foreshock_server.store.series import frames

WriterKey = tuple[int, str]  # attempt, writer
MOST_POINTS = 1_000_000  # readings of fresh blocks at once
MOST_ROWS = 4096  # of a row group: what judges it works on all of its columns together


class _Sealed(NamedTuple):
    """A row of `clocks`, without its data."""

    frame: int
    first_seq: int
    last_seq: int


@dataclass
class _Written:
    """What is known of one writer before its readings are read."""

    acked: int
    sealed: int
    slots: dict[int, list[Slot]]  # by frame, those asked for, as they lie in the frame
    narrow: dict[int, list[Slot]]  # the same, as they lie in what is given
    stretches: list[list[_Sealed]] = field(default_factory=list)  # what overlaps, in the order of seq


class Recording:
    """Of one run. `wanted`: the ids of the series; readings of others are not given. `clocks`: the steps of frames without any of
    them are, as somebody wants to know that the run went on without."""

    def __init__(
        self, session: Session, run_id: str, wanted: Collection[int], *, clocks: bool = False
    ) -> None:
        self._run_id = run_id
        chosen = set(wanted)
        query = select(Writer).where(Writer.run_id == run_id)
        self._writers: dict[WriterKey, _Written] = {}
        for row in session.scalars(query):
            key = (row.attempt, row.writer)
            found = {
                number: [slot for slot in slots(frame) if slot.series_id in chosen]
                for number, frame in frames(session, run_id, *key).items()
            }
            kept = {number: some for number, some in found.items() if some or clocks}
            narrow = {number: _narrow(some) for number, some in kept.items()}
            self._writers[key] = _Written(row.acked_seq, row.sealed_seq, kept, narrow)

    @property
    def reach(self) -> dict[WriterKey, int]:
        """The acknowledged seq of each writer that recorded some of it, in the order of attempts."""
        return {key: one.acked for key, one in sorted(self._writers.items()) if one.slots}

    def layouts(
        self, session: Session, run_id: str, writer: WriterKey, numbers: Collection[int]
    ) -> Mapping[int, Sequence[Slot]]:
        """Where the series lie in the values of `portion`."""
        return {number: self._writers[writer].narrow[number] for number in numbers}

    def portion(self, session: Session, run_id: str, writer: WriterKey, after: int, acked: int) -> Portion:
        """What the writer recorded next behind this seq."""
        one = self._writers[writer]
        if after < one.sealed:
            return self._at_rest(session, writer, one, after)
        found = portion(session, self._run_id, *writer, after, acked, MOST_POINTS)
        blocks = [
            StoredBlock(block.seq, block.received_at, _narrowed(one, block.rows)) for block in found.blocks
        ]
        return Portion(blocks, found.upto)

    def _at_rest(self, session: Session, writer: WriterKey, one: _Written, after: int) -> Portion:
        if not one.stretches:
            one.stretches = _stretches(self._clocks(session, writer, one.slots))
        for place, some in enumerate(one.stretches):
            if some[0].first_seq <= after:
                continue
            last = place == len(one.stretches) - 1
            upto = one.sealed if last else max(each.last_seq for each in some)
            groups = [
                group for each in some for group in self._groups(session, writer, one, each, len(some) == 1)
            ]
            return Portion([StoredBlock(upto, 0.0, _joined(groups))], upto)
        return Portion([], one.sealed)

    def _clocks(self, session: Session, writer: WriterKey, numbers: Iterable[int]) -> list[_Sealed]:
        query = select(ClockTable.frame, ClockTable.first_seq, ClockTable.last_seq).where(
            ClockTable.run_id == self._run_id, ClockTable.attempt == writer[0], ClockTable.writer == writer[1]
        )
        known = set(numbers)
        return [_Sealed(*row) for row in session.execute(query) if row.frame in known]

    def _groups(
        self, session: Session, writer: WriterKey, one: _Written, each: _Sealed, alone: bool
    ) -> list[tuple[int, int, RowGroup]]:
        """Its row groups, with the block of each and their place in it; where no other frame takes turns with it, longer ones."""
        of = (self._run_id, *writer, each.frame, each.first_seq)
        data = session.scalars(
            select(ClockTable.data).where(
                ClockTable.run_id == of[0],
                ClockTable.attempt == of[1],
                ClockTable.writer == of[2],
                ClockTable.frame == of[3],
                ClockTable.first_seq == of[4],
            )
        ).one()
        clock = decode_clock(data)
        values, absent = _matrix(session, of, one.slots[each.frame], one.narrow[each.frame], len(clock.steps))
        rows = len(clock.steps)
        if alone:
            ends = [*range(MOST_ROWS, rows, MOST_ROWS), rows]
            return _split(each.frame, clock, values, absent, range(len(ends)), range(len(ends)), ends)
        ends = np.cumsum(clock.lengths).tolist()
        return _split(each.frame, clock, values, absent, clock.seqs.tolist(), clock.places.tolist(), ends)


def _matrix(
    session: Session,
    of: tuple[str, int, str, int, int],
    places: Sequence[Slot],
    narrow: Sequence[Slot],
    rows: int,
) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_] | None]:
    """The values of these series at the rows of one clock, and where there is none."""
    found: dict[int, bytes] = {}
    for some in portions([slot.series_id for slot in places]):
        query = select(Segment.series_id, Segment.data).where(
            Segment.run_id == of[0],
            Segment.series_id.in_(some),
            Segment.attempt == of[1],
            Segment.writer == of[2],
            Segment.frame == of[3],
            Segment.first_seq == of[4],
        )
        found.update((number, data) for number, data in session.execute(query))
    values: NDArray[np.floating[Any]] | None = None
    absent = np.ones((rows, narrow[-1].columns.stop if narrow else 0), np.bool_)
    for slot in narrow:
        if slot.series_id not in found:
            continue
        numbers, there = decode_values(found[slot.series_id], rows)
        if values is None:
            values = np.full(absent.shape, np.nan, numbers.dtype)
        keep: Any = slice(None) if there is None else there
        slot.of(values)[keep] = numbers
        slot.of(absent)[keep] = False
    if values is None:
        values = np.full(absent.shape, np.nan, np.float32)
    return values, absent if absent.any() else None


def _split(
    frame: int,
    clock: Clock,
    values: NDArray[np.floating[Any]],
    absent: NDArray[np.bool_] | None,
    seqs: Sequence[int],
    places: Sequence[int],
    ends: Sequence[int],
) -> list[tuple[int, int, RowGroup]]:
    found = []
    begin = 0
    for seq, place, end in zip(seqs, places, ends, strict=True):
        part = slice(begin, end)
        gone = None if absent is None else absent[part]
        found.append((seq, place, RowGroup(frame, clock.steps[part], clock.times[part], values[part], gone)))
        begin = end
    return found


def _joined(found: list[tuple[int, int, RowGroup]]) -> list[RowGroup]:
    """In the order of recording; those of one frame that follow one another become one."""
    found.sort(key=lambda one: one[:2])
    runs: list[list[RowGroup]] = []
    rows = 0
    for _, _, group in found:
        if runs and runs[-1][0].frame == group.frame and rows + len(group.steps) <= MOST_ROWS:
            runs[-1].append(group)
            rows += len(group.steps)
        else:
            runs.append([group])
            rows = len(group.steps)
    return [_one(run) for run in runs]


def _one(run: Sequence[RowGroup]) -> RowGroup:
    if len(run) == 1:
        return run[0]
    absent = None
    if any(group.absent is not None for group in run):
        absent = np.concatenate([_gone(group) for group in run])
    return RowGroup(
        run[0].frame,
        np.concatenate([group.steps for group in run]),
        np.concatenate([group.times for group in run]),
        np.concatenate([group.values for group in run]),
        absent,
    )


def _gone(group: RowGroup) -> NDArray[np.bool_]:
    return np.zeros(group.values.shape, np.bool_) if group.absent is None else group.absent


def _stretches(clocks: list[_Sealed]) -> list[list[_Sealed]]:
    """Those whose blocks lie among one another stand together."""
    found: list[list[_Sealed]] = []
    reached = -1
    for one in sorted(clocks, key=lambda clock: clock.first_seq):
        if found and one.first_seq <= reached:
            found[-1].append(one)
        else:
            found.append([one])
        reached = max(reached, one.last_seq)
    return found


def _narrow(places: Sequence[Slot]) -> list[Slot]:
    """The same slots, as they lie when nothing else is there."""
    found, first = [], 0
    for slot in places:
        found.append(slot._replace(first=first))
        first = found[-1].columns.stop
    return found


def _narrowed(one: _Written, groups: Iterable[RowGroup]) -> list[RowGroup]:
    found = []
    for group in groups:
        places = one.slots.get(group.frame)
        if places is None:
            continue
        columns = np.concatenate(
            [np.empty(0, np.intp), *(np.arange(slot.columns.start, slot.columns.stop) for slot in places)]
        )
        absent = None if group.absent is None else group.absent[:, columns]
        found.append(RowGroup(group.frame, group.steps, group.times, group.values[:, columns], absent))
    return found
