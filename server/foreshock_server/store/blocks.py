"""Blocks: appended once, acknowledged in order, read as columns or in the order in which rules must see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, load_only

from foreshock_server.models import Block, Writer
from foreshock_server.store.columns import Columns, read
from foreshock_server.store.once import insert_once
from foreshock_server.store.rows import RowGroup, decode_rows, encode_rows

__all__ = [
    "Columns",
    "Portion",
    "RowGroup",
    "StoredBlock",
    "append",
    "blocks_after",
    "decode_rows",
    "is_settled",
    "portion",
    "raise_floor",
    "read",
    "unevaluated",
]


@dataclass(frozen=True)
class StoredBlock:
    """One block as it rests."""

    seq: int
    received_at: float
    rows: list[RowGroup]


@dataclass(frozen=True)
class Portion:
    """Blocks of one writer in order; nothing else of it lies up to `upto`."""

    blocks: list[StoredBlock]
    upto: int


def is_settled(session: Session, writer: Writer, seq: int) -> bool:
    """True when this block is stored, or lies below the floor.

    Below the floor its writer has given it up and counted it lost, so storing a late copy would count its
    readings twice. It also means that the acknowledged part of a writer never changes again.
    """
    if seq <= writer.acked_seq:
        return True
    return (
        session.get(
            Block, (writer.run_id, writer.attempt, writer.writer, seq), options=[load_only(Block.seq)]
        )
        is not None
    )


def append(session: Session, writer: Writer, seq: int, rows: Sequence[RowGroup], now: float) -> bool:
    """True when the block was stored now, False when this seq is settled; moves the writer's acknowledgement on."""
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


def unevaluated(session: Session, limit: int = 1000) -> list[Writer]:
    """Writers with acknowledged blocks that the rules have not seen, the longest waiting first."""
    query = (
        select(Writer).where(Writer.evaluated_seq < Writer.acked_seq).order_by(Writer.seen_at).limit(limit)
    )
    return list(session.scalars(query))


def portion(
    session: Session, run_id: str, attempt: int, writer: str, after: int, upto: int, most_points: int
) -> Portion:
    """Blocks with after < seq <= upto, at least one if there is any, and no more once they hold this many readings."""
    query = (
        select(Block.seq, Block.received_at, Block.points, Block.rows)
        .where(Block.run_id == run_id, Block.attempt == attempt, Block.writer == writer)
        .where(Block.seq > after, Block.seq <= upto)
        .order_by(Block.seq)
        .execution_options(yield_per=50)
    )
    found: list[StoredBlock] = []
    points = 0
    with session.execute(query) as result:
        for seq, at, size, rows in result:
            if found and points + size > most_points:
                return Portion(found, found[-1].seq)
            found.append(StoredBlock(seq, at, decode_rows(rows)))
            points += size
    return Portion(found, upto)


def blocks_after(
    session: Session, run_id: str, attempt: int, writer: str, seq: int, limit: int = 100
) -> list[StoredBlock]:
    """Acknowledged blocks with a higher seq, in order. Fewer than `limit` means: all up to the writer's acked_seq.

    A seq may be missing for good (lost at the writer), so set `evaluated_seq` to `acked_seq` after the last one.
    """
    values = {"run": run_id, "attempt": attempt, "writer": writer, "seq": seq, "most": limit}
    found = session.connection().execute(_AFTER, values)
    return [StoredBlock(number, at, decode_rows(rows)) for number, at, rows in found]


# Made once: to put it together took longer than to run it.
_AFTER = (
    select(Block.seq, Block.received_at, Block.rows)
    .where(
        Block.run_id == bindparam("run"),
        Block.attempt == bindparam("attempt"),
        Block.writer == bindparam("writer"),
        Block.seq > bindparam("seq"),
        Block.seq
        <= select(Writer.acked_seq)
        .where(
            Writer.run_id == bindparam("run"),
            Writer.attempt == bindparam("attempt"),
            Writer.writer == bindparam("writer"),
        )
        .scalar_subquery(),
    )
    .order_by(Block.seq)
    .limit(bindparam("most"))
)
