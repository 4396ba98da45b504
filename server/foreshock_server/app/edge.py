"""Every request -> bounded; every answer -> with the headers that keep a browser from doing what we do not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foreshock_server.deps import body_size
from foreshock_server.errors import BlockTooLarge, DomainError, HeadTooLarge, Invalid

NOBODY = "'none'"
_POLICY = "Content-Security-Policy"
HEADERS = {
    # plotly.js writes style elements and draws images for export; everything else is a file of ours
    _POLICY: (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; "
        f"frame-ancestors {NOBODY}"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
MOST_HEADERS = 100
LONGEST_HEADERS = 32 * 1024  # bytes, all names and values together
LONGEST_ADDRESS = 32 * 1024  # bytes: `?key=` names many series
BODY_SECONDS = 30.0  # to send a body; ingest/receiving.py looks at the clock of blocks
PIECE = 256 * 1024  # bytes of an answer that are handed on at once, and held when nobody reads them
_UNHEARD = (b"range", b"if-range")  # Starlette's answers in parts have errors and a cost of their own

# Bytes of a body, by its address, the first that fits. Blocks are decoded with care; JSON for FastAPI costs up to thirty times
# its size, and each field that is wrong costs as much as a kilobyte, on the thread that answers everybody.
_LIMITS: tuple[tuple[re.Pattern[str], int | None], ...] = (
    (re.compile(r"/api/v1/session"), 8 * 1024),  # may come without a key
    (re.compile(r"/api/v1/runs/[^/]+/blocks"), None),  # FORESHOCK_MAX_BLOCK_BYTES
    (re.compile(r"/api/v1/runs/[^/]+"), 4 * 1024 * 1024),  # a configuration, as people have them
    (re.compile(r"/api/v1/(channels|keys|projects)(/.*)?|/api/v1/runs/[^/]+/attempts/.*"), 64 * 1024),
    (re.compile(r".*", re.DOTALL), 256 * 1024),
)


class Edge:
    """ASGI middleware. A body is counted as it comes in, and has to come: Content-Length may be missing, and may lie."""

    def __init__(self, app: ASGIApp, limit: int, frames: Sequence[str] = ()) -> None:
        self._app = app
        self._limit = limit
        self._headers = {
            **HEADERS,
            _POLICY: HEADERS[_POLICY].removesuffix(NOBODY) + (" ".join(frames) or NOBODY),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        own = limit_of(scope["path"])
        limit = min(self._limit, own or self._limit)
        until = asyncio.get_running_loop().time() + BODY_SECONDS
        received = 0
        whole = own is None
        answered = False

        async def bounded() -> Message:
            nonlocal received, whole
            if whole:  # what follows is that the client leaves
                message = await receive()
            else:
                message = await _in_time(receive, until)
                whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if message is not _TOO_LATE and received <= limit:
                return message
            if answered:  # a stream that listens for its client
                return {"type": "http.disconnect"}
            raise HTTPException(503, _LATE) if message is _TOO_LATE else HTTPException(413, _sentence(limit))

        async def dressed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            body = message.get("body", b"")
            if len(body) <= PIECE:
                await send(message)
                return
            for at in range(0, len(body), PIECE):
                more = message.get("more_body", False) or at + PIECE < len(body)
                await send({**message, "body": body[at : at + PIECE], "more_body": more})

        scope["headers"] = [one for one in scope["headers"] if one[0] not in _UNHEARD]
        refusal = _refusal(scope, limit)
        if refusal is not None:
            await JSONResponse(refusal.body(), refusal.status)(scope, receive, dressed)
            return
        await self._app(scope, bounded, dressed)


def _refusal(scope: Scope, limit: int) -> DomainError | None:
    """What is wrong with a request before any of its body is read."""
    address = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if address > LONGEST_ADDRESS:
        return HeadTooLarge(
            f"The address of this request has {address:,} bytes; {LONGEST_ADDRESS:,} are the most. "
            "Ask for fewer series at a time."
        )
    if len(scope["headers"]) > MOST_HEADERS:
        return HeadTooLarge(
            f"The request has {len(scope['headers']):,} headers; {MOST_HEADERS} are the most."
        )
    if (size := sum(len(name) + len(value) for name, value in scope["headers"])) > LONGEST_HEADERS:
        return HeadTooLarge(f"The headers have {size:,} bytes; {LONGEST_HEADERS:,} are the most.")
    if "\x00" in scope["path"] or b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]:
        return Invalid("The address holds a NUL character, which no name here has.", field="")
    if (body_size(Headers(scope=scope)) or 0) > limit:
        return BlockTooLarge(_sentence(limit))
    return None


def limit_of(path: str) -> int | None:
    """Bytes that a body may have there; None: what a block may."""
    return next(limit for pattern, limit in _LIMITS if pattern.fullmatch(path))


_TOO_LATE: Message = {"type": "late"}
_LATE = f"The body did not arrive within {BODY_SECONDS:g} seconds; send less at a time."


async def _in_time(receive: Receive, until: float) -> Message:
    try:
        return await asyncio.wait_for(receive(), until - asyncio.get_running_loop().time())
    except asyncio.TimeoutError:
        return _TOO_LATE


def _sentence(limit: int) -> str:
    return f"The body is larger than {limit:,} bytes; send less at a time."
