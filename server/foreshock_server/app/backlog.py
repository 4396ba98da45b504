"""Database -> gauges that only it knows: what waits for which stage and since when, deliveries, losses. Cheap, bounded, cached."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.pool import QueuePool

from foreshock_server.db import Database
from foreshock_server.models import Alert, Attempt, Block, Delivery, Merge, Run, Writer
from foreshock_server.ranks.gathering import rank_of
from foreshock_server.store.runs import RUNNING
from foreshock_server.telemetry import Probe

KEEP = 1.0  # seconds that a look at the database is good for
MOST_RUNS = 20  # that are named, those with the most losses; the others are one sum

CURSORS = {
    "evaluation": Writer.evaluated_seq,
    "tally": Writer.tallied_seq,
    "sealing": Writer.sealed_seq,
}


@dataclass
class Standing:
    """One look: metric name -> labels -> number."""

    numbers: dict[str, dict[str, float]] = field(default_factory=dict)

    def put(self, name: str, value: float, label: str = "") -> None:
        self.numbers.setdefault(name, {})[label] = float(value)


def look(database: Database) -> Standing:
    """Where everything stands now."""
    standing, now = Standing(), time.time()
    with database.reading() as session:
        for state, runs, points in session.execute(
            select(Run.state, func.count(), func.coalesce(func.sum(Run.points), 0))
            .where(Run.deleted_at.is_(None))
            .group_by(Run.state)
        ):
            standing.put("runs", runs, state)
            standing.put("points", points, state)
        for stage, cursor in CURSORS.items():
            blocks, since = _lag(session, cursor)
            standing.put("lag_blocks", blocks, stage)
            standing.put("lag_seconds", max(0.0, now - since) if since is not None else 0.0, stage)
        standing.put("merge_lag", _merge_lag(session))
        for state in ("firing", "pending"):
            count = session.scalar(select(func.count()).select_from(Alert).where(Alert.state == state))
            standing.put("alerts", count or 0, state)
        _deliveries(session, standing, now)
        _losses(session, standing)
    return standing


def _lag(session: Session, cursor: InstrumentedAttribute[int]) -> tuple[int, float | None]:
    """Acknowledged blocks beyond the cursor, of all writers, and when the first of them came; only live writers are looked at."""
    behind = cursor < Writer.acked_seq
    blocks = session.scalar(select(func.sum(Writer.acked_seq - cursor)).where(behind))
    if not blocks:
        return 0, None
    first = (
        select(Block.received_at)
        .where(
            Block.run_id == Writer.run_id,
            Block.attempt == Writer.attempt,
            Block.writer == Writer.writer,
            Block.seq > cursor,
        )
        .order_by(Block.seq)
        .limit(1)
        .correlate(Writer)
        .scalar_subquery()
    )
    return blocks, session.scalar(select(func.min(first)).where(behind))


def _merge_lag(session: Session) -> int:
    """Acknowledged blocks of ranks that came after the merger last decided, of attempts that still run."""
    running = (
        select(Merge.run_id, Merge.attempt, Merge.seen)
        .join(Attempt, (Attempt.run_id == Merge.run_id) & (Attempt.attempt == Merge.attempt))
        .where(Attempt.state == RUNNING)
        .subquery()
    )
    query = select(running.c.run_id, running.c.attempt, running.c.seen, Writer.writer, Writer.acked_seq).join(
        Writer, (Writer.run_id == running.c.run_id) & (Writer.attempt == running.c.attempt)
    )
    acked: dict[tuple[str, int], int] = {}
    for run_id, attempt, seen, writer, seq in session.execute(query):
        mine = seq if rank_of(writer) is not None else 0
        acked[run_id, attempt] = acked.get((run_id, attempt), -seen) + mine
    return sum(max(0, behind) for behind in acked.values())


def _deliveries(session: Session, standing: Standing, now: float) -> None:
    waiting = Delivery.state == "waiting"
    query = select(func.count(), func.min(Delivery.created_at), func.max(Delivery.tries)).where(waiting)
    count, oldest, tries = session.execute(query).one()
    failed = session.scalar(select(func.count()).select_from(Delivery).where(Delivery.state == "failed"))
    standing.put("deliveries", count, "waiting")
    standing.put("deliveries", failed or 0, "failed")
    standing.put("delivery_age", 0.0 if oldest is None else max(0.0, now - oldest))
    standing.put("delivery_tries", tries or 0)


def _losses(session: Session, standing: Standing) -> None:
    lost = func.sum(Writer.dropped)
    of_run = select(Writer.run_id, lost.label("lost")).where(Writer.dropped > 0).group_by(Writer.run_id)
    total = session.scalar(select(lost)) or 0
    named = session.execute(of_run.order_by(lost.desc(), Writer.run_id).limit(MOST_RUNS)).all()
    for run_id, count in named:
        standing.put("dropped", count, run_id)
    standing.put("dropped_rest", total - sum(count for _, count in named))


_FAMILIES = (
    ("runs", "foreshock_runs", "Runs, by the state that they told.", "state"),
    ("points", "foreshock_points_stored", "Readings stored, by the state of their run.", "state"),
    ("lag_blocks", "foreshock_stage_lag_blocks", "Acknowledged blocks that a stage has not taken yet.", "stage"),
    ("lag_seconds", "foreshock_stage_lag_seconds", "Age of the oldest of these.", "stage"),
    ("merge_lag", "foreshock_merge_lag_blocks", "Blocks of ranks that came after the last merge.", None),
    ("alerts", "foreshock_alerts", "Alerts that are not quiet, by state.", "state"),
    ("deliveries", "foreshock_deliveries", "Messages that wait, or were given up.", "state"),
    ("delivery_age", "foreshock_delivery_oldest_seconds", "Age of the oldest message that waits.", None),
    ("delivery_tries", "foreshock_delivery_most_tries", "Most tries of a message that waits.", None),
    ("dropped", "foreshock_run_dropped_readings", f"Readings lost at the {MOST_RUNS} runs that lost most.", "run"),
    ("dropped_rest", "foreshock_other_runs_dropped_readings", "Readings lost at all other runs.", None),
)  # fmt: skip


class Backlog(Collector):
    """A collector over the latest look; `refresh` looks, and waits no longer than it is told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._probe = Probe("backlog", lambda: look(database), keep=KEEP)
        self._up = False
        self._age: float | None = None
        self._standing: Standing | None = None

    async def refresh(self, patience: float) -> None:
        """Look again if the last look is old."""
        seen = await self._probe.seen(patience)
        self._up, self._age, self._standing = seen.problem is None, seen.age, seen.value

    def describe(self) -> Iterable[Metric]:
        """Nothing is looked up to register it."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "foreshock_database_up", "1 when the database answers within two seconds.", float(self._up)
        )
        if self._age is not None:
            yield GaugeMetricFamily(
                "foreshock_database_look_age_seconds", "Age of what follows from the database.", self._age
            )
        yield from self._pool()
        numbers = self._standing.numbers if self._standing else {}
        for name, metric, help_text, label in _FAMILIES:
            family = GaugeMetricFamily(metric, help_text, labels=[label] if label else [])
            for value, number in numbers.get(name, {}).items():
                family.add_metric([value] if label else [], number)
            yield family

    def _pool(self) -> Iterator[Metric]:
        pool = self._database.engine.pool
        if not isinstance(pool, QueuePool):
            return
        family = GaugeMetricFamily(
            "foreshock_database_connections", "Connections of this process to its database.", labels=["state"]
        )
        family.add_metric(["in_use"], pool.checkedout())
        family.add_metric(["idle"], pool.checkedin())
        yield family
