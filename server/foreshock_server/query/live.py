"""Hints and a slow look of our own -> server-sent events: which run changed, with a cursor to resume from.

The database is asked from the thread pool. One client holds one small state, however fast its run changes and however
slowly it reads: changes are not queued, the latest state is sent when the line is free.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import or_, select
from sqlalchemy.exc import OperationalError

from foreshock_server.bus import Bus
from foreshock_server.db import Database
from foreshock_server.deps import EVERYTHING, Access, Asking
from foreshock_server.errors import DatabaseAway, Invalid, Overloaded, UnknownRun
from foreshock_server.models import Run
from foreshock_server.query.runs import state_of
from foreshock_server.settings import Settings
from foreshock_server.store import alerts
from foreshock_server.store.runs import RUNNING, get_run

router = APIRouter(tags=["live"])

LOOK_EVERY = 2.0  # seconds: a hint may be lost
HEARTBEAT = 15.0  # seconds: proxies close a silent line
SPACING = 0.2  # seconds between two events of one client: more often nobody can see
MOST_STREAMS = 2000  # at a time in this process: each asks the database every two seconds
OVERLAP = 5.0  # seconds by which the list looks back: transactions commit in another order than their times

Look = Callable[[], list[dict[str, Any]]]


class Listeners:
    """The clients that wait, on the event loop; hints arrive from any thread. Closing it ends every stream."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: dict[asyncio.Event, str | None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self.closing = False

    def open(self) -> None:
        """Begin to listen, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = self._bus.subscribe(self._hint)

    def close(self) -> None:
        """End every stream, so that the server can stop although clients would stay."""
        self.closing = True
        self._unsubscribe()
        for event in self._waiting:
            event.set()

    def add(self, run_id: str | None) -> asyncio.Event:
        """An event that is set when this run changes; None: when any does."""
        event = asyncio.Event()
        self._waiting[event] = run_id
        return event

    def remove(self, event: asyncio.Event) -> None:
        """Wait no more."""
        self._waiting.pop(event, None)

    def __len__(self) -> int:
        return len(self._waiting)

    def _hint(self, run_id: str) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._wake, run_id)
            except RuntimeError:
                pass  # the loop has ended; so have its clients

    def _wake(self, run_id: str) -> None:
        for event, wanted in self._waiting.items():
            if wanted is None or wanted == run_id:
                event.set()


@router.get("/runs/{run}/live", response_class=StreamingResponse)
async def run_live(
    request: Request,
    access: Asking,
    run: str,
    cursor: Annotated[int | None, Query(description="the last revision seen")] = None,
    last_event_id: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """An event for each change of one run (`text/event-stream`); its id is the run's revision. `deleted` is the last one."""
    state = request.app.state
    seen = _number(last_event_id, int) if last_event_id else cursor
    await run_in_threadpool(_must_exist, state.database, run)
    look = run_look(state.database, state.settings, run, seen)
    return _stream(state.listeners, run, look, access)


@router.get("/live", response_class=StreamingResponse)
async def list_live(
    request: Request,
    access: Asking,
    cursor: Annotated[float | None, Query(description="the last event's id")] = None,
    last_event_id: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StreamingResponse:
    """An event for each run that changes (`text/event-stream`); its id is the time of the change on the server."""
    state = request.app.state
    seen = _number(last_event_id, float) if last_event_id else cursor
    look = list_look(state.database, state.settings, seen, time.time(), access.project)
    return _stream(state.listeners, None, look, access)


def run_look(database: Database, settings: Settings, run_id: str, cursor: int | None) -> Look:
    """A look at one run: its state if that is news since the last look, else nothing."""
    seen: tuple[int, str | None] = (-1 if cursor is None else cursor, None)

    def look() -> list[dict[str, Any]]:
        nonlocal seen
        with database.reading() as session:
            run = get_run(session, run_id)
            state = state_of(run, settings, time.time())
            revision, told = seen
            # A run falls silent without a change of its row, so a new state is news too; the first look has no old one.
            if run.revision <= revision and told in (None, state):
                seen = (revision, state)
                return []
            seen = (run.revision, state)
            counts = alerts.counts(session, [run_id]).get(run_id, {})
            return [_event(run, state, counts, run.revision)]

    return look


def list_look(
    database: Database, settings: Settings, cursor: float | None, now: float, project: str | None = None
) -> Look:
    """A look at all runs, or those of one project: those that changed since the last look."""
    since = now if cursor is None else cursor
    told: dict[str, tuple[int, str]] = {}

    def look() -> list[dict[str, Any]]:
        nonlocal since
        quiet = time.time() - settings.silent_after
        with database.reading() as session:
            changed = Run.updated_at > since - OVERLAP
            # …or has just fallen silent, which changes no row
            hushed = (
                (Run.state == RUNNING) & (Run.updated_at <= quiet) & (Run.updated_at > quiet - 4 * LOOK_EVERY)
            )
            noted = Run.noted_at > since - OVERLAP  # by people, which leaves updated_at as it was
            query = select(Run).where(or_(changed, hushed, noted)).order_by(Run.updated_at.desc()).limit(500)
            if project is not None:
                query = query.where(Run.project == project)
            runs = list(session.scalars(query))[::-1]
            states = {run.id: state_of(run, settings, time.time()) for run in runs}
            news = [run for run in runs if told.get(run.id) != (run.revision, states[run.id])]
            counts = alerts.counts(session, [run.id for run in news]) if news else {}
        told_now = {run.id: (run.revision, states[run.id]) for run in runs}
        told.clear()
        told.update(told_now)
        since = max([since, *(max(run.updated_at, run.noted_at or 0.0) for run in runs)])
        return [_event(run, states[run.id], counts.get(run.id, {}), since) for run in news]

    return look


def _event(run: Run, state: str, counts: dict[tuple[str, str], int], cursor: float) -> dict[str, Any]:
    return {
        "id": cursor,
        "data": {
            "run": run.id,
            "revision": run.revision,
            "last_step": run.last_step,
            "state": state,
            "firing": sum(number for (at, _), number in counts.items() if at == alerts.FIRING),
        },
    }


def _stream(listeners: Listeners, run_id: str | None, look: Look, access: Access) -> StreamingResponse:
    if len(listeners) >= MOST_STREAMS:
        raise Overloaded(
            f"{MOST_STREAMS:,} live streams are open here, the most at a time; ask again later.",
            retry_after=HEARTBEAT,
        )
    return StreamingResponse(
        _events(listeners, run_id, look, access),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    listeners: Listeners, run_id: str | None, look: Look, access: Access = EVERYTHING
) -> AsyncIterator[str]:
    woken = listeners.add(run_id)
    spoke = time.monotonic()
    try:
        yield "retry: 1000\n\n"  # also tells the browser that the line is open
        while not listeners.closing:
            woken.clear()
            try:
                if not await access.holds():
                    return  # the key was revoked, or the page signed out
                news = await run_in_threadpool(look)
            except (
                OperationalError,
                DatabaseAway,
            ):  # the database is away; the line stays, and tells when it is back
                news = []
            except UnknownRun:  # deleted while it was watched; whoever connects again is told 404
                yield "event: deleted\ndata: {}\n\n"
                return
            for event in news:
                yield f"event: change\nid: {event['id']!r}\ndata: {json.dumps(event['data'])}\n\n"
            if news:
                spoke = time.monotonic()
                await asyncio.sleep(SPACING)
            elif time.monotonic() - spoke >= HEARTBEAT:
                spoke = time.monotonic()
                yield ": still here\n\n"
            try:
                await asyncio.wait_for(woken.wait(), LOOK_EVERY)
            except asyncio.TimeoutError:
                pass
    finally:
        listeners.remove(woken)


def _must_exist(database: Database, run_id: str) -> None:
    with database.reading() as session:
        get_run(session, run_id)


def _number(text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Invalid(
            f"Last-Event-ID {text[:40]!r} is no cursor; send the id of the last event.", field="Last-Event-ID"
        ) from None
