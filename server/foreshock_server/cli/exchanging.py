"""`foreshock export` and `foreshock import`: runs as Parquet files, and back into any server's database."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from foreshock_server.cli.common import Refused, database_below, sentences
from foreshock_server.db import Database
from foreshock_server.errors import DomainError
from foreshock_server.exchange.export import Exported, export_run
from foreshock_server.exchange.restore import import_run
from foreshock_server.store.runs import list_runs

_PAGE = 500


def export(argv: Sequence[str]) -> int:
    """Write runs as Parquet files, one each: every reading, and all that is known of the run."""
    parser = argparse.ArgumentParser("foreshock export", description=export.__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="ids of runs")
    parser.add_argument("--project", help="every run of this project")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(),
        help="a folder, or, of one run, a file (the current folder)",
    )
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    if bool(arguments.runs) == bool(arguments.project):
        parser.error("name runs, or one --project")
    with sentences(), database_below(arguments.data_dir) as database:
        runs = arguments.runs or _of_project(database, arguments.project)
        many = bool(arguments.project) or len(runs) > 1
        if many:
            arguments.output.mkdir(parents=True, exist_ok=True)
        for run in runs:
            _say(export_run(database, run, _place(arguments.output, run)), run)
        return 0
    return 1


def import_(argv: Sequence[str]) -> int:
    """Store runs from files that `foreshock export` wrote. Nobody is alerted about what is long over."""
    parser = argparse.ArgumentParser("foreshock import", description=import_.__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files, or folders of *.parquet")
    parser.add_argument("--as", dest="name", metavar="NEWNAME", help="another id for the run, of one file")
    parser.add_argument("--data-dir", type=Path, help="where the embedded database lives")
    arguments = parser.parse_args(argv)
    failed = 0
    with sentences():
        files = [one for path in arguments.files for one in _files(path)]
        if arguments.name and len(files) != 1:
            raise Refused("--as names one run; import one file at a time with it.")
        with database_below(arguments.data_dir) as database:
            for path in files:
                try:
                    done = import_run(database, path, time.time(), name=arguments.name)
                except DomainError as error:  # the others may still be good
                    print(error, file=sys.stderr)
                    failed += 1
                    continue
                what = "was here already, the same" if done.known else "is here now"
                print(f"{done.run} {what}: {done.series:,} series, {done.points:,} readings.", flush=True)
        return 1 if failed else 0
    return 1


def _of_project(database: Database, project: str) -> list[str]:
    found: list[str] = []
    before = None
    with database.reading() as session:
        while page := list_runs(session, project, _PAGE, before):
            found += [run.id for run in page]
            before = (page[-1].updated_at, page[-1].id)
    if not found:
        raise Refused(f"No run belongs to the project {project!r}; `foreshock projects list` names them.")
    return found


def _place(output: Path, run: str) -> Path:
    return output / f"{run}.parquet" if output.is_dir() else output


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
        if not found:
            raise Refused(f"{path} holds no *.parquet file.")
        return found
    if not path.is_file():
        raise Refused(f"There is no file {path}.")
    return [path]


def _say(exported: Exported, run: str) -> None:
    share = f", {exported.size / exported.rows:.2f} bytes each" if exported.rows else ""
    print(f"{run} -> {exported.path}: {exported.series:,} series, {exported.rows:,} rows{share}.", flush=True)
