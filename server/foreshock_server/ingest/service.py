"""An incoming block -> stored once, however often it is sent, with everything that is counted about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownFrame
from foreshock_server.ingest.schema import IncomingBlock, IncomingRows
from foreshock_server.models import Frame, Run, Writer
from foreshock_server.store import alerts, blocks
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_attempt, ensure_writer, lock_run
from foreshock_server.store.series import frames, register_frames
from foreshock_server.store.tally import tally


@dataclass(frozen=True)
class Receipt:
    """What the answer to a block says."""

    ack: int
    alerts: list[dict[str, Any]]
    stored: bool  # False for a block that was known


def store(session: Session, run_id: str, block: IncomingBlock, *, floor: int, now: float) -> Receipt:
    """The receipt. Everything about the block is in the session when this returns, or nothing of it when it raises."""
    run = lock_run(session, run_id)
    ensure_attempt(session, run, block.attempt, now=now)
    writer = ensure_writer(session, run_id, block.attempt, block.writer, now=now)
    blocks.raise_floor(session, writer, floor)
    stored = False
    if not blocks.is_settled(session, writer, block.seq):
        register_frames(session, run_id, block.attempt, block.writer, block.frames)
        known = frames(session, run_id, block.attempt, block.writer, {rows.frame for rows in block.rows})
        groups = [_group(rows, known) for rows in block.rows]
        stored = blocks.append(session, writer, block.seq, groups, now)
        if stored:
            _count(session, run, block.attempt, groups, known)
    _account(writer, block, now)
    if stored:
        run.revision += 1
        run.updated_at = now
    session.flush()
    return Receipt(writer.acked_seq, alerts.firing(session, run_id), stored)


def _group(rows: IncomingRows, known: Mapping[int, Frame]) -> RowGroup:
    frame = known.get(rows.frame)
    if frame is None:
        raise UnknownFrame(
            f"{rows.field}.frame is {rows.frame}, which this writer never described; send the block again with its frames.",
            field=f"{rows.field}.frame",
        )
    return rows.group(len(frame.series_ids), frame.dtype)


def _account(writer: Writer, block: IncomingBlock, now: float) -> None:
    # Cumulative at the writer, and blocks may arrive in any order: the most is the latest.
    writer.seen_at = max(writer.seen_at, now)
    writer.dropped = max(writer.dropped, block.dropped)
    writer.lost = _most(writer.lost, block.lost)
    writer.cost = _most(writer.cost, block.cost)


def _most(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {**old, **{name: max(amount, old.get(name, 0)) for name, amount in new.items()}}


def _count(
    session: Session, run: Run, attempt: int, groups: Sequence[RowGroup], known: Mapping[int, Frame]
) -> None:
    if not groups:
        return
    run.points += tally(
        session, run.id, attempt, [(group, known[group.frame].series_ids) for group in groups]
    )
    last_step = max(int(group.steps[-1]) for group in groups)
    if run.last_attempt is None or (run.last_attempt, run.last_step or 0) <= (attempt, last_step):
        run.last_attempt, run.last_step = attempt, last_step
