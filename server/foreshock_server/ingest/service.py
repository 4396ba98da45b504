"""An incoming block -> stored once, however often it is sent, with everything that is counted about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import bindparam, case, or_, tuple_, update
from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownFrame
from foreshock_server.ingest.schema import IncomingBlock, IncomingRows
from foreshock_server.models import Frame, Run, Series, Writer
from foreshock_server.store import alerts, blocks
from foreshock_server.store.numbers import number_text
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_attempt, ensure_writer, lock_run
from foreshock_server.store.series import frames, register_frames


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
        known = frames(session, run_id, block.attempt, block.writer)
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
    changes: dict[int, dict[str, Any]] = {}
    for group in groups:
        _count_group(changes, group, known[group.frame].series_ids)
    if not changes:
        return
    last_step = max(int(group.steps[-1]) for group in groups)
    if run.last_attempt is None or (run.last_attempt, run.last_step or 0) <= (attempt, last_step):
        run.last_attempt, run.last_step = attempt, last_step
    run.points += sum(change["points_"] for change in changes.values())
    # One statement for all: a reading of a later attempt is later, whatever its step.
    newer = or_(
        Series.last_attempt.is_(None),
        tuple_(Series.last_attempt, Series.last_step)
        <= tuple_(bindparam("attempt_"), bindparam("last_step_")),
    )
    statement = (
        update(Series.__table__)  # type: ignore[arg-type]  # declared as FromClause, is a Table
        .where(Series.run_id == bindparam("run_id_"), Series.series_id == bindparam("series_id_"))
        .values(
            points=Series.points + bindparam("points_"),
            nonfinite=Series.nonfinite + bindparam("nonfinite_"),
            first_step=case(
                (Series.first_step < bindparam("first_step_"), Series.first_step),
                else_=bindparam("first_step_"),
            ),
            last_value=case((newer, bindparam("last_value_")), else_=Series.last_value),
            last_text=case((newer, bindparam("last_text_")), else_=Series.last_text),
            last_step=case((newer, bindparam("last_step_")), else_=Series.last_step),
            last_attempt=case((newer, bindparam("attempt_")), else_=Series.last_attempt),
        )
    )
    session.flush()
    rows = [
        {"run_id_": run.id, "attempt_": attempt, "series_id_": number, **change}
        for number, change in sorted(changes.items())
    ]
    session.connection().execute(statement, rows)


def _count_group(changes: dict[int, dict[str, Any]], group: RowGroup, series_ids: Sequence[int]) -> None:
    finite = np.isfinite(group.values)
    present = np.ones(group.values.shape, np.bool_) if group.absent is None else ~group.absent
    points = present.sum(axis=0)
    nonfinite = (present & ~finite).sum(axis=0)
    first = present.argmax(axis=0)
    last = len(group.steps) - 1 - present[::-1].argmax(axis=0)
    values = group.values[last, np.arange(len(series_ids))]
    columns = zip(
        series_ids,
        points.tolist(),
        nonfinite.tolist(),
        group.steps[first].tolist(),
        group.steps[last].tolist(),
        values.tolist(),
        strict=True,
    )
    for number, count, wrong, first_step, last_step, value in columns:
        if count == 0:
            continue
        change = changes.get(number)
        if change is None:
            change = changes[number] = {
                "points_": 0,
                "nonfinite_": 0,
                "first_step_": first_step,
                "last_step_": last_step,
            }
        change["points_"] += count
        change["nonfinite_"] += wrong
        change["first_step_"] = min(change["first_step_"], first_step)
        if last_step >= change["last_step_"]:
            change["last_step_"] = last_step
            change["last_value_"] = value if math.isfinite(value) else None
            change["last_text_"] = None if math.isfinite(value) else number_text(value)
