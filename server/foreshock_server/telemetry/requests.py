"""Every request -> an id, one log line, and the counters of its route; what nobody caught -> an answer and a trace in the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreshock_server.settings import Settings
from foreshock_server.telemetry.context import request
from foreshock_server.telemetry.instruments import Instruments

log = logging.getLogger("foreshock_server.access")

ELSEWHERE = "(other)"  # an address that no route knows: its text is the caller's, so it is no label
BLOCKS = "/api/v1/runs/{run}/blocks"
_GONE = 499  # the client left before the answer; nginx's number for it
_STREAM = b"text/event-stream"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_OUTCOMES = {429: "throttled", 503: "away"}


class Watched:
    """ASGI middleware, the outermost: whatever the others answer is seen here, and what they raise ends here as a 500."""

    def __init__(
        self,
        app: ASGIApp,
        instruments: Instruments,
        settings: Settings,
        fault: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._instruments = instruments
        self._lines = settings.access_log
        self._slow = settings.slow_request
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with request(Headers(scope=scope).get("x-request-id")) as (number, notes):
            seen = _Exchange(scope, receive, send, number)
            self._instruments.requests_in_course.inc()
            try:
                await self._app(scope, seen.receive, seen.send)
            except ClientDisconnect:
                seen.status = seen.status or _GONE
            except Exception as error:
                answer = self._fault(Request(scope), error)
                if not seen.started:
                    await answer(scope, receive, seen.send)
                seen.status = 500  # also when it broke in the middle of an answer
                raise
            finally:
                self._instruments.requests_in_course.dec()
                self._count(seen, notes)
                self._say(seen, notes)

    def _count(self, seen: _Exchange, notes: dict[str, Any]) -> None:
        to = self._instruments
        to.requests.labels(seen.method, seen.route, seen.status).inc()
        if not seen.streams:
            to.request_seconds.labels(seen.route).observe(seen.seconds)
        if seen.route != BLOCKS or seen.method != "POST":
            return
        outcome = _outcome(seen.status, notes)
        to.ingest_requests.labels(outcome).inc()
        to.ingest_bytes.labels(outcome).inc(seen.received)
        to.ingest_blocks.labels(outcome).inc(notes.get("blocks", 0))
        to.ingest_points.labels(outcome).inc(notes.get("points", 0))
        if seen.status == 200:
            to.ingest_seconds.observe(seen.seconds)

    def _say(self, seen: _Exchange, notes: dict[str, Any]) -> None:
        notable = seen.status >= 400 or (seen.seconds >= self._slow and not seen.streams)
        level = logging.INFO if notable or self._lines == "all" else logging.DEBUG
        if self._lines == "off" or not log.isEnabledFor(level):
            return
        key = notes.get("key")
        log.log(
            level,
            "%s %s %d in %.1f ms, %d bytes in, %d out",
            seen.method,
            seen.route,
            seen.status,
            seen.seconds * 1e3,
            seen.received,
            seen.sent,
            extra={
                "fields": {
                    "method": seen.method,
                    "route": seen.route,
                    "status": seen.status,
                    "seconds": round(seen.seconds, 6),
                    "bytes_in": seen.received,
                    "bytes_out": seen.sent,
                    **({} if key is None else {"key": str(key)}),
                    **({"run": seen.run} if seen.run else {}),
                }
            },
        )


class _Exchange:
    """One request and its answer, as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, number: str) -> None:
        self.status = 0
        self.received = 0
        self.sent = 0
        self.started = False
        self.streams = False
        self._began = time.perf_counter()
        self._ended: float | None = None
        self._scope = scope
        self._receive = receive
        self._send = send
        self._number = number

    @property
    def method(self) -> str:
        return self._scope["method"] if self._scope["method"] in _METHODS else ELSEWHERE

    @property
    def route(self) -> str:
        """Its template, such as /api/v1/runs/{run}."""
        # FastAPI from 0.140 or so on keeps a route without its prefix, and the whole of it in a context of its own.
        context = self._scope.get("fastapi", {}).get("effective_route_context")
        return str(getattr(context or self._scope.get("route"), "path", None) or ELSEWHERE)

    @property
    def run(self) -> str | None:
        """The run that it is about, where that can be the name of one."""
        run = self._scope.get("path_params", {}).get("run")
        return run if isinstance(run, str) and len(run) <= 64 else None

    @property
    def seconds(self) -> float:
        return (self._ended or time.perf_counter()) - self._began

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._number
            self.streams = headers.get("content-type", "").encode().startswith(_STREAM)
        await self._send(message)
        self.sent += len(message.get("body", b""))
        self._ended = time.perf_counter()


def _outcome(status: int, notes: dict[str, Any]) -> str:
    if status == 200:
        return str(notes.get("outcome", "stored"))
    if status >= 500:
        return _OUTCOMES.get(status, "failed")
    return _OUTCOMES.get(status, "refused")
