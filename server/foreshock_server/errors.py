"""Errors that know their HTTP status and their sentence: the docstring is the message, the class name the code."""

from __future__ import annotations

from typing import Any


class DomainError(Exception):
    """Something went wrong that the caller can understand."""

    status = 400

    def __init__(self, message: str | None = None, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(message or self.__doc__)
        self.retry_after = retry_after  # seconds; becomes the Retry-After header
        self.extra = extra  # further fields of the answer, such as `field`

    def body(self) -> dict[str, Any]:
        """The JSON that a client reads."""
        return {"error": type(self).__name__, "detail": str(self), **self.extra}


class UnknownRun(DomainError):
    """No run has this id."""

    status = 404


class UnknownSeries(DomainError):
    """This run has no series with this key; GET /api/v1/runs/{run}/series lists them."""

    status = 404


class UnknownFigure(DomainError):
    """No figure has this name; GET /api/v1/runs/{run}/figures lists them."""

    status = 404


class UnknownStatistic(DomainError):
    """No statistic has this name; GET /api/v1/reference lists them."""

    status = 404


class UnknownChannel(DomainError):
    """No channel has this id; GET /api/v1/channels lists them."""

    status = 404


class UnknownFrame(DomainError):
    """A row names a frame that this server never saw; send the block again with its frames."""

    status = 409


class MalformedBlock(DomainError):
    """The block does not follow the wire contract."""

    status = 422


class Invalid(DomainError):
    """The request does not say what it must."""

    status = 422


class BlockTooLarge(DomainError):
    """The block is larger than this server takes; send fewer steps at a time."""

    status = 413


class Unauthorized(DomainError):
    """This server wants a key: send `Authorization: Bearer KEY`, or sign in with it on the page."""

    status = 401


class Forbidden(DomainError):
    """The request comes from another site; open Foreshock's own page instead."""

    status = 403


class DatabaseAway(DomainError):
    """The database does not answer; nothing was stored, send it again."""

    status = 503
