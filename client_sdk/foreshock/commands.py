"""The commands of the SDK half: arguments in, lines for people and an exit status out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .config import DEFAULT_URL, Config

if TYPE_CHECKING:
    from .query.client import Client


def sync(argv: Sequence[str]) -> int:
    """Ship what waits in a spool, also of runs that are still going; status 0 only when nothing is left."""
    from .provenance import user_agent
    from .query.tables import as_text
    from .send.shipping import Shipment, meant_for, ship
    from .send.transport import HttpTransport
    from .spool.folder import folders_below

    parser = argparse.ArgumentParser("foreshock sync", description=sync.__doc__)
    parser.add_argument("dir", type=Path, help="a spool, or any folder of it: .foreshock, a run, one writer")
    parser.add_argument(
        "--url", help=f"the server; else FORESHOCK_URL, else each run's own, else {DEFAULT_URL}"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="give up after so long without progress (30)",
    )
    arguments = parser.parse_args(argv)
    if not arguments.dir.is_dir():
        print(f"{arguments.dir} is no directory; name a spool such as .foreshock", file=sys.stderr)
        return 2
    try:
        config = Config.resolve(url=arguments.url)
    except (TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    chosen = config.url if arguments.url or os.environ.get("FORESHOCK_URL") else None
    shipments: list[Shipment] = []
    away: set[str] = (
        set()
    )  # addresses where nobody was patient enough: one try for each further folder is enough
    for folder in folders_below(arguments.dir):
        url = chosen or meant_for(folder) or config.url
        transport = HttpTransport(url, config.api_key, user_agent=user_agent())
        try:
            shipment = ship(folder, transport, patience=0.0 if url in away else arguments.patience)
        finally:
            transport.close()
        shipments.append(shipment)
        if shipment.left:
            away.add(url)
    shown = ("run", "writer", "blocks", "readings", "left", "refused", "damaged", "note")
    print(
        as_text(
            shown,
            [[getattr(shipment, name) for name in shown] for shipment in shipments],
            "nothing waits here",
        )
    )
    return 0 if all(shipment.complete for shipment in shipments) else 1


def runs(argv: Sequence[str]) -> int:
    """List the newest runs of a server, or delete some for good."""
    parser = argparse.ArgumentParser("foreshock runs", description=runs.__doc__)
    parser.add_argument("--url", help=f"the server; else FORESHOCK_URL, else {DEFAULT_URL}")
    parser.add_argument("--project", help="only this project's runs")
    parser.add_argument("--limit", type=int, default=20, help="how many at most (20)")
    words = parser.add_subparsers(dest="word", metavar="delete")
    deleting = words.add_parser("delete", help="delete runs: their readings, figures and alerts")
    deleting.add_argument("runs", nargs="+", metavar="RUN", help="id or name of a run")
    deleting.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args(argv)
    if arguments.word == "delete":
        return _asking(arguments.url, lambda client: _delete(client, arguments.runs, arguments.yes))
    return _asking(arguments.url, lambda client: print(client.runs(arguments.project, limit=arguments.limit)))


def report(argv: Sequence[str]) -> int:
    """Write one run as an HTML file that can be kept and sent: verdict, alerts, figures; it asks no other host for anything."""
    parser = argparse.ArgumentParser("foreshock report", description=report.__doc__)
    parser.add_argument("run", metavar="RUN", help="id or name of a run, or project/name")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="a file, or a folder (report.html)"
    )
    parser.add_argument("--theme", choices=("light", "dark"), default="light", help="(light)")
    parser.add_argument("--url", help=f"the server; else FORESHOCK_URL, else {DEFAULT_URL}")
    arguments = parser.parse_args(argv)

    def write(client: Client) -> None:
        place = client.run(arguments.run).report(arguments.output, arguments.theme)
        print(f"{arguments.run} -> {place}: {place.stat().st_size:,} bytes.")

    return _asking(arguments.url, write)


def projects(argv: Sequence[str]) -> int:
    """List the projects of a server, or say for how long the runs of one are kept."""
    parser = argparse.ArgumentParser("foreshock projects", description=projects.__doc__)
    parser.add_argument("--url", help=f"the server; else FORESHOCK_URL, else {DEFAULT_URL}")
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("list", help="every project with what it holds")
    setting = words.add_parser("set", help="settle what holds for all runs of a project")
    setting.add_argument("project")
    kept = setting.add_mutually_exclusive_group(required=True)
    kept.add_argument(
        "--retention-days", type=float, metavar="DAYS", help="delete a run so long after its last change"
    )
    kept.add_argument("--keep", action="store_true", help="keep runs for good")
    arguments = parser.parse_args(argv)
    if arguments.word == "set":
        return _asking(arguments.url, lambda client: client.keep(arguments.project, arguments.retention_days))
    return _asking(arguments.url, lambda client: print(client.projects()))


def _asking(url: str | None, ask: Callable[[Client], object]) -> int:
    """What is asked of the server; 1, and its sentence on stderr, when it says no."""
    from .query.client import Client, ForeshockError

    try:
        ask(Client(url))
    except (ForeshockError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Cannot write {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def _delete(client: Client, names: Sequence[str], yes: bool) -> None:
    chosen = [client.run(name) for name in names]
    for run in chosen:
        what = f"{run.project}/{run.name} ({run.id}, {run.fields['points']:,} readings)"
        if not yes:
            if not sys.stdin.isatty():
                raise ValueError("Nobody is here to ask; add --yes to delete for good.")
            if input(f"Delete {what} for good? [y/N] ").strip().lower() not in ("y", "yes"):
                print(f"{what} stays.")
                continue
        client.delete(run.id)
        print(f"{what} is deleted.")
