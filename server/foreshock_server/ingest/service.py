"""Blocks of one run that arrived together -> stored once each, with everything that is counted about them.

Hand-written statements, one round for all blocks of a run: through the ORM a block cost 2.5 ms, which bounded the whole service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server.db import undone_alone
from foreshock_server.errors import DomainError, RunDeleted, UnknownFrame, UnknownRun
from foreshock_server.ingest.schema import IncomingBlock, IncomingRows
from foreshock_server.ingest.statements import Statements, Waiting
from foreshock_server.store.rows import RowGroup, encode_rows
from foreshock_server.store.runs import ensure_attempt, ensure_writer, lock_run
from foreshock_server.store.series import register_frames


@dataclass(frozen=True)
class Arrival:
    """A validated block, and below which seq its writer sends nothing any more."""

    block: IncomingBlock
    floor: int = 1


@dataclass(frozen=True)
class Receipt:
    """What the answer to a block says."""

    ack: int
    stored: bool  # False for a block that was known
    points: int  # readings in it, 0 for one that was known


@dataclass(frozen=True)
class Change:
    """What became of each block, in order, and the run's revision before and after."""

    outcomes: list[Receipt | DomainError]
    before: int = 0
    after: int = 0


@dataclass
class _Attempt:
    first_step: int | None
    moved: bool = False


@dataclass
class _Writer:
    """A row of `writers`, as it will be, and the blocks that come with it."""

    attempt: int
    name: str
    floor: int
    acked: int
    dropped: int
    lost: dict[str, Any]
    cost: dict[str, Any]
    seen_at: float
    highest: int  # of the blocks that are stored and wait for a gap to close, or for their sealing; 0: there are none
    known: dict[int, tuple[str, int]] = field(default_factory=dict)  # frame -> dtype, columns
    coming: dict[int, dict[str, Any]] = field(default_factory=dict)  # seq -> row of `blocks`

    @property
    def gaps(self) -> bool:
        """False: what comes follows what is acknowledged without one, and nothing stored lies beyond."""
        follows = sorted(self.coming) == list(range(self.acked + 1, self.acked + 1 + len(self.coming)))
        return not follows or self.highest > self.acked


def store_all(session: Session, run_id: str, arrivals: Sequence[Arrival], *, now: float) -> Change:
    """What became of them; a bad one leaves nothing and harms no other.

    The session holds all of it when this returns, or nothing when it raises.
    """
    return _Round(session, run_id, now).store(arrivals)


class _Round:
    def __init__(self, session: Session, run_id: str, now: float) -> None:
        self._session = session
        self._run_id = run_id
        self._now = now
        self._sql = Statements(session.connection(), run_id)
        self._attempts: dict[int, _Attempt] = {}
        self._writers: dict[tuple[int, str], _Writer] = {}
        self._points = self._blocks = 0
        self._latest: tuple[int | None, int | None] = (
            None,
            None,
        )  # attempt and step of the run's last reading

    def store(self, arrivals: Sequence[Arrival]) -> Change:
        run = self._sql.lock_run()
        if run is None:
            return Change([UnknownRun() for _ in arrivals])
        if run.deleted_at is not None:
            return Change([RunDeleted() for _ in arrivals])
        self._latest = (run.last_attempt, run.last_step)
        outcomes: list[tuple[_Writer, int | None] | DomainError] = []
        for arrival in arrivals:
            try:
                outcomes.append(self._take(arrival))
            except DomainError as error:
                outcomes.append(error)
        self._write()
        revision = run.revision + self._blocks
        if self._blocks:
            self._sql.update_run(
                revision=revision,
                updated_at=self._now,
                points=run.points + self._points,
                last_attempt=self._latest[0],
                last_step=self._latest[1],
            )
        told: list[Receipt | DomainError] = []
        for one in outcomes:
            if isinstance(one, DomainError):
                told.append(one)
            else:
                writer, points = one
                told.append(Receipt(writer.acked, points is not None, points or 0))
        return Change(told, run.revision, revision)

    # -- one block ------------------------------------------------------------------------------------------------

    def _take(self, arrival: Arrival) -> tuple[_Writer, int | None]:
        """Its writer, and how many readings it brings; None when it is settled."""
        block = arrival.block
        if self._writer(block) is not None and not block.frames:
            return self._add(arrival)  # writes nothing yet: what is wrong with it is found before
        before = dict(self._writers), dict(self._attempts)
        try:
            with undone_alone(self._session):
                self._make(block)
                return self._add(arrival)
        except DomainError:
            self._writers, self._attempts = before
            for writer in self._writers.values():
                writer.known.clear()  # a frame of this block is unknown again
            raise

    def _writer(self, block: IncomingBlock) -> _Writer | None:
        key = (block.attempt, block.writer)
        found = self._writers.get(key)
        if found is None:
            attempt, row = self._sql.attempt(block.attempt), self._sql.writer(*key)
            if attempt is None or row is None:
                return None
            self._attempts.setdefault(block.attempt, _Attempt(attempt.first_step))
            found = self._writers[key] = _Writer(*key, **row)
        return found

    def _make(self, block: IncomingBlock) -> None:
        """What the block is the first to speak of: its attempt, its writer. Its frames, unless they come too late."""
        key = (block.attempt, block.writer)
        if key not in self._writers:
            run = lock_run(self._session, self._run_id)
            ensure_attempt(self._session, run, block.attempt, now=self._now)
            ensure_writer(self._session, self._run_id, *key, now=self._now)
            self._writer(block)

    def _add(self, arrival: Arrival) -> tuple[_Writer, int | None]:
        block = arrival.block
        writer = self._writers[block.attempt, block.writer]
        floor = max(writer.floor, arrival.floor)
        acked = max(writer.acked, floor - 1)
        points = None
        if not self._settled(writer, acked, block.seq):
            if block.frames:
                register_frames(self._session, self._run_id, block.attempt, block.writer, block.frames)
            groups = self._groups(writer, block.rows)
            row = writer.coming[block.seq] = self._row(block, groups)
            points = row["points"]
            self._count(block.attempt, groups, points)
        writer.floor, writer.acked = floor, acked
        # Cumulative at the writer, and blocks may arrive in any order: the most is the latest.
        writer.seen_at = max(writer.seen_at, self._now)
        writer.dropped = max(writer.dropped, block.dropped)
        writer.lost = _most(writer.lost, block.lost)
        writer.cost = _most(writer.cost, block.cost)
        return writer, points

    def _settled(self, writer: _Writer, acked: int, seq: int) -> bool:
        """True when this block is stored, or lies below the floor.

        Below the floor its writer has given it up and counted it lost, so storing a late copy would count its
        readings twice. It also means that the acknowledged part of a writer never changes again.
        """
        if seq <= acked or seq in writer.coming:
            return True
        return seq <= writer.highest and self._sql.has_block(writer.attempt, writer.name, seq)

    def _groups(self, writer: _Writer, rows: Sequence[IncomingRows]) -> list[RowGroup]:
        missing = {one.frame for one in rows} - writer.known.keys()
        if missing:
            writer.known.update(self._sql.frames(writer.attempt, writer.name, missing))
        return [_group(one, writer.known) for one in rows]

    def _row(self, block: IncomingBlock, groups: Sequence[RowGroup]) -> dict[str, Any]:
        return {
            "attempt": block.attempt,
            "writer": block.writer,
            "seq": block.seq,
            "received_at": self._now,
            "first_step": min((int(group.steps[0]) for group in groups), default=None),
            "last_step": max((int(group.steps[-1]) for group in groups), default=None),
            "points": sum(group.present for group in groups),
            "rows": encode_rows(groups),
        }

    def _count(self, attempt: int, groups: Sequence[RowGroup], points: int) -> None:
        """What the run counts; its series are counted later (sealing/tallier.py)."""
        self._blocks += 1
        if not groups:
            return
        self._points += points
        first = min(int(group.steps[0]) for group in groups)
        row = self._attempts[attempt]
        if row.first_step is None or first < row.first_step:
            row.first_step, row.moved = first, True
        # The last reading is that of the highest attempt, then of the highest step.
        last = (attempt, max(int(group.steps[-1]) for group in groups))
        known, step = self._latest
        if known is None or (known, step or 0) <= last:
            self._latest = last

    # -- all of them ----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        self._sql.insert_blocks([row for one in self._writers.values() for row in one.coming.values()])
        for number, attempt in self._attempts.items():
            if attempt.moved:
                self._sql.update_attempt(number, attempt.first_step)
        for writer in self._writers.values():
            if writer.gaps:
                waiting = self._sql.blocks_after(writer.attempt, writer.name)
                writer.acked = _contiguous(writer.acked, waiting)
            else:
                writer.acked += len(writer.coming)
            self._sql.update_writer(writer.attempt, writer.name, _columns(writer))


def _group(rows: IncomingRows, known: Mapping[int, tuple[str, int]]) -> RowGroup:
    shape = known.get(rows.frame)
    if shape is None:
        raise UnknownFrame(
            f"{rows.field}.frame is {rows.frame}, which this writer never described; send the block again with its frames.",
            field=f"{rows.field}.frame",
        )
    dtype, columns = shape
    return rows.group(columns, dtype)


def _most(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {**old, **{name: max(amount, old.get(name, 0)) for name, amount in new.items()}}


def _contiguous(acked: int, waiting: Waiting) -> int:
    """The highest seq up to which nothing is missing."""
    while True:
        some = waiting(acked)
        for seq in some:
            if seq != acked + 1:
                return acked
            acked = seq
        if not some:
            return acked


def _columns(writer: _Writer) -> dict[str, Any]:
    return {
        "floor": writer.floor,
        "acked": writer.acked,
        "dropped": writer.dropped,
        "lost": writer.lost,
        "cost": writer.cost,
        "seen_at": writer.seen_at,
    }
