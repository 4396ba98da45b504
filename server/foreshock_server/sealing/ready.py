"""Cursors of writers -> which of their blocks may be sealed, and are worth it: read by the rules, counted, merged with other ranks."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.models import Attempt, Block, Frame, Merge, Run, Writer
from foreshock_server.store.layout import column_count
from foreshock_server.store.runs import RUNNING

ENOUGH_STEPS = 2048  # segments of fewer steps cost more bytes per reading, and each writes its rollups anew
ENOUGH_BYTES = 16 * 2**20
QUIET = 60.0  # seconds without a block after which a writer's rest is sealed, however little it is
_REMEMBERED = 10_000  # writers whose blocks are weighed
_RANK = re.compile(r"r(\d+)-.*")


class Ready(NamedTuple):
    """Blocks of one writer with sealed < seq <= upto."""

    run_id: str
    attempt: int
    writer: str
    sealed: int
    upto: int


@dataclass
class _Weight:
    """Of a writer's blocks with sealed < seq <= upto."""

    sealed: int
    upto: int
    points: int = 0
    size: int = 0  # bytes
    wanted: int = 1  # points, before it is worth another look at the frames, which only become more


class Scales:
    """Weighs blocks once, as what waits in two hundred runs is a million rows."""

    def __init__(self) -> None:
        self._weights: OrderedDict[tuple[str, int, str], _Weight] = OrderedDict()

    def enough(self, session: Session, writer: Writer, upto: int) -> bool:
        """Whether the writer's blocks up to there that are not sealed are worth a segment."""
        known = self._weigh(session, writer, upto)
        if known.size >= ENOUGH_BYTES:
            return True
        if known.points < known.wanted:
            return False
        frames = session.scalars(
            select(Frame).where(
                Frame.run_id == writer.run_id,
                Frame.attempt == writer.attempt,
                Frame.writer == writer.writer,
            )
        )
        known.wanted = ENOUGH_STEPS * max(1, sum(column_count(frame) for frame in frames))
        return known.points >= known.wanted

    def _weigh(self, session: Session, writer: Writer, upto: int) -> _Weight:
        key = (writer.run_id, writer.attempt, writer.writer)
        known = self._weights.get(key)
        if known is None or known.sealed != writer.sealed_seq or known.upto > upto:
            known = self._weights[key] = _Weight(writer.sealed_seq, writer.sealed_seq)
        self._weights.move_to_end(key)
        while len(self._weights) > _REMEMBERED:
            self._weights.popitem(last=False)
        query = select(func.sum(Block.points), func.sum(func.length(Block.rows))).where(
            Block.run_id == writer.run_id,
            Block.attempt == writer.attempt,
            Block.writer == writer.writer,
            Block.seq > known.upto,
            Block.seq <= upto,
        )
        points, size = session.execute(query).one()
        known.upto = upto
        known.points += points or 0
        known.size += size or 0
        return known


def ready(session: Session, now: float, limit: int = 10_000, *, scales: Scales | None = None) -> list[Ready]:
    """What may be sealed and is worth it, the longest waiting first."""
    scales = scales or Scales()
    query = (
        select(Writer, Attempt)
        .join(Attempt, (Attempt.run_id == Writer.run_id) & (Attempt.attempt == Writer.attempt))
        .join(Run, Run.id == Writer.run_id)
        .where(Writer.sealed_seq < Writer.acked_seq, Run.deleted_at.is_(None))
        .where(Writer.sealed_seq < Writer.evaluated_seq, Writer.sealed_seq < Writer.tallied_seq)
        .order_by(Writer.seen_at)
        .limit(limit)
    )
    found = []
    for writer, attempt in session.execute(query):
        upto = min(writer.acked_seq, writer.evaluated_seq, writer.tallied_seq)
        if _RANK.fullmatch(writer.writer) and _several_ranks(session, attempt):
            upto = _merged(session, writer, upto)
        quiet = attempt.state != RUNNING or now - writer.seen_at > QUIET
        if upto > writer.sealed_seq and (quiet or scales.enough(session, writer, upto)):
            found.append(Ready(writer.run_id, writer.attempt, writer.writer, writer.sealed_seq, upto))
    return found


def _several_ranks(session: Session, attempt: Attempt) -> bool:
    world = attempt.info.get("world_size")
    if isinstance(world, int) and world > 1:
        return True
    names = session.scalars(
        select(Writer.writer).where(Writer.run_id == attempt.run_id, Writer.attempt == attempt.attempt)
    )
    return len(_ranks(names)) > 1


def _ranks(names: Iterable[str]) -> set[str]:
    return {found[1] for found in map(_RANK.fullmatch, names) if found}


def _merged(session: Session, writer: Writer, upto: int) -> int:
    """How far the merger of ranks has taken this writer's blocks; a block with later steps, and what follows it, waits."""
    step = session.scalar(
        select(Merge.step).where(Merge.run_id == writer.run_id, Merge.attempt == writer.attempt)
    )
    own = (
        Block.run_id == writer.run_id,
        Block.attempt == writer.attempt,
        Block.writer == writer.writer,
        Block.seq > writer.sealed_seq,
        Block.seq <= upto,
    )
    later = select(func.min(Block.seq)).where(*own)
    if step is not None:
        later = later.where(Block.last_step > step)
    waiting = session.scalar(later)
    return upto if waiting is None else waiting - 1
