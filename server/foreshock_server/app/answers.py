"""Exceptions -> answers of one shape, `{"error", "detail", "request_id"}`: a sentence for the caller, never a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from foreshock_server.app.edge import HEADERS
from foreshock_server.db import is_away, is_full
from foreshock_server.deps import PLAIN
from foreshock_server.errors import (
    BlockTooLarge,
    DatabaseAway,
    DomainError,
    Invalid,
    Overloaded,
    StorageFull,
    body_of,
)

log = logging.getLogger(__name__)

_NOT_READ = "There was an error parsing the body"  # FastAPI's, for bytes that are no text
_FILES = "GET, HEAD"  # what the page's files take: Starlette's answer for them does not say it
AWAY_FOR = 2.0  # seconds after which a client may try again


def install(app: FastAPI) -> None:
    """Teach the application to answer in this shape; what it does not know, the outermost middleware gives to `fault`."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (OperationalError, PoolTimeout, DBAPIError):
        app.add_exception_handler(kind, _database)


def render(error: DomainError) -> JSONResponse:
    """The answer that this error is."""
    headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:g}"}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.body(), error.status, headers)


def _domain(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)  # noqa: S101 (tells the type checker what Starlette promises)
    return render(error)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (the same)
    first: dict[str, Any] = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = ".".join(where)
    more = len(error.errors()) - 1
    rest = f" ({more} more after it)" if more else ""
    said = first["msg"]
    if first.get("ctx", {}).get("pattern") == PLAIN:  # which is no sentence
        said = "holds a control character, or one that turns the direction of the text; leave it out"
    return render(Invalid(f"{field or 'The body'}: {said}{rest}.", field=field))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (the same)
    if error.status_code == 413:
        return render(BlockTooLarge(error.detail))
    if error.status_code == 503:  # a body that does not come; see app/edge.py
        return render(Overloaded(error.detail, retry_after=AWAY_FOR))
    if error.status_code == 400 and error.detail == _NOT_READ:
        return render(Invalid("The body is not JSON in UTF-8; see /openapi.json for what it must say."))
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if detail == status.phrase:  # the framework's, which tells nobody what to do
        detail = _SENTENCES.get(status, lambda _request, _error: detail)(request, error)
    headers = dict(error.headers or {})
    if status == 405:
        headers.setdefault("Allow", _FILES)
    name = status.phrase.title().replace(" ", "")
    return JSONResponse(body_of(name, detail), status, headers)


def _no_such(request: Request, _error: HTTPException) -> str:
    return f"There is nothing at {request.url.path[:200]!r}; GET /openapi.json lists what there is."


def _not_so(request: Request, error: HTTPException) -> str:
    allowed = (error.headers or {}).get("Allow", _FILES)
    return f"{request.method[:20]} is not understood here; send {allowed}."


_SENTENCES = {404: _no_such, 405: _not_so}


def _database(request: Request, error: Exception) -> JSONResponse:
    if is_full(error):
        return render(StorageFull(retry_after=AWAY_FOR))
    if isinstance(error, DataError) and "NUL" in str(error.orig):
        return render(Invalid("The request holds a NUL character, which no name here has; leave it out."))
    if not is_away(error):
        return fault(request, error)
    log.warning("the database does not answer: %s", str(error).splitlines()[0])
    return render(DatabaseAway(retry_after=AWAY_FOR))


def fault(request: Request, error: Exception) -> JSONResponse:
    """The answer to what is our fault; the log has the rest, under the same request id."""
    log.error("our fault, in %s %s", request.method, request.url.path, exc_info=error)
    detail = "The server failed; its log says why, under this request_id. Nothing of this request was stored."
    return JSONResponse(body_of("InternalError", detail), 500, HEADERS)  # it leaves outside of the edge
