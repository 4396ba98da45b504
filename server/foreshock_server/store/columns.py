"""Segments and blocks -> the columns of single series. What was read of acknowledged blocks is kept until they are sealed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Frame, Writer
from foreshock_server.store import attempts
from foreshock_server.store.attempts import LAST
from foreshock_server.store.gather import Gathered, gather
from foreshock_server.store.layout import Slot, slots
from foreshock_server.store.runs import life_of
from foreshock_server.store.sealed import WriterKey, read_segments

MOST_BYTES = 128 * 2**20  # kept columns, per process and database
MOST_RUNS = 256  # runs whose frames are kept


@dataclass(frozen=True)
class Columns:
    """All readings of one series: by attempt, then writer, then in the order in which they were recorded."""

    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]  # [n]; of a vector [n, entries]
    attempts: NDArray[np.int32]
    parts: tuple[
        tuple[int, str, int], ...
    ] = ()  # as `read` gives them: (attempt, writer, readings) in this order

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class _Part:
    """One writer's readings of one series that are not sealed: of blocks with after < seq <= upto."""

    after: int
    upto: int
    readings: Gathered | None = None  # None: there is no reading; its values are float64

    def behind(self, seq: int) -> _Part:
        """What is left once blocks up to this seq are sealed."""
        if seq <= self.after or self.readings is None:
            return _Part(max(seq, self.after), max(seq, self.upto), self.readings)
        if seq >= self.upto:
            return _Part(seq, seq)
        rest = self.readings.after(seq).copy()  # a view would hold all of it in memory
        return _Part(seq, self.upto, rest if len(rest.seqs) else None)

    def extended(self, upto: int, new: Gathered) -> _Part:
        """With the readings of later blocks."""
        if not len(new.seqs):
            return _Part(self.after, upto, self.readings)
        return _Part(self.after, upto, joined([new] if self.readings is None else [self.readings, new]))


_Kept = Mapping[WriterKey, _Part]
_Slots = dict[tuple[int, str, int], list[Slot]]  # by attempt, writer and frame
_Places = dict[WriterKey, dict[int, list[Slot]]]  # by frame


class _Cache:
    """The least recently read series go first when memory is short. Values are immutable, so readers need no lock.

    `owner` is a run in one of its lives: one that was deleted and imported again may hold other readings under the same numbers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._bytes = 0
        self._frames: OrderedDict[str, _Slots] = OrderedDict()

    def get(self, owner: str, series_id: int) -> _Kept:
        with self._lock:
            kept = self._kept.get((owner, series_id))
            if kept is None:
                return {}
            self._kept.move_to_end((owner, series_id))
            return kept

    def put(self, owner: str, series_id: int, kept: _Kept) -> None:
        with self._lock:
            self._bytes += _size(kept) - _size(self._kept.pop((owner, series_id), {}))
            self._kept[owner, series_id] = kept
            while self._bytes > MOST_BYTES and self._kept:
                self._bytes -= _size(self._kept.popitem(last=False)[1])

    def frames(self, session: Session, run_id: str, owner: str) -> _Slots:
        """The slots of every frame of the run; a frame never changes, so only new ones are read."""
        with self._lock:
            known = self._frames.get(owner, {})
        query = select(Frame.attempt, Frame.writer, Frame.frame).where(Frame.run_id == run_id)
        if set(session.execute(query)) != set(known):
            rows = session.scalars(select(Frame).where(Frame.run_id == run_id))
            known = {(row.attempt, row.writer, row.frame): slots(row) for row in rows}
        with self._lock:
            self._frames[owner] = known
            self._frames.move_to_end(owner)
            while len(self._frames) > MOST_RUNS:
                self._frames.popitem(last=False)
        return known


_caches: WeakKeyDictionary[Any, _Cache] = (
    WeakKeyDictionary()
)  # by engine: two databases may hold runs of one name
_caches_lock = threading.Lock()


def read(
    session: Session,
    run_id: str,
    series_ids: Collection[int],
    first: int | None = None,
    last: int | None = None,
    *,
    superseded: bool = True,
) -> dict[int, Columns]:
    """All readings of these series with first <= step <= last; a series without readings has empty columns.

    `superseded=False` leaves out what a later attempt read anew. In a session of `Database.reading()` only what is new
    since the last read is decoded of blocks. Another session may see what will never be committed, so it decodes
    everything and keeps nothing.
    """
    wanted = set(series_ids)
    resting = read_segments(session, run_id, wanted, first, last)
    fresh = recent(session, run_id, wanted)
    ends = None if superseded else attempts.ends(session, run_id)
    return {
        number: _join(resting.get(number, {}), fresh.get(number, {}), first, last, ends) for number in wanted
    }


def recent(session: Session, run_id: str, wanted: Collection[int]) -> dict[int, dict[WriterKey, Gathered]]:
    """The readings that are not sealed yet, by series and writer, in the order of recording; values are float64."""
    cache = _cache(session) if session.info.get("steady") else _Cache()
    owner = f"{run_id} {life_of(session, run_id)}"
    writers = {
        (attempt, writer): (acked, sealed)
        for attempt, writer, acked, sealed in session.execute(
            select(Writer.attempt, Writer.writer, Writer.acked_seq, Writer.sealed_seq).where(
                Writer.run_id == run_id
            )
        )
    }
    kept: dict[int, dict[WriterKey, _Part]] = {number: dict(cache.get(owner, number)) for number in wanted}
    found: dict[int, dict[WriterKey, Gathered]] = {number: {} for number in wanted}
    for writer, frames in _places(cache.frames(session, run_id, owner), set(wanted)).items():
        acked, sealed = writers[writer]
        parts = {}
        for number in {slot.series_id for of_frame in frames.values() for slot in of_frame}:
            part = kept[number].get(writer)
            # Another reader may have seen more sealed than this session's moment has: then it holds too little for us.
            parts[number] = (
                _Part(sealed, sealed) if part is None or part.after > sealed else part.behind(sealed)
            )
        stored = _blocks_after(session, run_id, writer, min(part.upto for part in parts.values()))
        news = gather(stored, frames)
        for number, part in parts.items():
            new = news[number].after(part.upto) if number in news else None
            settled = None if new is None else new.upto(acked)
            upto = max(part.upto, acked)
            kept[number][writer] = (
                _Part(part.after, upto, part.readings) if settled is None else part.extended(upto, settled)
            )
            now = (
                kept[number][writer]
                if new is None or settled is None or len(settled.seqs) == len(new.seqs)
                else part.extended(upto, new)
            )
            if now.readings is not None:
                found[number][writer] = now.readings
    for number in wanted:
        cache.put(owner, number, kept[number])
    return found


def _cache(session: Session) -> _Cache:
    engine = session.get_bind()
    with _caches_lock:
        return _caches.setdefault(engine, _Cache())


def _places(frames: _Slots, wanted: set[int]) -> _Places:
    places: _Places = {}
    for (attempt, writer, frame), own in frames.items():
        found = [slot for slot in own if slot.series_id in wanted]
        if found:
            places.setdefault((attempt, writer), {})[frame] = found
    return places


def _blocks_after(session: Session, run_id: str, writer: WriterKey, seq: int) -> Iterator[tuple[int, bytes]]:
    query = (
        select(Block.seq, Block.rows)
        .where(Block.run_id == run_id, Block.attempt == writer[0], Block.writer == writer[1], Block.seq > seq)
        .order_by(Block.seq)
        .execution_options(yield_per=500)
    )
    yield from session.execute(query)


def _join(
    resting: Mapping[WriterKey, Gathered],
    fresh: Mapping[WriterKey, Gathered],
    first: int | None,
    last: int | None,
    ends: Mapping[int, int] | None,
) -> Columns:
    parts: list[tuple[WriterKey, Gathered]] = []
    for key in sorted({*resting, *fresh}):
        end = last if ends is None else min(LAST if last is None else last, ends.get(key[0], LAST))
        some = [_within(one[key], first, end) for one in (resting, fresh) if key in one]
        parts += [(key, joined(some))] if any(len(one.seqs) for one in some) else []
    if not parts:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int32))
    sizes = [len(part.seqs) for _, part in parts]
    return Columns(
        np.concatenate([part.steps for _, part in parts]),
        np.concatenate([part.times for _, part in parts]),
        np.concatenate([part.values for _, part in parts]),
        np.repeat(np.array([attempt for (attempt, _), _ in parts], np.int32), sizes),
        tuple((attempt, writer, size) for ((attempt, writer), _), size in zip(parts, sizes, strict=True)),
    )


def joined(parts: Sequence[Gathered]) -> Gathered:
    """One after the other; float32 becomes float64 here."""
    some = [part for part in parts if len(part.seqs)] or list(parts[:1])
    return Gathered(
        np.concatenate([part.seqs for part in some]),
        np.concatenate([part.steps for part in some]),
        np.concatenate([part.times for part in some]),
        np.concatenate([part.values.astype(np.float64, copy=False) for part in some]),
    )


def _within(part: Gathered, first: int | None, last: int | None) -> Gathered:
    if first is None and last is None:
        return part
    keep = np.ones(len(part.steps), np.bool_)
    if first is not None:
        keep &= part.steps >= first
    if last is not None:
        keep &= part.steps <= last
    return Gathered(part.seqs[keep], part.steps[keep], part.times[keep], part.values[keep])


def _size(kept: _Kept) -> int:
    return sum(
        200
        + sum(column.nbytes for column in (part.readings.seqs, part.readings.steps, part.readings.times))
        + part.readings.values.nbytes
        if part.readings is not None
        else 200
        for part in kept.values()
    )
