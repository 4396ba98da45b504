"""Alembic's entry: migrates over the connection it is given, else over the database that the settings name."""

from __future__ import annotations

import re

from alembic import context
from sqlalchemy import Connection

from foreshock_server.db import Database
from foreshock_server.models import Base
from foreshock_server.settings import Settings

_PARTITION = re.compile(
    r".*_p\d\d"
)  # of a table of ours, on PostgreSQL: the revisions make them, no model names them


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name is not None and _PARTITION.fullmatch(name))


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        compare_type=True,
        include_name=_ours,
        transactional_ddl=True,  # SQLite can, once we say BEGIN ourselves; Alembic assumes that it cannot
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("Foreshock migrates over a connection; run `foreshock migrate` without --sql.")

given = context.config.attributes.get("connection")
if given is not None:
    _migrate(given)
else:  # `alembic revision` in a checkout
    database = Database(Settings().url)
    with database.migrating() as own:
        _migrate(own)
    database.close()
