"""A row -> stored unless its key exists already; the one place that knows both dialects' INSERT … ON CONFLICT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from foreshock_server.models import Base


def insert_once(session: Session, model: type[Base], values: Mapping[str, Any]) -> bool:
    """True when the row was stored now, False when any unique key of it existed before; never raises for the latter."""
    insert = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    key = inspect(model).primary_key[0]
    statement = insert(model).values(**values).on_conflict_do_nothing().returning(key)
    return session.execute(statement).first() is not None
