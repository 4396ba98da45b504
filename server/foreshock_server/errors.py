"""Errors that know their HTTP status and their sentence: the docstring is the message, the class name the code."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request in course


def body_of(error: str, detail: str, **extra: Any) -> dict[str, Any]:
    """The JSON of every answer that is an error: a code, a sentence, the request's id, and what else is known."""
    body = {"error": error, "detail": detail, "request_id": request_id.get(), **extra}
    return {name: _sayable(value) if isinstance(value, str) else value for name, value in body.items()}


def _sayable(text: str) -> str:
    """Callers' words may be part of it: not at length, and half a surrogate pair is no text that UTF-8 can hold."""
    return (text if len(text) <= 1000 else f"{text[:999]}…").encode("utf-8", "backslashreplace").decode()


class DomainError(Exception):
    """Something went wrong that the caller can understand."""

    status = 400

    def __init__(self, message: str | None = None, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(message or self.__doc__)
        self.retry_after = retry_after  # seconds; becomes the Retry-After header
        self.extra = extra  # further fields of the answer, such as `field`

    def body(self) -> dict[str, Any]:
        """The JSON that a client reads."""
        return body_of(type(self).__name__, str(self), **self.extra)


class UnknownRun(DomainError):
    """No run has this id; GET /api/v1/runs lists them."""

    status = 404


class RunDeleted(UnknownRun):
    """This run was deleted here, so nothing more of it is stored; training may go on, a new run begins with a new id."""

    status = 410


class RunExists(DomainError):
    """A run of this id is here already."""

    status = 409


class UnknownSeries(DomainError):
    """This run has no series with this key; GET /api/v1/runs/{run}/series lists them."""

    status = 404


class UnknownFigure(DomainError):
    """No figure has this name; GET /api/v1/runs/{run}/figures lists them."""

    status = 404


class FigureFailed(DomainError):
    """The figure of an installed package could not be drawn."""

    status = 422


class UnknownStatistic(DomainError):
    """No statistic has this name; GET /api/v1/reference lists them."""

    status = 404


class UnknownChannel(DomainError):
    """No channel has this id; GET /api/v1/channels lists them."""

    status = 404


class UnknownIncident(DomainError):
    """This run has no incident with this number; GET /api/v1/runs/{run}/incidents lists them."""

    status = 404


class UnknownDelivery(DomainError):
    """No message has this id; GET /api/v1/deliveries lists them."""

    status = 404


class UnknownSilence(DomainError):
    """No silence has this id; GET /api/v1/silences lists them."""

    status = 404


class UnknownRule(DomainError):
    """No rule that was made on the page has this id; GET /api/v1/rules/own lists them."""

    status = 404


class RuleExists(DomainError):
    """Another rule has this id; choose another."""

    status = 409


class RuleChanged(DomainError):
    """Somebody changed this rule since you opened it; look at the change, then make yours again."""

    status = 409


class Outdated(DomainError):
    """Something later about the same alert was delivered to this channel; sending this now would tell what is no longer so."""

    status = 409


class UnknownKey(DomainError):
    """No key has this id; `foreshock keys list` and GET /api/v1/keys list them."""

    status = 404


class UnknownFrame(DomainError):
    """A row names a frame that this server never saw; send the block again with its frames."""

    status = 409


class DamagedBlock(DomainError):
    """What arrived is not what was sent: its checksum is another. Nothing was stored, send it again."""


class MalformedBlock(DomainError):
    """The block does not follow the wire contract."""

    status = 422


class Invalid(DomainError):
    """The request does not say what it must."""

    status = 422


class BlockTooLarge(DomainError):
    """The block is larger than this server takes; send fewer steps at a time."""

    status = 413


class HeadTooLarge(DomainError):
    """The address or the headers of the request are longer than this server takes."""

    status = 431


class Unauthorized(DomainError):
    """This server wants a key: send `Authorization: Bearer KEY`, or sign in with it on the page."""

    status = 401


class Forbidden(DomainError):
    """The request comes from another site; open Foreshock's own page instead."""

    status = 403


class DatabaseAway(DomainError):
    """The database does not answer; nothing was stored, send it again."""

    status = 503


class StorageFull(DomainError):
    """The server's disk is full; nothing was stored, send it again when somebody has made room."""

    status = 503


class TooFast(DomainError):
    """This run has as much waiting as one run may; nothing was stored, send it again."""

    status = 429


class Overloaded(DomainError):
    """The server has as much waiting as it may hold; nothing was stored, send it again."""

    status = 503
