"""`foreshock migrate`: brings the database to the schema of this release, or copies all of it into another one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from foreshock_server import migrate as migrations
from foreshock_server.cli.common import Refused, sentences, settings_from
from foreshock_server.db import Database
from foreshock_server.exchange.moving import move


def migrate(argv: Sequence[str]) -> int:
    """Bring the database to the schema of this release; or, with --from and --to, copy one database into another."""
    parser = argparse.ArgumentParser("foreshock migrate", description=migrate.__doc__)
    parser.add_argument(
        "--check", action="store_true", help="only say whether something is to be done (status 1)"
    )
    parser.add_argument(
        "--from", dest="source", metavar="URL", help="copy this database, such as sqlite:///…"
    )
    parser.add_argument(
        "--to", dest="target", metavar="URL", help="into this empty one, such as postgresql+psycopg://…"
    )
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    if bool(arguments.source) != bool(arguments.target):
        parser.error("--from and --to belong together")
    if arguments.source:
        return _copy(arguments.source, arguments.target)
    with sentences():
        database = Database(settings_from(data_dir=arguments.data_dir).url)
        try:
            if arguments.check:
                with database.migrating() as connection:
                    missing = migrations.pending(connection)
                print(f"To apply: {', '.join(missing)}." if missing else "The database is up to date.")
                return 1 if missing else 0
            applied = migrations.to_head(database)
            print(f"Applied: {', '.join(applied)}." if applied else "The database was up to date.")
            return 0
        finally:
            database.close()
    return 1


def _copy(source: str, target: str) -> int:
    with sentences():
        file = make_url(source).database
        if source.startswith("sqlite") and not (file and Path(file).is_file()):
            raise Refused(f"There is no database file {file}.")
        databases = Database(source), Database(target)
        try:
            began = time.monotonic()
            moved = move(*databases, lambda line: print(line, flush=True))
            shown = make_url(target).render_as_string(hide_password=True)
            print(
                f"Everything is there: {moved.runs:,} runs, {moved.rows:,} rows, the same on both sides "
                f"({time.monotonic() - began:.0f} s). Start the servers and workers with "
                f"FORESHOCK_DATABASE_URL={shown} now, and keep the old database until you have looked at the new one."
            )
            return 0
        finally:
            for database in databases:
                database.close()
    return 1
