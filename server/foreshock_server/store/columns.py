"""Blocks -> the columns of single series. What was read of acknowledged blocks is kept: that part never changes again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Frame, Writer
from foreshock_server.store.gather import Gathered, gather

MOST_BYTES = 128 * 2**20  # kept columns, per process and database
MOST_RUNS = 256  # runs whose frames are kept
GLIMPSE = 400  # blocks from which an overview of a long run is drawn

WriterKey = tuple[int, str]  # attempt, writer


@dataclass(frozen=True)
class Columns:
    """All readings of one series: by attempt, then writer, then in the order in which they were recorded."""

    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    attempts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class _Part:
    """One writer's readings of one series, as far as its blocks were read."""

    upto: int = 0  # seq of the last block in it
    steps: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def extended(self, upto: int, new: Gathered) -> _Part:
        if not len(new.seqs):
            return _Part(upto, self.steps, self.times, self.values)
        return _Part(
            upto,
            np.concatenate([self.steps, new.steps]),
            np.concatenate([self.times, new.times]),
            np.concatenate([self.values, new.values]),  # float32 becomes float64 here
        )


_NOTHING = _Part()
_Kept = Mapping[WriterKey, _Part]
_Places = dict[WriterKey, dict[int, list[tuple[int, int]]]]  # frame -> (series id, position in the frame)


class _Cache:
    """The least recently read series go first when memory is short. Values are immutable, so readers need no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._bytes = 0
        self._frames: OrderedDict[str, dict[tuple[int, str, int], list[int]]] = OrderedDict()

    def get(self, run_id: str, series_id: int) -> _Kept:
        with self._lock:
            kept = self._kept.get((run_id, series_id))
            if kept is None:
                return {}
            self._kept.move_to_end((run_id, series_id))
            return kept

    def put(self, run_id: str, series_id: int, kept: _Kept) -> None:
        with self._lock:
            self._bytes += _size(kept) - _size(self._kept.pop((run_id, series_id), {}))
            self._kept[run_id, series_id] = kept
            while self._bytes > MOST_BYTES and self._kept:
                self._bytes -= _size(self._kept.popitem(last=False)[1])

    def frames(self, session: Session, run_id: str) -> dict[tuple[int, str, int], list[int]]:
        """Series ids of every frame of the run; a frame never changes, so only new ones are read."""
        with self._lock:
            known = self._frames.get(run_id, {})
        query = select(Frame.attempt, Frame.writer, Frame.frame).where(Frame.run_id == run_id)
        if set(session.execute(query)) != set(known):
            rows = session.scalars(select(Frame).where(Frame.run_id == run_id))
            known = {(row.attempt, row.writer, row.frame): row.series_ids for row in rows}
        with self._lock:
            self._frames[run_id] = known
            self._frames.move_to_end(run_id)
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
) -> dict[int, Columns]:
    """All readings of these series with first <= step <= last; a series without readings has empty columns.

    In a session of `Database.reading()` only what is new since the last read is decoded. Another session may see
    what will never be committed, so it decodes everything and keeps nothing.
    """
    cache = _cache(session) if session.info.get("steady") else _Cache()
    wanted = set(series_ids)
    kept: dict[int, dict[WriterKey, _Part]] = {number: dict(cache.get(run_id, number)) for number in wanted}
    tails: dict[int, dict[WriterKey, _Part]] = {number: {} for number in wanted}
    acked = {
        (attempt, writer): seq
        for attempt, writer, seq in session.execute(
            select(Writer.attempt, Writer.writer, Writer.acked_seq).where(Writer.run_id == run_id)
        )
    }
    for writer, frames in _places(cache.frames(session, run_id), wanted).items():
        concerned = {number for found in frames.values() for number, _ in found}
        begun = {number: kept[number].get(writer, _NOTHING).upto for number in concerned}
        stored = _blocks_after(session, run_id, writer, min(begun.values()))
        for number, new in gather(stored, frames).items():
            new = new.after(begun[number])
            settled = new.upto(acked[writer])
            part = kept[number].get(writer, _NOTHING)
            kept[number][writer] = part.extended(max(part.upto, acked[writer]), settled)
            if len(settled.seqs) < len(new.seqs):
                tails[number][writer] = part.extended(0, new)
    for number in wanted:
        cache.put(run_id, number, kept[number])
    return {number: _join({**kept[number], **tails[number]}, first, last) for number in wanted}


def glimpse(session: Session, run_id: str, series_id: int) -> Columns:
    """The course of a series without reading a long one from the beginning: from evenly spread blocks, unless all are known.

    For overviews only: what lies between the blocks is not seen.
    """
    known = _cache(session).get(run_id, series_id) if session.info.get("steady") else {}
    query = select(Writer.attempt, Writer.writer, Writer.acked_seq).where(Writer.run_id == run_id)
    acked = {(attempt, writer): seq for attempt, writer, seq in session.execute(query)}
    if known or sum(acked.values()) <= GLIMPSE:
        return read(session, run_id, [series_id])[series_id]
    parts = {}
    for writer, frames in _places(_cache(session).frames(session, run_id), {series_id}).items():
        share = max(2, round(GLIMPSE * acked[writer] / sum(acked.values())))
        seqs = np.unique(np.linspace(1, max(1, acked[writer]), share).astype(np.int64)).tolist()
        stored = session.execute(
            select(Block.seq, Block.rows)
            .where(Block.run_id == run_id, Block.attempt == writer[0], Block.writer == writer[1])
            .where(Block.seq.in_(seqs))
            .order_by(Block.seq)
        )
        for new in gather(((seq, rows) for seq, rows in stored), frames).values():
            parts[writer] = _NOTHING.extended(0, new)
    return _join(parts, None, None)


def _cache(session: Session) -> _Cache:
    engine = session.get_bind()
    with _caches_lock:
        return _caches.setdefault(engine, _Cache())


def _places(frames: Mapping[tuple[int, str, int], list[int]], wanted: set[int]) -> _Places:
    places: _Places = {}
    for (attempt, writer, frame), series_ids in frames.items():
        found = [(number, j) for j, number in enumerate(series_ids) if number in wanted]
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


def _join(parts: Mapping[WriterKey, _Part], first: int | None, last: int | None) -> Columns:
    ordered = [(attempt, part) for (attempt, _), part in sorted(parts.items(), key=lambda one: one[0])]
    if not ordered:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int32))
    steps = np.concatenate([part.steps for _, part in ordered])
    times = np.concatenate([part.times for _, part in ordered])
    values = np.concatenate([part.values for _, part in ordered])
    sizes = [len(part.steps) for _, part in ordered]
    attempts = np.repeat(np.array([attempt for attempt, _ in ordered], np.int32), sizes)
    if first is None and last is None:
        return Columns(steps, times, values, attempts)
    keep = np.ones(len(steps), np.bool_)
    if first is not None:
        keep &= steps >= first
    if last is not None:
        keep &= steps <= last
    return Columns(steps[keep], times[keep], values[keep], attempts[keep])


def _size(kept: _Kept) -> int:
    return sum(part.steps.nbytes + part.times.nbytes + part.values.nbytes + 200 for part in kept.values())
