"""A request -> its session, and what whoever sent it may do. One request, one transaction, committed before the answer is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BeforeValidator
from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from foreshock_server.errors import Forbidden

INGEST, READ, ADMIN = "ingest", "read", "admin"
SCOPES = (INGEST, READ, ADMIN)

# What people name: no control characters, and none that turn the direction of the text around them.
NOT_PLAIN = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff"
PLAIN = f"^[^{NOT_PLAIN}]*$"
LINES = rf"^(?:[\t\n\r]|[^{NOT_PLAIN}])*$"  # the same, in several lines


def _no_word(value: object) -> object:
    if isinstance(value, (bool, str)):
        raise ValueError("write a whole number")
    return value


# A whole number as JSON Schema has it, in a body that is read strictly: 1 and 1.0, and neither true nor "1", which pydantic would
# take for one. To be written last, after `Field(…, strict=False)`: what follows it is missing from the document.
WHOLE = BeforeValidator(_no_word)


async def _always() -> bool:
    return True


@dataclass(frozen=True)
class Access:
    """What the sender of a request may do: `scopes` (admin includes the others), on one project or, with None, on all."""

    key: str | None  # id of the key; "settings": that of FORESHOCK_API_KEY; None: nobody was asked for one
    scopes: frozenset[str]
    project: str | None = None
    name: str = ""
    holds: Callable[[], Awaitable[bool]] = _always  # is it still so? For answers that take long

    def may(self, scope: str) -> bool:
        """True when that scope is among its own."""
        return scope in self.scopes or ADMIN in self.scopes

    def within(self, wanted: str | None) -> str | None:
        """The project to show; None: all. Forbidden when the key is for another than the wanted one."""
        if self.project is None:
            return wanted
        if wanted not in (None, self.project):
            raise Forbidden(
                f"This key is for the project {self.project!r} alone; ask for that, or for no project."
            )
        return self.project

    def must_own(self, project: str, sentence: str) -> None:
        """Forbidden, with this sentence, unless the key is for that project or for all."""
        if self.project not in (None, project):
            raise Forbidden(sentence)


def body_size(headers: Headers) -> int | None:
    """Bytes that the body has by its own account; None when it gives none, or no number (`²` is a digit to Python)."""
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return None
    return int(length) if len(length) <= 20 else 10**20  # int() refuses thousands of digits


EVERYTHING = Access(key=None, scopes=frozenset(SCOPES))
NOTHING = Access(key=None, scopes=frozenset())


def reading(request: Request) -> Iterator[Session]:
    """A session that stores nothing."""
    with request.app.state.database.reading() as session:
        yield session


def writing(request: Request) -> Iterator[Session]:
    """A session that is committed if the endpoint returns and undone if it raises."""
    with request.app.state.database.writing() as session:
        yield session


def access(request: Request) -> Access:
    """What the gate found out about the sender."""
    granted: Access = request.scope["foreshock.access"]
    return granted


# scope="function": with FastAPI's default the answer would leave first and the commit come later.
Reading = Annotated[Session, Depends(reading, scope="function")]
Writing = Annotated[Session, Depends(writing, scope="function")]
Asking = Annotated[Access, Depends(access)]
