"""Stored blocks behind a durable cursor -> Alert rows, Transition rows and messages, in one transaction with the cursor.

Computed from one moment of the database and without holding anything; then, under the run's lock, stored only if no cursor of the
run has moved since. So a kill at any moment leaves the cursor where it was and the same blocks are judged again with the same
result, and of two evaluators with the same blocks one stores and the other's work is thrown away.

A series goes on across the attempts of its run: memory, baseline and a firing alert survive a resume, and the step may go back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import insert, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.models import Alert, Transition, Writer
from foreshock_server.rules.judge import Batch, Judge
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.state import Kind, State
from foreshock_server.rules.watch import Change
from foreshock_server.settings import Settings
from foreshock_server.store.blocks import unevaluated
from foreshock_server.store.once import insert_once
from foreshock_server.store.outbox import enqueue
from foreshock_server.store.runs import list_writers, lock_run, touch

log = logging.getLogger(__name__)

# A run that fails to evaluate is tried again after so long, and stalls no other meanwhile.
ASIDE_SECONDS = 60.0


class Evaluator:
    """Judges what is new. Any number of them may run, in threads and in processes; one object is one thread's."""

    def __init__(
        self,
        database: Database,
        rules: RuleSet,
        bus: Bus,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = database
        self.rules = rules
        self.bus = bus
        self.settings = settings
        self._clock = clock
        self._judge = Judge(rules)
        self._aside: dict[str, float] = {}  # run -> when to try it again

    def run_once(self) -> int:
        """Evaluate some of what is new in each run; the number of blocks. Zero: there is nothing to do now."""
        with self.database.reading() as session:
            waiting = dict.fromkeys(writer.run_id for writer in unevaluated(session))
        now = self._clock()
        return sum(self._guarded(run_id, now) for run_id in waiting if self._aside.get(run_id, now) <= now)

    def evaluate(self, run_id: str) -> int:
        """Evaluate some of what is new in this run; the number of blocks, zero if another evaluator was faster."""
        with self.database.reading() as session:
            batch = self._judge(session, run_id)
        if not batch.ahead:
            return 0
        with self.database.writing() as session:
            stored = _store(session, batch, self._clock())
        if stored and batch.visible:
            self.bus.publish(run_id)
        return batch.blocks if stored else 0

    def _guarded(self, run_id: str, now: float) -> int:
        try:
            blocks = self.evaluate(run_id)
        except DBAPIError:
            raise  # the database, not this run: whoever runs the loop waits and tries again
        except Exception:
            self._aside[run_id] = now + ASIDE_SECONDS
            log.exception(
                "Run %s: its new blocks could not be evaluated, so its alerts stand still. Nothing is lost; "
                "they are tried again in %.0f seconds.",
                run_id,
                ASIDE_SECONDS,
            )
            return 0
        self._aside.pop(run_id, None)
        return blocks


def _store(session: Session, batch: Batch, now: float) -> bool:
    """True when all of it is written; False, and nothing written, when another evaluator moved a cursor since."""
    lock_run(session, batch.run_id)
    standing = {(one.attempt, one.writer): one.evaluated_seq for one in list_writers(session, batch.run_id)}
    if any(batch.cursors.get(key, 0) != seq for key, seq in standing.items()):
        return False
    for (attempt, writer), seq in batch.ahead.items():
        session.execute(
            update(Writer)
            .where(Writer.run_id == batch.run_id, Writer.attempt == attempt, Writer.writer == writer)
            .values(evaluated_seq=seq),
            execution_options={"synchronize_session": False},
        )
    _store_alerts(session, batch)
    transitions = [_transition(batch.run_id, change) for change in batch.changes]
    transitions += [_retirement(row, now) for row in batch.retired if row.state == State.FIRING.value]
    for values in transitions:
        insert_once(session, Transition, {**values, "created_at": now})
    for rule, message in batch.messages:
        key = (batch.run_id, rule, message.series_id, message.episode, message.kind.value)
        transition = session.get(Transition, key)
        if transition is not None:
            enqueue(session, transition, now)
    if batch.visible:
        touch(session, batch.run_id, now)
    return True


def _store_alerts(session: Session, batch: Batch) -> None:
    written = [watch for watch in batch.watches.values() if watch.touched]
    old = [watch.row(batch.run_id) for watch in written if watch.stored]
    new = [watch.row(batch.run_id) for watch in written if not watch.stored]
    if old:
        session.execute(update(Alert), old)
    if new:
        session.execute(insert(Alert), new)
    gone = {"state": State.OK.value, "since_step": None, "fired_step": None}
    for row in batch.retired:
        key = {"run_id": row.run_id, "rule": row.rule, "series_id": row.series_id}
        session.execute(update(Alert), [{**key, **gone}])


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
