"""The only module that knows Alembic: brings a database to the schema of this release."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from foreshock_server.db import Database

UNFINISHED = (
    "foreshock_move"  # a table of a database that is being filled from another one; see exchange/moving.py
)
_LOCK = 0x666F7265  # "fore": the advisory lock under which PostgreSQL migrates


class NewerDatabase(Exception):
    """The database was migrated by a later release; install that release, or restore a backup from before."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Apply every revision the database lacks, in the caller's transaction."""
    command.upgrade(_config(connection), revision)


def downgrade(connection: Connection, revision: str) -> None:
    """Undo revisions down to this one ("base": all), in the caller's transaction."""
    command.downgrade(_config(connection), revision)


def check(connection: Connection) -> None:
    """Raise if the models say something the revisions do not."""
    command.check(_config(connection))


def pending(connection: Connection) -> list[str]:
    """The revisions that this database lacks, oldest first."""
    script = ScriptDirectory.from_config(_config(connection))
    current = MigrationContext.configure(connection).get_current_heads()
    try:
        have = {one.revision for one in script.iterate_revisions(current, "base")} if current else set()
    except (CommandError, RevisionError):  # it carries a revision that this release does not know
        raise NewerDatabase from None
    return [
        revision.revision
        for revision in reversed(list(script.walk_revisions()))
        if revision.revision not in have
    ]


def is_unfinished(connection: Connection) -> bool:
    """True while `foreshock migrate --from … --to …` has not ended in this database: it lacks what is still to come."""
    return inspect(connection).has_table(UNFINISHED)


def to_head(database: Database) -> list[str]:
    """Bring this database up to date, one process at a time; the revisions that were applied."""
    with database.migrating() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        missing = pending(connection)
        if missing:
            upgrade(connection)
        return missing


def _config(connection: Connection) -> Config:
    config = Config()  # no ini file: the revisions come with the package, from wheel and checkout alike
    config.set_main_option("script_location", str(files("foreshock_migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
