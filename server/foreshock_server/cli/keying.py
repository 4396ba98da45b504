"""`foreshock keys`: makes, lists and revokes keys in the database itself, so that the first can be made before a server listens."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from foreshock_server import models
from foreshock_server.auth.keys import mint
from foreshock_server.cli.common import Refused, act_on_database, print_table
from foreshock_server.db import Database
from foreshock_server.deps import INGEST, PLAIN, READ, SCOPES
from foreshock_server.store import keys as store


def keys(argv: Sequence[str]) -> int:
    """Make, list and revoke keys, directly in the database of the server."""
    return act_on_database(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser = argparse.ArgumentParser("foreshock keys", description=keys.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    create = words.add_parser("create", parents=[where], help="make a key; it is printed this once")
    create.add_argument("name", help="what people call it, such as the machine that uses it")
    create.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help=f"what it may do, once per scope (default: {INGEST} and {READ}); admin includes the others",
    )
    create.add_argument("--project", help="only the runs of this project (default: all)")
    create.set_defaults(act=_create)
    words.add_parser("list", parents=[where], help="every key, without its secret").set_defaults(act=_list)
    revoke = words.add_parser("revoke", parents=[where], help="a key lets nobody in any more")
    revoke.add_argument("id", help="as `foreshock keys list` shows it; the key itself will do")
    revoke.set_defaults(act=_revoke)
    return parser


def _create(database: Database, arguments: argparse.Namespace) -> None:
    for what, text, longest in (("name", arguments.name, 100), ("project", arguments.project, 200)):
        if text is not None and (not 1 <= len(text) <= longest or not re.match(PLAIN + r"\Z", text)):
            raise Refused(f"The {what} {text[:40]!r} must be 1 to {longest} printable characters.")
    minted = mint()
    with database.writing() as session:
        key = store.create_key(
            session,
            key_id=minted.id,
            digest=minted.digest,
            name=arguments.name,
            project=arguments.project,
            scopes=sorted(set(arguments.scope or (INGEST, READ))),
            now=time.time(),
        )
        said = (
            f"Made the key {key.name!r} ({_scopes(key)}). It is shown only now; set it as FORESHOCK_API_KEY:"
        )
    print(said, file=sys.stderr)
    print(minted.text)


def _list(database: Database, _arguments: argparse.Namespace) -> None:
    with database.reading() as session:
        rows = [
            (key.id, key.name, _scopes(key), _day(key.created_at), _day(key.used_at), _state(key))
            for key in store.list_keys(session)
        ]
    if not rows:
        print("There is no key yet; make one with: foreshock keys create NAME", file=sys.stderr)
        return
    print_table([("id", "name", "may", "made", "last used", ""), *rows])


def _revoke(database: Database, arguments: argparse.Namespace) -> None:
    key_id = arguments.id.split("_")[1] if arguments.id.startswith("fsk_") else arguments.id
    with database.writing() as session:
        name = store.revoke_key(session, key_id, time.time()).name
    print(f"Revoked {name!r}: servers that run take it for some seconds more at most.")


def _scopes(key: models.Key) -> str:
    return "+".join(key.scopes) + (f" in {key.project!r}" if key.project is not None else "")


def _state(key: models.Key) -> str:
    return "" if key.revoked_at is None else f"revoked {_day(key.revoked_at)}"


def _day(at: float | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))
