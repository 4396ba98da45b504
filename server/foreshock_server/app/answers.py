"""Exceptions -> answers of one shape, `{"error", "detail"}`: a sentence for the caller, never a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from foreshock_server.errors import BlockTooLarge, DatabaseAway, DomainError, Invalid

log = logging.getLogger(__name__)

AWAY_FOR = 2.0  # seconds after which a client may try again


def install(app: FastAPI) -> None:
    """Teach the application to answer in this shape."""
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in (OperationalError, PoolTimeout, DBAPIError):
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, _unexpected)


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
    return render(Invalid(f"{field or 'The body'}: {first['msg']}{rest}.", field=field))


def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (the same)
    if error.status_code == 413:
        return render(BlockTooLarge(error.detail))
    name = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    return JSONResponse({"error": name, "detail": error.detail}, error.status_code, error.headers)


def _database(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, DBAPIError) and not (
        isinstance(error, OperationalError) or error.connection_invalidated
    ):
        return _unexpected(request, error)
    log.warning("the database does not answer: %s", str(error).splitlines()[0])
    return render(DatabaseAway(retry_after=AWAY_FOR))


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("our fault, in %s %s", request.method, request.url.path, exc_info=error)
    detail = "The server failed; its log says why. Nothing of this request was stored."
    return JSONResponse({"error": "InternalError", "detail": detail}, 500)
