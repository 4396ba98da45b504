"""The parts that an answer needs -> whether each is fit, why not, and since when; within two seconds, whatever hangs."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from fastapi import FastAPI
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url

from foreshock_server import migrate
from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.settings import Settings
from foreshock_server.telemetry import Instruments, Probe, instruments

PATIENCE = 2.0  # seconds that an answer about readiness takes at most
WAITS_AT_MOST = (
    10.0  # seconds of a block for its commit: soon after, trainers give up waiting and send it again
)
TROUBLE_LASTS = 30.0  # seconds after a write failed for want of room that we count as unable to write

Health = Literal["ok", "degraded", "failing"]


class Check(NamedTuple):
    """One part."""

    status: Health
    reason: str | None = None  # for people: what is wrong
    age: float | None = None  # seconds: how old this knowledge is, or how long the trouble lasts

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "reason": self.reason,
            "age": None if self.age is None else round(self.age, 3),
        }


class Part(Protocol):
    """Something that works in the background of this process."""

    def problem(self) -> tuple[str, float] | None:
        """What is wrong with it, and for how many seconds; None when nothing is."""


class Stage(Part, instruments.Stage, Protocol):
    """A part that works round by round."""


def watch(app: FastAPI, stages: Sequence[Stage]) -> None:
    """Readiness and counters of this application speak of these too."""
    app.state.readiness.parts.update({stage.name: stage for stage in stages})
    app.state.instruments.stages(stages)


class Readiness:
    """Of one application. `parts` takes whatever else must live: name -> part."""

    def __init__(self, database: Database, bus: Bus, settings: Settings, counters: Instruments) -> None:
        self.parts: dict[str, Part] = {}
        self._writes = _Writes(database.engine, counters)
        self._space = _space_of(settings)
        self._database = Probe("ready-database", lambda: _schema(database), keep=1.0)
        self._writing = Probe("ready-writing", lambda: _write(database), keep=5.0)
        self._bus = Probe("ready-bus", bus.problem, keep=1.0)

    async def checks(self) -> dict[str, Check]:
        """Every part by its name."""
        database, writing, bus = await asyncio.gather(
            self._database.seen(PATIENCE), self._writing.seen(PATIENCE), self._bus.seen(PATIENCE)
        )
        found = {
            "database": _failing(database.problem or database.value, database.age),
            "writable": _failing(
                self._writes.trouble() or (self._space() if self._space else None) or writing.problem,
                writing.age,
            ),
            "bus": _degraded(bus.problem or bus.value, bus.age),
        }
        for name, part in self.parts.items():
            problem = part.problem()
            found[name] = Check("ok") if problem is None else Check("failing", *problem)
        return found


class Waits:
    """A part that is well while nothing waits in it for long; `age` tells for how many seconds the oldest does."""

    def __init__(self, what: str, age: Callable[[], float]) -> None:
        self._what = what
        self._age = age

    def problem(self) -> tuple[str, float] | None:
        """See Part."""
        age = self._age()
        return (f"{self._what} for {age:.0f} s", age) if age > WAITS_AT_MOST else None


def _failing(problem: str | None, age: float | None) -> Check:
    return Check("ok" if problem is None else "failing", problem, age)


def _degraded(problem: str | None, age: float | None) -> Check:
    if problem is None:
        return Check("ok", None, age)
    return Check("degraded", f"{problem}; hints between processes wait, nothing is lost", age)


def _schema(database: Database) -> str | None:
    with database.reading() as session:
        missing = migrate.pending(session.connection())
    return f"lacks revision {', '.join(missing)}: run `foreshock migrate`" if missing else None


def _write(database: Database) -> None:
    """Something small, really committed, that no table shows."""
    with database.writing() as session:
        # refused where the database only reads, or where we may not write
        session.execute(text("UPDATE runs SET revision = revision WHERE id = ''"))
        if database.is_sqlite:
            version = session.scalar(text("PRAGMA user_version"))
            session.execute(text(f"PRAGMA user_version = {int(version or 0)}"))
        elif session.scalar(
            text(
                "SELECT bool_and(has_function_privilege(oid, 'execute')) FROM pg_proc"
                " WHERE proname = 'pg_logical_emit_message'"
            )
        ):
            session.execute(text("SELECT pg_logical_emit_message(true, 'foreshock', '')"))


class _Writes:
    """What the database says to real requests: a write that found no room counts for a while."""

    def __init__(self, engine: Engine, counters: Instruments) -> None:
        self._said: tuple[str, float] | None = None
        self._count = counters.database_errors
        event.listen(engine, "handle_error", self._heard)

    def trouble(self) -> str | None:
        """The last such failure, if it is fresh."""
        said = self._said
        if said is None or (ago := time.monotonic() - said[1]) > TROUBLE_LASTS:
            return None
        return f"a write failed {ago:.0f} s ago: {said[0]}"

    def _heard(self, context: ExceptionContext) -> None:
        error = context.original_exception
        self._count.labels(type(error).__name__).inc()
        words = (str(error).strip().splitlines() or [""])[0]
        if any(sign in words.lower() for sign in _NO_ROOM):
            self._said = (words, time.monotonic())


_NO_ROOM = ("disk is full", "no space left", "readonly database", "read-only", "disk i/o error", "diskfull")


def _space_of(settings: Settings) -> Callable[[], str | None] | None:
    """For an embedded database: what is wrong when its disk has no room for one more block of the largest size."""
    url = make_url(settings.url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    folder, least = Path(url.database).parent, settings.max_block_bytes

    def problem() -> str | None:
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"{folder} cannot be looked at: {error.strerror}"
        return None if free >= least else f"{free:,} bytes are free in {folder}; a block may need {least:,}"

    return problem
