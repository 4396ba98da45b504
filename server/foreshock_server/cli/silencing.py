"""`foreshock silences`: says for a time what shall not be told, shows it and takes it back, in the database itself."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foreshock_server.cli.common import Refused, act_on_database, moment, person, print_table
from foreshock_server.db import Database
from foreshock_server.incidents.endpoint import NewSilence
from foreshock_server.store import silences as store

EXAMPLE = "foreshock silences add rule=noisy-* run=brisk-otter --for 2h --reason 'known since Monday'"

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LABEL = "labels."


def silences(argv: Sequence[str]) -> int:
    """Say for a time what shall not be told."""
    return act_on_database(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    parser = argparse.ArgumentParser("foreshock silences", description=silences.__doc__)
    words = parser.add_subparsers(dest="word", required=True)
    listing = words.add_parser("list", parents=[where], help="those in force")
    listing.add_argument("--over", action="store_true", help="also those that ended in the last 30 days")
    listing.add_argument("--limit", type=int, default=200, help="how many at most (200)")
    listing.set_defaults(act=_list)
    adding = words.add_parser("add", parents=[where], help="from now on", epilog=f"such as: {EXAMPLE}")
    adding.add_argument(
        "matches",
        nargs="+",
        metavar="WHAT=GLOB",
        help="which alerts, by project, run, family, rule, statistic, place, severity or labels.NAME; all of them: rule=*",
    )
    end = adding.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", dest="duration", metavar="TIME", help="for so long, such as 90m, 2h or 3d")
    end.add_argument("--until", metavar="TIME", help="until then, such as 2026-11-21T08:00, in UTC")
    adding.add_argument("--reason", default="", help="for whoever wonders why nothing comes")
    adding.add_argument("--project", help="concerns the runs of this project alone (default: all)")
    adding.set_defaults(act=_add)
    lifting = words.add_parser("lift", parents=[where], help="what still goes on is told soon")
    lifting.add_argument("ids", nargs="+", metavar="ID", help="as `foreshock silences list` shows them")
    lifting.set_defaults(act=_lift)
    return parser


def _list(database: Database, arguments: argparse.Namespace) -> None:
    now = time.time()
    with database.reading() as session:
        rows = [
            (
                one.id,
                _shown(one.matches),
                one.project or "all",
                moment(one.ends_at) if one.ends_at > now else "over",
                one.made_by,
                one.reason,
            )
            for one in store.list_silences(session, now, over=arguments.over, limit=arguments.limit)
        ]
    if not rows:
        print("Nothing is silenced.", file=sys.stderr)
        return
    print_table([("id", "matches", "project", "until", "made by", "reason"), *rows])


def _add(database: Database, arguments: argparse.Namespace) -> None:
    now = time.time()
    wish = _wish(arguments, now)
    with database.writing() as session:
        silence = store.create_silence(
            session,
            project=arguments.project,
            matches=wish.matches.given(),
            seconds=wish.seconds,
            reason=wish.reason,
            made_by=person()[:100],
            now=now,
        )
        said = f"Nobody is told of {_shown(silence.matches)} until {moment(silence.ends_at)}. To take it back: foreshock silences lift {silence.id}"
    print(said, file=sys.stderr)
    print(silence.id)


def _lift(database: Database, arguments: argparse.Namespace) -> None:
    with database.writing() as session:
        for number in arguments.ids:
            store.end_silence(session, store.get_silence(session, number), time.time())
    print(f"Lifted {len(arguments.ids)}; what still goes on is told within seconds.")


def _wish(arguments: argparse.Namespace, now: float) -> NewSilence:
    """What was written, checked as over HTTP; Refused says what to write instead."""
    matches: dict[str, Any] = {}
    for word in arguments.matches:
        name, separator, glob = word.partition("=")
        if not separator:
            raise Refused(f"{word!r} says not what to match; write for example: {EXAMPLE}")
        into = matches
        if name.startswith(_LABEL):
            into, name = matches.setdefault("labels", {}), name.removeprefix(_LABEL)
        if name in into:
            raise Refused(f"{name!r} is there twice; make a silence for each.")
        into[name] = glob
    try:
        return NewSilence(matches=matches, seconds=_seconds(arguments, now), reason=arguments.reason)  # type: ignore[arg-type] # pydantic reads it
    except ValidationError as error:
        raise Refused("\n".join(_wrong(one["loc"], one["msg"]) for one in error.errors())) from None


def _seconds(arguments: argparse.Namespace, now: float) -> float:
    if arguments.duration is not None:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", arguments.duration.strip())
        if found is None:
            raise Refused(f"--for takes a number and s, m, h or d, such as 2h; not {arguments.duration!r}.")
        return float(found[1]) * _SECONDS[found[2]]
    try:
        until = datetime.fromisoformat(arguments.until)
    except ValueError:
        raise Refused(f"--until takes a time such as 2026-11-21T08:00; not {arguments.until!r}.") from None
    until = until.replace(tzinfo=until.tzinfo or timezone.utc)
    if until.timestamp() <= now:
        raise Refused(f"{arguments.until} is over already; --until takes a time in UTC that is to come.")
    return until.timestamp() - now


def _wrong(where: tuple[int | str, ...], sentence: str) -> str:
    name = (
        "--for"
        if where[0] == "seconds"
        else "--reason"
        if where[0] == "reason"
        else ".".join(map(str, where[1:]))
    )
    return f"{name or 'WHAT=GLOB'}: {sentence.removeprefix('Value error, ')}."


def _shown(matches: dict[str, Any]) -> str:
    words = [f"{name}={glob}" for name, glob in matches.items() if name != "labels"]
    return " ".join([*words, *(f"{_LABEL}{name}={glob}" for name, glob in matches.get("labels", {}).items())])
