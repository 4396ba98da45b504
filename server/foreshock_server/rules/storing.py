"""What a run's memory holds that is not stored -> Alert rows, Transition rows and incidents, in the caller's transaction with the cursors."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, insert, update
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Transition, Writer
from foreshock_server.rules.memory import Memory, cursors_of
from foreshock_server.rules.state import Kind, Severity, State
from foreshock_server.rules.watch import Change
from foreshock_server.store.once import insert_once
from foreshock_server.store.runs import lock_run, touch
from foreshock_server.store.telling import Book, Event

# Made once: to put it together takes longer than to run it.
_MOVE = (
    update(Writer.__table__)  # type: ignore[arg-type]
    .where(
        Writer.run_id == bindparam("run"),
        Writer.attempt == bindparam("of_attempt"),
        Writer.writer == bindparam("of_writer"),
    )
    .values(evaluated_seq=bindparam("seq"))
)


def store(session: Session, memory: Memory, now: float) -> bool:
    """True when all of it is written; False, and nothing written, when another evaluator moved a cursor since."""
    run = lock_run(session, memory.run_id)
    there = cursors_of(session, memory.run_id)
    moved = any(memory.standing.get(key, 0) != seq for key, seq in there.items())
    if moved or memory.cursors.keys() - there.keys():
        return False
    ahead = [
        {"run": memory.run_id, "of_attempt": attempt, "of_writer": writer, "seq": seq}
        for (attempt, writer), seq in memory.cursors.items()
        if there[attempt, writer] != seq
    ]
    if ahead:
        session.connection().execute(_MOVE, ahead)
    _store_alerts(session, memory)
    transitions = [_transition(memory.run_id, change) for change in memory.changes]
    transitions += [_retirement(row, now) for row in memory.retired if row.state == State.FIRING.value]
    for values in transitions:
        insert_once(session, Transition, {**values, "created_at": now})
    if memory.changes or memory.messages:
        Book(session, run, now).follow(_events(session, memory))
    if memory.visible:
        touch(session, memory.run_id, now)
    return True


def _store_alerts(session: Session, memory: Memory) -> None:
    written = [memory.watches[key] for key in sorted(memory.touched)]
    old = [watch.row(memory.run_id) for watch in written if watch.stored]
    new = [watch.row(memory.run_id) for watch in written if not watch.stored]
    if old:
        session.execute(update(Alert), old)
    if new:
        session.execute(insert(Alert), new)
    gone = {"state": State.OK.value, "since_step": None, "fired_step": None}
    for row in memory.retired:
        key = {"run_id": row.run_id, "rule": row.rule, "series_id": row.series_id}
        session.execute(update(Alert), [{**key, **gone}])


def _events(session: Session, memory: Memory) -> list[Event]:
    """What the rules say, then what grew critical without a word: some channels want to know only that."""
    said = [(rule, one.series_id, one.episode, one.kind, True) for rule, one in memory.messages]
    grown = [
        (one.watch.rule.id, one.watch.series.series_id, one.episode, one.kind, False)
        for one in memory.changes
        if one.kind is Kind.ESCALATED
    ]
    events = []
    for rule, series_id, episode, kind, aloud in [*said, *grown]:
        transition = session.get(Transition, (memory.run_id, rule, series_id, episode, kind.value))
        if transition is None:
            continue
        watch = memory.watches.get((rule, series_id))
        family = watch.rule.family if watch is not None else transition.detail.get("family", "")
        inhibits = (
            watch is not None and watch.rule.inhibits and transition.severity == Severity.CRITICAL.value
        )
        events.append(Event(transition, family, inhibits, aloud))
    return events


def _transition(run_id: str, change: Change) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "rule": change.watch.rule.id,
        "series_id": change.watch.series.series_id,
        "episode": change.episode,
        "kind": change.kind.value,
        "severity": change.severity.value,
        "step": change.step,
        "since_step": change.since_step,
        "at": change.at,
        "detail": change.detail,
    }


def _retirement(row: Alert, now: float) -> dict[str, Any]:
    title = row.reading.get("title", row.rule)
    reason = "the rule is no longer in force"
    return {
        "run_id": row.run_id,
        "rule": row.rule,
        "series_id": row.series_id,
        "episode": row.episode,
        "kind": Kind.RESOLVED.value,
        "severity": row.severity,
        "step": row.last_step or 0,
        "since_step": row.since_step,
        "at": now,
        "detail": {**row.reading, "reason": reason, "message": f"Resolved: {title}: {reason}."},
    }
