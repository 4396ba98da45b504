"""Storing and reading back: points per second until they can be queried, bytes per point at rest, one series over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from tests.bench import rivals
from tests.bench.overhead import log_calls
from tests.bench.processes import usage
from tests.bench.report import OURS, Measure
from tests.bench.service import NotUp, Server, answering, free_port, serving
from tests.bench.turns import SCRIPTS, Subject, ours, rival, turns

from foreshock_server import migrate
from foreshock_server.db import Database

METRICS = 500
SCRIPT = "log_steps.py"
REST_SECONDS = 10.0  # for what a tool puts off: rules, counts and segments of ours
POSTGRESQL = f"{OURS}, PostgreSQL"
SQLITE = "SQLite, a row per point"


def run(folder: Path, quick: bool) -> list[Measure]:
    """What a call costs; then a fresh server and fresh folders each round, and in the last one the data is read again and again."""
    steps, rounds, reads = (40, 1, 3) if quick else (2000, 3, 40)
    asked = f"log {METRICS} metrics x {steps} steps"
    measures = Measures(
        Measure(f"{asked} until they can be read", "points/s", "higher"),
        Measure("logged points that can be read afterwards", "share", "higher"),
        Measure(
            f"{asked}, client and server, what they put off included", "CPU s per million points", "lower"
        ),
        Measure(f"{asked}, client and server, the peak", "MB", "lower"),
        Measure(f"at rest, {METRICS} metrics x {steps} random steps", "bytes/point", "lower"),
    )
    read = Measure(f"read one series of {steps} points over HTTP, JSON", "ms", "lower")
    with serving(folder / "calls-server") as server:
        calls = [
            log_calls(
                folder / f"calls-{metrics}", server, metrics, 0.0, 20 if quick else turn, 1 if quick else 7
            )
            for metrics, turn in ((20, 400), (500, 200))
        ]
    for turn in range(rounds):
        place = folder / str(turn)
        for way in WAYS:
            way(place, steps, 1.0 if quick else REST_SECONDS, measures)
        if turn == rounds - 1:
            _read(place, reads, read)
    return [*calls, *measures, read]


class Measures(NamedTuple):
    """Of storing."""

    durable: Measure
    share: Measure
    cpu: Measure
    peak: Measure
    size: Measure


def _take(
    name: str,
    start: Callable[[], Subject],
    steps: int,
    rest: float,
    measures: Measures,
    weigh: Callable[[], int],
) -> None:
    """One turn of one subject: everything logged and read back, and then time for what was put off."""
    with turns(*measures) as taking:
        taking.enter(name, start, {"do": "open", "run": "stored"})
        stored = {"metrics": METRICS, "steps": steps}
        for _ in taking.round({"do": "make", **stored}):
            pass  # what is logged is the trainer's work, not the logger's
        before = usage(*(group for subject in taking.subjects for group in subject.groups))
        for subject, answer in taking.round({"do": "store", **stored}):
            points = METRICS * steps * answer["share"]
            measures.durable.add(subject, points / answer["seconds"])
            measures.share.add(subject, answer["share"])
            for _ in taking.round({"do": "rest", "seconds": rest}):
                after = usage(*taking.subjects[0].groups)
                measures.cpu.add(subject, (after.cpu - before.cpu) / points * 1e6)
                measures.peak.add(subject, after.peak / 1e6)
            measures.size.add(subject, weigh() / points)


def _embedded(place: Path, steps: int, rest: float, measures: Measures) -> None:
    """Ours on SQLite: log() with float64 numbers, and float32 frames straight onto the wire."""
    for logger, called in (("foreshock", OURS), ("frames", f"{OURS}, float32 frames without the SDK")):
        data = place / logger / "server"
        with serving(data) as server:
            start = partial(ours, called, SCRIPT, logger, server.url, place / logger / "client", server.pid)
            _take(called, start, steps, rest, measures, partial(_bytes, place / logger))


def _postgresql(place: Path, steps: int, rest: float, measures: Measures) -> None:
    """Ours on PostgreSQL, in a schema of its own."""
    url = os.environ.get("FORESHOCK_TEST_DATABASE_URL")
    if not url:
        for measure in measures:
            measure.absent("PostgreSQL", "set FORESHOCK_TEST_DATABASE_URL to measure ours on it")
        return
    with schema(url) as own, serving(place / "postgresql", FORESHOCK_DATABASE_URL=own.url) as server:
        start = partial(
            ours, POSTGRESQL, SCRIPT, "foreshock", server.url, place / "postgresql-client", server.pid
        )
        # the database's own processes serve others too and are not counted, so neither are the rest
        own_measures = measures._replace(cpu=Measure("", "", "lower"), peak=Measure("", "", "lower"))
        _take(POSTGRESQL, start, steps, rest, own_measures, own.bytes)


def _trackio(place: Path, steps: int, rest: float, measures: Measures) -> None:
    """Trackio as it is by default, and with its own server."""
    local = partial(rival, "trackio", SCRIPT, place / "trackio")
    _take("trackio", local, steps, rest, measures, partial(_bytes, place / "trackio"))
    called = "trackio, HTTP server"
    data = place / "trackio-server"
    data.mkdir(parents=True)
    try:
        with trackio_server(data) as (url, pid):
            start = partial(rival, "trackio", SCRIPT, data / "client", called=called, url=url, companion=pid)
            _take(called, start, steps, rest, measures, partial(_bytes, data))
    except (rivals.Unavailable, NotUp, OSError) as error:
        for measure in measures:
            measure.absent(called, str(error))


def _sqlite(place: Path, steps: int, rest: float, measures: Measures) -> None:
    """The floor."""
    start = partial(ours, SQLITE, SCRIPT, "sqlite", "", place / "sqlite")
    _take(SQLITE, start, steps, rest, measures, partial(_bytes, place / "sqlite"))


WAYS = (_embedded, _postgresql, _trackio, _sqlite)


def _read(place: Path, reads: int, measure: Measure) -> None:
    """What the last round stored. Another series each time, so that nobody's cache answers; over connections that stay open."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(place / "foreshock" / "server", again=True))
        asked: dict[str, Callable[[str], int]] = {OURS: _ours(server)}
        try:
            found = rivals.find("trackio")
            url, _ = stack.enter_context(trackio_server(place / "trackio"))
            asked[found.subject] = _theirs(url)
        except (rivals.Unavailable, NotUp, OSError) as error:
            measure.absent("trackio", str(error))
        for turn in range(reads + 1):
            key = f"layer{turn % 50}_number{turn % 10}"
            for subject in list(asked):
                began = time.perf_counter()
                try:
                    points = asked[subject](key)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    measure.absent(subject, f"{type(error).__name__}: {error}")
                    del asked[subject]
                    continue
                if turn:  # the first one warms up
                    measure.add(subject, (time.perf_counter() - began) * 1e3)
                if points == 0:
                    raise RuntimeError(f"{subject} answers no point of {key}")


def _ours(server: Server) -> Callable[[str], int]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)

    def ask(key: str) -> int:
        connection.request(
            "GET", "/api/v1/runs/stored/data?" + urllib.parse.urlencode({"key": key, "points": 0})
        )
        return len(json.loads(_body(connection))["series"][0]["steps"])

    return ask


def _theirs(url: str) -> Callable[[str], int]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)

    def ask(key: str) -> int:
        question = json.dumps({"project": "bench", "run": "stored", "metric_name": key})
        connection.request("POST", "/api/get_metric_values", question, {"Content-Type": "application/json"})
        answer = json.loads(_body(connection))
        return len(answer["data"] if isinstance(answer, dict) else answer)

    return ask


@contextmanager
def trackio_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Trackio's own server over a folder: its address, with the word that lets a client write, and its process group."""
    port = free_port()
    command = [str(rivals.find("trackio").python), "-u", str(SCRIPTS / "trackio_server.py"), str(port)]
    environment = rivals.environment(TRACKIO_DIR=str(folder / "trackio"))
    log = folder / "trackio-server.log"
    with answering(command, environment, f"http://127.0.0.1:{port}/", log) as pid:
        until = time.monotonic() + 10
        while not (said := re.search(r"write_token=([\w-]+)", log.read_text())) and time.monotonic() < until:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/" + (f"?write_token={said[1]}" if said else ""), pid


class Schema(NamedTuple):
    """A schema of a PostgreSQL database, with our tables."""

    url: str
    bytes: Callable[[], int]


@contextmanager
def schema(url: str) -> Iterator[Schema]:
    """One of our own, dropped afterwards."""
    name = f"bench_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    own = make_url(url).update_query_dict({"options": f"-csearch_path={name}"})

    def weigh() -> int:
        sizes = "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = :name"
        with engine.connect() as connection:
            return int(connection.execute(text(sizes), {"name": name}).scalar_one())

    try:
        database = Database(own.render_as_string(hide_password=False))
        migrate.to_head(database)
        database.close()
        yield Schema(database.url, weigh)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


def _body(connection: http.client.HTTPConnection) -> bytes:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {body[:200]!r}")
    return body


def _bytes(folder: Path) -> int:
    """Everything that lies there, but for what the bench itself wrote."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != "subject.log")
