"""A run whose rules say what the test writes, and what of it reaches the outbox."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from foreshock_server.bus import LocalBus
from foreshock_server.db import Database
from foreshock_server.incidents.keeper import Keeper
from foreshock_server.models import Alert, Channel, Delivery, Incident, Run, Series, Transition
from foreshock_server.store import incidents, silences
from foreshock_server.store.runs import lock_run
from foreshock_server.store.telling import Book, Event


class World:
    """One run, a clock, and rules that speak when they are told to.

    Rules are written `family/rule` or `family/rule@place`; what reaches the outbox reads `channel: kind rule`.
    """

    def __init__(self, database: Database, run: str = "run-1") -> None:
        self.database = database
        self.now = 10_000.0
        self.run = run
        self._series: dict[tuple[str, str], int] = {}
        self._episodes: dict[str, int] = {}
        self._steps = itertools.count(1)
        with database.writing() as session:
            session.add(
                Run(
                    id=self.run,
                    project="p",
                    name="brisk-otter",
                    config={},
                    state="running",
                    created_at=self.now,
                    updated_at=self.now,
                )
            )

    def channel(self, name: str = "ops", **more: Any) -> None:
        with self.database.writing() as session:
            about = {"project": None, "enabled": True, **more}
            session.add(
                Channel(id=name, name=name, kind="webhook", config={}, origin="api", created_at=0.0, **about)
            )

    def silence(self, seconds: float = 3600.0, project: str | None = None, **matches: Any) -> str:
        with self.database.writing() as session:
            return silences.create_silence(
                session,
                project=project,
                matches=matches,
                seconds=seconds,
                reason="",
                made_by="me",
                now=self.now,
            ).id

    def end(self, silence: str) -> None:
        with self.database.writing() as session:
            silences.end_silence(session, silences.get_silence(session, silence), self.now)

    def says(self, *said: str, labels: Mapping[str, str] | None = None) -> None:
        """Stored together. `f/a!` fires, `f/A!` fires critical, `f/n!!` fires critical and inhibits, `f/a^` grows critical (`^^`: and
        says so), `f/a.` is well again."""
        with self.database.writing() as session:
            run = lock_run(session, self.run)
            run.updated_at = self.now
            events = [self._event(session, one, labels or {}) for one in said]
            Book(session, run, self.now).follow(events)

    def _event(self, session: Any, said: str, labels: Mapping[str, str]) -> Event:
        words = said.rstrip("!.^")
        mark = said[len(words) :]
        family, _, rest = words.partition("/")
        rule, _, place = rest.partition("@")
        critical = rule[0].isupper() or mark in ("!!", "^", "^^")
        rule = rule.lower()
        series = self._place(session, family, place, labels)
        key = f"{rule}@{place}"
        kind = {"!": "fired", "^": "escalated", ".": "resolved"}[mark[0]]
        episode = self._episodes[key] = self._episodes.get(key, 0) + (kind == "fired")
        step = next(self._steps)
        state = "ok" if kind == "resolved" else "firing"
        alert = session.get(Alert, (self.run, rule, series)) or Alert(
            run_id=self.run, rule=rule, series_id=series, attempt=1, reading={}, fired_step=step
        )
        alert.state, alert.episode = state, episode
        alert.severity = "critical" if critical else "warning"
        alert.memory = {"leader": [series, episode] if state == "firing" else None}
        session.add(alert)
        transition = Transition(
            run_id=self.run,
            rule=rule,
            series_id=series,
            episode=episode,
            kind=kind,
            severity=alert.severity,
            step=step,
            since_step=step,
            at=self.now,
            created_at=self.now,
            detail={"rule_family": family, "message": f"{rule} is {kind}."},
        )
        session.add(transition)
        session.flush()
        return Event(transition, family, inhibits=mark == "!!", aloud=mark != "^")

    def _place(self, session: Any, family: str, place: str, labels: Mapping[str, str]) -> int:
        number = self._series.get((family, place))
        if number is None:
            number = self._series[family, place] = len(self._series) + 1
            key = f"{family}@{place}"
            session.add(
                Series(
                    run_id=self.run,
                    series_id=number,
                    key=key,
                    key_hash=f"{number:040}",
                    statistic=f"stat_{family}",
                    family=family,
                    place=place,
                    labels=dict(labels),
                    unit="",
                    dtype="f32",
                    about={},
                )
            )
        return number

    def later(self, seconds: float) -> int:
        """So much later the worker has looked at what time brings; how many incidents that were."""
        self.now += seconds
        keeper = Keeper(self.database, LocalBus(), clock=lambda: self.now)
        looked = keeper.run_once()
        assert keeper.run_once() == 0, "one look is enough"
        return looked

    def told(self) -> list[str]:
        """What is in the outbox, in the order in which it came there."""
        order = {"fired": 0, "escalated": 1, "repeated": 2, "resolved": 3}
        with self.database.reading() as session:
            rows = session.scalars(select(Delivery)).all()
        rows = sorted(rows, key=lambda one: (one.created_at, order[one.kind], one.rule, one.channel_id))
        return [f"{one.channel_id}: {one.kind} {one.rule}" for one in rows]

    def incidents(self) -> Sequence[Incident]:
        with self.database.reading() as session:
            return incidents.of_run(session, self.run)

    def acknowledge(self, number: int = 1, by: str = "Alice") -> Incident:
        with self.database.writing() as session:
            return incidents.acknowledge(session, self.run, number, by, self.now)


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


@pytest.fixture
def another(database: Database) -> World:
    """A second run, of the same channels and clock."""
    return World(database, "run-2")


@pytest.fixture
def channel(world: World) -> Callable[..., None]:
    world.channel()
    return world.channel
