"""Who is at work -> what log lines and counters say about it: notes on the request in course, fields of a stage's lines."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from foreshock_server.errors import request_id

P = ParamSpec("P")
R = TypeVar("R")

_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")

_notes: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)
_fields: ContextVar[Mapping[str, str]] = ContextVar("fields", default={})  # noqa: B039 (never changed, only replaced)


def note(**facts: Any) -> None:
    """Tell whoever watches the request in course: `key` (its id, never its secret), `points`, `blocks`, `outcome`.

    The dictionary is shared with the middleware, so this also works in the thread pool. Outside a request it does nothing.
    """
    notes = _notes.get()
    if notes is not None:
        notes.update(facts)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Log lines of this block of code carry these fields: `with about(run=run_id):`."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def of_run(which: Callable[[Any], str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a method of a stage: its log lines carry the run that `which` finds in its first argument."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            with about(run=which(args[1])):
                return method(*args, **kwargs)

        return told

    return decorate


@contextmanager
def request(offered: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The id of a request, as offered if it is sane, else a new one, and the notes that will be made on it."""
    number = offered if offered and _SANE.fullmatch(offered) else uuid.uuid4().hex[:16]
    notes: dict[str, Any] = {}
    tokens = request_id.set(number), _notes.set(notes)
    try:
        yield number, notes
    finally:
        request_id.reset(tokens[0])
        _notes.reset(tokens[1])


def fields() -> dict[str, str]:
    """What a log line made now should carry."""
    number = request_id.get()
    return {**({"request_id": number} if number else {}), **_fields.get()}
