"""A request -> its session: one request, one transaction, committed before the answer is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session


def reading(request: Request) -> Iterator[Session]:
    """A session that stores nothing."""
    with request.app.state.database.reading() as session:
        yield session


def writing(request: Request) -> Iterator[Session]:
    """A session that is committed if the endpoint returns and undone if it raises."""
    with request.app.state.database.writing() as session:
        yield session


# scope="function": with FastAPI's default the answer would leave first and the commit come later.
Reading = Annotated[Session, Depends(reading, scope="function")]
Writing = Annotated[Session, Depends(writing, scope="function")]
