"""`foreshock deliveries`: shows messages and their tries, and lets those that were given up go again, in the database itself."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from foreshock_server.cli.common import Refused, act_on_database, moment, print_table
from foreshock_server.db import Database
from foreshock_server.models import Delivery
from foreshock_server.store import letters, outbox

STATES = ("waiting", "delivered", "failed")


def deliveries(argv: Sequence[str]) -> int:
    """Show messages and let those that were given up go again."""
    return act_on_database(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser = argparse.ArgumentParser("foreshock deliveries", description=deliveries.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    listing = words.add_parser("list", parents=[where], help="the newest messages")
    listing.add_argument("--state", choices=STATES, help="only those (default: all)")
    listing.add_argument("--limit", type=int, default=20, help="how many at most (20)")
    listing.set_defaults(act=_list)
    showing = words.add_parser("show", parents=[where], help="the tries of one message")
    showing.add_argument("id", help="as `foreshock deliveries list` shows it")
    showing.set_defaults(act=_show)
    retrying = words.add_parser("retry", parents=[where], help="send again what was given up")
    retrying.add_argument("ids", nargs="*", metavar="ID", help="as `foreshock deliveries list` shows them")
    retrying.add_argument("--all", action="store_true", help="all of them")
    retrying.add_argument("--channel", help="with --all: only those for the channel with this id")
    retrying.set_defaults(act=_retry)
    return parser


def _list(database: Database, arguments: argparse.Namespace) -> None:
    with database.reading() as session:
        found = outbox.list_deliveries(session, None, arguments.state, arguments.limit)
        rows = [
            (
                parcel.delivery.id,
                moment(parcel.delivery.created_at),
                parcel.channel.name if parcel.channel else "(deleted)",
                f"{parcel.delivery.kind} {parcel.delivery.rule}",
                parcel.delivery.state,
                str(parcel.delivery.tries),
                parcel.delivery.error or "",
            )
            for parcel in found
        ]
    if not rows:
        print("There is no such message.", file=sys.stderr)
        return
    print_table([("id", "made", "channel", "about", "state", "tries", "last error"), *rows])


def _show(database: Database, arguments: argparse.Namespace) -> None:
    with database.reading() as session:
        delivery = letters.get_delivery(session, arguments.id).delivery
        print(f"{delivery.kind} {delivery.rule} in run {delivery.run_id}: {delivery.state}")
        for one in delivery.log or []:
            said = one["error"] or f"{one['status'] or 'taken'} {one['said']}".strip()
            print(f"{moment(one['at'])}  try {one['try']}, {one['seconds']:g} s: {said}")


def _retry(database: Database, arguments: argparse.Namespace) -> None:
    if arguments.all == bool(arguments.ids):
        raise Refused("Name the messages to send again, or write --all.")
    if arguments.channel and not arguments.all:
        raise Refused("--channel goes with --all.")
    now = time.time()
    with database.writing() as session:
        if not arguments.all:
            for number in arguments.ids:
                letters.retry_one(session, number, now)
            print(f"{len(arguments.ids)} wait again.")
            return
        which = [Delivery.channel_id == arguments.channel] if arguments.channel else []
        retried = letters.retry(session, now, *which)
    outdated = (
        f"; {retried.outdated} stay, since something later about the same arrived" if retried.outdated else ""
    )
    print(f"{len(retried.ids)} wait again{outdated}.")
