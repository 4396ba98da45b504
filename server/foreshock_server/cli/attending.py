"""`foreshock incidents`: shows what goes on in all runs, and says that somebody looks after it, in the database itself."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from foreshock_server.cli.common import act_on_database, moment, person, print_table
from foreshock_server.db import Database
from foreshock_server.models import Incident
from foreshock_server.store import incidents as store
from foreshock_server.store.outbox import of_incident
from foreshock_server.store.runs import get_run

STATES = (store.OPEN, store.RESOLVED, "all")


def incidents(argv: Sequence[str]) -> int:
    """Show what goes on, and say that somebody looks after it."""
    return act_on_database(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    one = argparse.ArgumentParser(add_help=False, parents=[where])
    one.add_argument("run", help="id of the run, as `foreshock incidents list` shows it")
    one.add_argument("number", type=int, help="of the incident within the run")
    parser = argparse.ArgumentParser("foreshock incidents", description=incidents.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    listing = words.add_parser("list", parents=[where], help="the latest of all runs")
    listing.add_argument("--state", choices=STATES, default=store.OPEN, help="which (open)")
    listing.add_argument("--project", help="only those of this project's runs")
    listing.add_argument("--limit", type=int, default=20, help="how many at most (20)")
    listing.set_defaults(act=_list)
    words.add_parser("show", parents=[one], help="one, and who was told").set_defaults(act=_show)
    answering = words.add_parser(
        "acknowledge", parents=[one], help="somebody looks after it: no reminder, no further channel"
    )
    answering.add_argument("--by", help="who (default: the name of whoever runs this)")
    answering.add_argument("--undo", action="store_true", help="nobody does any more")
    answering.set_defaults(act=_acknowledge)
    return parser


def _list(database: Database, arguments: argparse.Namespace) -> None:
    state = None if arguments.state == "all" else arguments.state
    with database.reading() as session:
        rows = [
            (
                run.id,
                str(incident.number),
                f"{run.project} / {run.name}",
                incident.family,
                incident.severity,
                moment(incident.opened_at),
                f"{incident.opened_step:,}",
                _standing(incident),
            )
            for incident, run in store.list_incidents(
                session, state=state, project=arguments.project, limit=arguments.limit
            )
        ]
    if not rows:
        print("There is no such incident.", file=sys.stderr)
        return
    print_table([("run", "no.", "name", "about", "severity", "since", "step", ""), *rows])


def _show(database: Database, arguments: argparse.Namespace) -> None:
    with database.reading() as session:
        incident = store.get_incident(session, arguments.run, arguments.number)
        run = get_run(session, arguments.run)
        print(f"{run.project} / {run.name}: {incident.family}, {incident.severity}: {_standing(incident)}")
        print(f"since {moment(incident.opened_at)}, step {incident.opened_step:,}")
        print(f"rules: {', '.join(incident.rules)}")
        firing = sorted({rule for rule, *_ in incident.firing})
        if firing:
            print(f"still firing: {', '.join(firing)}")
        for parcel in of_incident(session, incident):
            said = parcel.transition.detail.get("message") if parcel.transition else None
            channel = parcel.channel.name if parcel.channel else "(deleted)"
            told = f"{parcel.delivery.kind} to {channel}: {parcel.delivery.state}"
            print(f"{moment(parcel.delivery.created_at)}  {told}" + (f"  {said}" if said else ""))


def _acknowledge(database: Database, arguments: argparse.Namespace) -> None:
    now = time.time()
    with database.writing() as session:
        if arguments.undo:
            store.unacknowledge(session, arguments.run, arguments.number, now)
            print("Nobody looks after it any more.")
            return
        by = (arguments.by or person())[:100]
        incident = store.acknowledge(session, arguments.run, arguments.number, by, now)
        print(f"Acknowledged by {incident.acknowledged_by}. Nothing more is sent before it is over.")


def _standing(incident: Incident) -> str:
    if incident.state == store.RESOLVED:
        return "over" if incident.resolved_at is None else f"over since {moment(incident.resolved_at)}"
    if incident.acknowledged_at is not None:
        return f"acknowledged by {incident.acknowledged_by}"
    return f"not told: {incident.muted}" if incident.muted else "open"
