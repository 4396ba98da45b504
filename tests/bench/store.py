"""Storing and reading back: points per second until they can be queried, bytes per point at rest, one series over HTTP."""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench import rivals
from tests.bench.report import OURS, Measure
from tests.bench.service import NotUp, Server, answering, free_port, serving
from tests.bench.turns import SCRIPTS, Subject, ours, rival, turns

METRICS = 500
SQLITE = "SQLite, a row per point"


def run(folder: Path, quick: bool) -> list[Measure]:
    """A fresh server and fresh folders each round; in the last one the data is read again and again."""
    steps, rounds, reads = (40, 1, 3) if quick else (2000, 3, 40)
    durable = Measure(f"log {METRICS} metrics x {steps} steps until they can be read", "points/s", "higher")
    share = Measure("logged points that can be read afterwards", "share", "higher")
    size = Measure(f"at rest, {METRICS} metrics x {steps} random steps", "bytes/point", "lower")
    read = Measure(f"read one series of {steps} points over HTTP, JSON", "ms", "lower")
    for turn in range(rounds):
        place = folder / str(turn)
        with serving(place / "server") as server:
            stored = dict(_store(place, server, steps, durable, share))
            if turn == rounds - 1:
                _read(place, server, stored.get("trackio"), reads, read)
        for tool, one in stored.items():  # ours is weighed when its server has ended
            there = _bytes(place / tool) + (_bytes(place / "server") if tool == "foreshock" else 0)
            size.add(one.subject, there / one.points)
    return [durable, share, size, read]


class Stored(NamedTuple):
    """What a subject's rows call it, and how many of its points could be read back."""

    subject: str
    points: float


def _store(
    place: Path, server: Server, steps: int, durable: Measure, share: Measure
) -> Iterator[tuple[str, Stored]]:
    """Each tool once, in turn; those that stored anything."""
    script = "log_steps.py"
    starts: dict[str, Callable[[], Subject]] = {
        "foreshock": partial(ours, OURS, script, "foreshock", server.url, place / "foreshock", server.pid),
        "trackio": partial(rival, "trackio", script, place / "trackio"),
        "sqlite": partial(ours, SQLITE, script, "sqlite", "", place / "sqlite"),
    }
    for tool, start in starts.items():
        with turns(durable) as taking:
            taking.enter(tool, start, {"do": "open", "run": "stored"})
            for subject, answer in taking.round({"do": "store", "metrics": METRICS, "steps": steps}):
                points = METRICS * steps * answer["share"]
                durable.add(subject, points / answer["seconds"])
                share.add(subject, answer["share"])
                if points:
                    yield tool, Stored(subject, points)


def _read(place: Path, server: Server, trackio: Stored | None, reads: int, measure: Measure) -> None:
    """Another series each time, so that nobody's cache answers; over connections that stay open."""
    asked: dict[str, Callable[[str], int]] = {OURS: _ours(server)}
    with ExitStack() as stack:
        if trackio is None:
            measure.absent("trackio", "it stored nothing that could be read")
        else:
            try:
                asked[trackio.subject] = _trackio(stack, place)
            except (rivals.Unavailable, NotUp, OSError) as error:
                measure.absent(trackio.subject, str(error))
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


def _trackio(stack: ExitStack, place: Path) -> Callable[[str], int]:
    port = free_port()
    command = [str(rivals.find("trackio").python), str(SCRIPTS / "trackio_server.py"), str(port)]
    environment = rivals.environment(TRACKIO_DIR=str(place / "trackio" / "trackio"))
    stack.enter_context(
        answering(command, environment, f"http://127.0.0.1:{port}/", place / "trackio-server.log")
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(key: str) -> int:
        question = json.dumps({"project": "bench", "run": "stored", "metric_name": key})
        connection.request("POST", "/api/get_metric_values", question, {"Content-Type": "application/json"})
        answer = json.loads(_body(connection))
        return len(answer["data"] if isinstance(answer, dict) else answer)

    return ask


def _body(connection: http.client.HTTPConnection) -> bytes:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {body[:200]!r}")
    return body


def _bytes(folder: Path) -> int:
    """Everything that lies there, but for what the bench itself wrote."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name != "subject.log")
