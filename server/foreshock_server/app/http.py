"""Bytes of a connection -> requests, in bounded time; what is no request is answered in the shape of every other error.

Whoever opens connections and says nothing, writes a letter a second, or never reads what it asked for would else hold them for
good, and with them the open files of this process.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import lru_cache
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD = 64 * 1024  # bytes of a request line and its headers that are kept while the rest is awaited
HEAD_SECONDS = (
    20.0  # from a connection's beginning, or the first byte of a further request, to the end of its headers
)
REST_SECONDS = 10.0  # that the rest of a body may come after its answer, and is thrown away
STALL_SECONDS = 60.0  # that a client may leave what it asked for unread
MOST_CONNECTIONS = 10_000  # at a time
OWN_FILES = 256  # of the files that this process may open: kept for the database, exports and the like


class Http(H11Protocol):
    """uvicorn's, which would wait for ever, and answer with a bare line of text."""

    _deadline: asyncio.TimerHandle | None = None  # of what the client has to send
    _stalled: asyncio.TimerHandle | None = None  # of what it has to read

    def connection_made(self, transport: Any) -> None:
        """Take it, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            transport.abort()
        else:
            self._deadline = self._in(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._let_be()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The clock runs while a head is awaited of which something is there, and while a body outlives its answer."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._let_be()
        elif self._deadline is None:
            answered = self.cycle is not None and self.conn.their_state is h11.SEND_BODY
            self._deadline = self._in(REST_SECONDS if answered else HEAD_SECONDS)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._stalled = self._in(STALL_SECONDS)

    def resume_writing(self) -> None:
        """It has read nearly all of it."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say what may be wrong, and close the connection."""
        detail = (
            "This is not a request that HTTP knows, or its address and headers are longer than "
            f"{LONGEST_HEAD // 1024} KiB."
        )
        body = json.dumps({"error": "BadRequest", "detail": detail}).encode()
        head = h11.Response(
            status_code=400,
            reason=b"Bad Request",
            headers=[
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ],
        )
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _in(self, seconds: float) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self.transport.abort)

    def _let_be(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@lru_cache(maxsize=1)
def most_connections() -> int:
    """Connections at a time: each is an open file. This lets the process open more of them where the system allows it."""
    if sys.platform == "win32":  # there a socket is no file
        return MOST_CONNECTIONS
    import resource  # not on Windows

    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OWN_FILES
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        except (OSError, ValueError):
            wanted = now
    return max(64, wanted - OWN_FILES)
