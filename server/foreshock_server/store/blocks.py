"""Blocks: appended once, acknowledged in order, read as columns or in the order in which rules must see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Block, Frame, Writer
from foreshock_server.store.once import insert_once
from foreshock_server.store.rows import RowGroup, decode_rows, encode_rows

__all__ = [
    "Columns",
    "RowGroup",
    "StoredBlock",
    "append",
    "blocks_after",
    "decode_rows",
    "read",
    "unevaluated",
]


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
class StoredBlock:
    """One block as it rests."""

    seq: int
    received_at: float
    rows: list[RowGroup]


def append(session: Session, writer: Writer, seq: int, rows: Sequence[RowGroup], now: float) -> bool:
    """True when the block was stored now, False when this seq is settled; moves the writer's acknowledgement on.

    A seq below the floor is settled too: its writer has given it up and counted it, so storing a late copy
    would count its readings twice, and the acknowledged part of a writer never changes again.
    """
    stored = False
    if seq > writer.acked_seq:
        ends = [(int(group.steps[0]), int(group.steps[-1])) for group in rows]
        stored = insert_once(
            session,
            Block,
            {
                "run_id": writer.run_id,
                "attempt": writer.attempt,
                "writer": writer.writer,
                "seq": seq,
                "received_at": now,
                "first_step": min((first for first, _ in ends), default=None),
                "last_step": max((last for _, last in ends), default=None),
                "points": sum(group.present for group in rows),
                "rows": encode_rows(rows),
            },
        )
    _acknowledge(session, writer)
    return stored


def raise_floor(session: Session, writer: Writer, floor: int) -> None:
    """Nothing below the floor will come again, so the acknowledgement need not wait for it."""
    if floor > writer.floor:
        writer.floor = floor
        writer.acked_seq = max(writer.acked_seq, floor - 1)
        _acknowledge(session, writer)


def _acknowledge(session: Session, writer: Writer) -> None:
    query = (
        select(Block.seq)
        .where(
            Block.run_id == writer.run_id,
            Block.attempt == writer.attempt,
            Block.writer == writer.writer,
            Block.seq > writer.acked_seq,
        )
        .order_by(Block.seq)
    )
    for seq in session.scalars(query.execution_options(yield_per=1000)):
        if seq != writer.acked_seq + 1:
            break
        writer.acked_seq = seq
    session.flush()


def unevaluated(session: Session, limit: int = 100) -> list[Writer]:
    """Writers with acknowledged blocks that the rules have not seen, the longest waiting first."""
    query = (
        select(Writer).where(Writer.evaluated_seq < Writer.acked_seq).order_by(Writer.seen_at).limit(limit)
    )
    return list(session.scalars(query))


def blocks_after(
    session: Session, run_id: str, attempt: int, writer: str, seq: int, limit: int = 100
) -> list[StoredBlock]:
    """Acknowledged blocks with a higher seq, in order. Fewer than `limit` means: all up to the writer's acked_seq.

    A seq may be missing for good (lost at the writer), so set `evaluated_seq` to `acked_seq` after the last one.
    """
    acked = (
        select(Writer.acked_seq)
        .where(Writer.run_id == run_id, Writer.attempt == attempt, Writer.writer == writer)
        .scalar_subquery()
    )
    query = (
        select(Block.seq, Block.received_at, Block.rows)
        .where(
            Block.run_id == run_id,
            Block.attempt == attempt,
            Block.writer == writer,
            Block.seq > seq,
            Block.seq <= acked,
        )
        .order_by(Block.seq)
        .limit(limit)
    )
    return [
        StoredBlock(number, at, decode_rows(rows)) for number, at, rows in session.execute(query).tuples()
    ]


def read(
    session: Session,
    run_id: str,
    series_ids: Collection[int],
    first: int | None = None,
    last: int | None = None,
) -> dict[int, Columns]:
    """All readings of these series with first <= step <= last; a series without readings has empty columns."""
    wanted = set(series_ids)
    parts: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], int]]] = (
        defaultdict(list)
    )
    places: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
    for frame in session.scalars(select(Frame).where(Frame.run_id == run_id)):
        found = [(number, j) for j, number in enumerate(frame.series_ids) if number in wanted]
        if found:
            places[frame.attempt, frame.writer, frame.frame] = found
    for attempt, writer in sorted({(attempt, writer) for attempt, writer, _ in places}):
        query = (
            select(Block.rows)
            .where(Block.run_id == run_id, Block.attempt == attempt, Block.writer == writer)
            .order_by(Block.seq)
        )
        if first is not None:
            query = query.where(Block.last_step >= first)
        if last is not None:
            query = query.where(Block.first_step <= last)
        for data in session.scalars(query.execution_options(yield_per=500)):
            for group in decode_rows(data):
                for number, j in places.get((attempt, writer, group.frame), ()):
                    keep = slice(None) if group.absent is None else ~group.absent[:, j]
                    parts[number].append(
                        (
                            group.steps[keep],
                            group.times[keep],
                            group.values[keep, j].astype(np.float64),
                            attempt,
                        )
                    )
    return {number: _join(parts[number], first, last) for number in wanted}


def _join(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], int]],
    first: int | None,
    last: int | None,
) -> Columns:
    if not parts:
        return Columns(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int32))
    steps = np.concatenate([part[0] for part in parts])
    times = np.concatenate([part[1] for part in parts])
    values = np.concatenate([part[2] for part in parts])
    attempts = np.repeat(np.array([part[3] for part in parts], np.int32), [len(part[0]) for part in parts])
    if first is not None or last is not None:
        keep = np.ones(len(steps), np.bool_)
        if first is not None:
            keep &= steps >= first
        if last is not None:
            keep &= steps <= last
        steps, times, values, attempts = steps[keep], times[keep], values[keep], attempts[keep]
    return Columns(steps, times, values, attempts)
