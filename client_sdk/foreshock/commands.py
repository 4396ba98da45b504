"""The commands of the SDK half: arguments in, lines for people and an exit status out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .config import DEFAULT_URL, Config


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
    """List the newest runs of a server."""
    from .query.client import Client, ForeshockError

    parser = argparse.ArgumentParser("foreshock runs", description=runs.__doc__)
    parser.add_argument("--url", help=f"the server; else FORESHOCK_URL, else {DEFAULT_URL}")
    parser.add_argument("--project", help="only this project's runs")
    parser.add_argument("--limit", type=int, default=20, help="how many at most (20)")
    arguments = parser.parse_args(argv)
    try:
        print(Client(arguments.url).runs(arguments.project, limit=arguments.limit))
    except (ForeshockError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
