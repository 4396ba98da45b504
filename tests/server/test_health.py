"""/readyz tells the truth within seconds, whatever hangs; /healthz stays trivial."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from foreshock_server.app import create_app
from foreshock_server.app import readiness as ready
from foreshock_server.app.readiness import PATIENCE, Readiness, watch
from foreshock_server.bus import LocalBus
from foreshock_server.telemetry import Instruments, Probe
from foreshock_server.worker import Stage


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()


def test_all_is_well(client):
    answer = client.get("/readyz")
    body = answer.json()
    assert (answer.status_code, body["status"]) == (200, "ok")
    assert set(body["checks"]) == {"database", "writable", "bus", "committer"}
    for check in body["checks"].values():
        assert (check["status"], check["reason"]) == ("ok", None)
        assert check["age"] is None or 0 <= check["age"] < 60


def test_a_schema_that_is_behind(settings):
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "foreshock migrate" in answer.json()["checks"]["database"]["reason"]
        assert client.get("/healthz").status_code == 200


def test_a_schema_of_a_later_release(client, database):
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'f00d'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "later release" in answer.json()["checks"]["database"]["reason"]


def test_a_redis_that_is_gone_only_degrades(migrated_url, settings):
    with TestClient(create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        check = answer.json()["checks"]["bus"]
        assert check["status"] == "degraded"
        assert "refused" in check["reason"]


def test_a_redis_that_hangs_only_degrades(migrated_url, settings, black_hole):
    there = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{black_hole}"})
    with TestClient(create_app(there)) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["bus"]["status"]) == (200, "degraded")


def test_a_postgresql_that_takes_the_call_and_says_nothing(settings, black_hole):
    hangs = f"postgresql+psycopg://u:hunter2@127.0.0.1:{black_hole}/test"
    with TestClient(create_app(settings.model_copy(update={"database_url": hangs}))) as client:
        for _ in range(2):  # the second time nobody asks again: the first question still hangs
            began = time.monotonic()
            answer = client.get("/readyz")
            assert time.monotonic() - began < PATIENCE + 3
            assert answer.status_code == 503
            assert answer.json()["checks"]["database"]["reason"].startswith("no answer for")
        began = time.monotonic()
        metrics = client.get("/metrics")
        assert time.monotonic() - began < PATIENCE + 3
        assert "foreshock_database_up 0.0" in metrics.text
        assert client.get("/healthz").status_code == 200
        assert "hunter2" not in answer.text + metrics.text


def test_a_database_whose_disk_is_full(client, trainer, wire, database_url):
    """SQLite is told that its file may not grow; PostgreSQL's words for the same are put into its mouth."""
    engine = client.app.state.database.engine
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    if database_url.startswith("sqlite"):

        @event.listens_for(engine, "checkout")
        def no_room(connection, _record, _proxy):
            connection.execute("PRAGMA max_page_count = 1")  # as small as what is there already
    else:

        @event.listens_for(engine, "before_cursor_execute")
        def no_room(_connection, _cursor, statement, _parameters, _context, _many):
            if "INSERT INTO blocks" in statement:
                import psycopg

                raise psycopg.errors.DiskFull('could not extend file "base/1": No space left on device')

    steps = range(2, 100_000)
    answer = trainer.post(trainer.block(2, [wire.rows(1, steps, [[i] for i in steps])]))
    assert answer.status_code == 503, answer.text
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "a write failed" in answer.json()["checks"]["writable"]["reason"]


def test_room_for_less_than_one_block_is_a_full_disk(client, database_url, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(ready.shutil, "disk_usage", lambda _folder: Usage)
    answer = client.get("/readyz")
    embedded = database_url.startswith("sqlite")  # of another machine's disk we know nothing
    assert answer.status_code == (503 if embedded else 200)
    if embedded:
        assert "1,000 bytes are free" in answer.json()["checks"]["writable"]["reason"]


def test_a_database_that_only_reads(client, trainer, wire, database_url):
    @event.listens_for(client.app.state.database.engine, "checkout")
    def only_read(connection, _record, _proxy):
        if database_url.startswith("sqlite"):
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.read_only = True

    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"]["status"] == "ok"
    assert "read" in answer.json()["checks"]["writable"]["reason"]
    block = trainer.post(trainer.block(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])]))
    opening = trainer.open()
    for answer in (block, opening):
        assert answer.status_code == 503, answer.text
        assert float(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("at", [-1e9, 4e9])
def test_a_trainer_whose_clock_is_wrong_is_neither_silent_nor_over(client, trainer, wire, at):
    frames = [wire.frame(1, ["a"])]
    trainer.send(1, [{**wire.rows(1, [1], [[1]]), "times": np.array([at]).tobytes()}], frames)
    run = client.get(f"/api/v1/runs/{trainer.run}").json()
    assert run["state"] == "running"
    assert abs(run["updated_at"] - time.time()) < 60
    (series,) = client.get(f"/api/v1/runs/{trainer.run}/data", params={"key": "a", "points": 0}).json()[
        "series"
    ]
    assert series["times"] == [at]


@pytest.fixture
def dead_stage() -> Iterator[Stage]:
    """A stage that fails at once, and whose patience with failing is over."""

    def fails() -> int:
        raise OperationalError("SELECT", {}, Exception("no"))

    stage = Stage("evaluate", fails, LocalBus())
    yield stage
    stage.stop(5)


def test_a_stage_that_fails_or_is_not_there(client, dead_stage, monkeypatch):
    watch(client.app, [dead_stage])
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["evaluate"]["reason"] == "is not running"

    dead_stage.start()
    until = time.monotonic() + 20
    while dead_stage.failed_rounds == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 200  # one failure is none yet
    monkeypatch.setattr("foreshock_server.worker.FAILING_AFTER", -1.0)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    check = answer.json()["checks"]["evaluate"]
    assert "times in a row" in check["reason"]
    assert check["age"] >= 0
    assert 'foreshock_stage_failures_total{stage="evaluate"}' in client.get("/metrics").text


def test_a_committer_that_does_not_store(client, monkeypatch):
    monkeypatch.setattr(client.app.state.readiness.parts["committer"], "_age", lambda: 17.0)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["committer"]["reason"] == "blocks wait for their commit for 17 s"


def test_a_stage_that_hangs(client, monkeypatch):
    let_go = threading.Event()
    stage = Stage("evaluate", lambda: int(let_go.wait(30)) * 0, LocalBus())
    watch(client.app, [stage])
    stage.start()
    try:
        assert client.get("/readyz").status_code == 200
        monkeypatch.setattr("foreshock_server.worker.STUCK_AFTER", -1.0)
        assert client.get("/readyz").json()["checks"]["evaluate"]["reason"] == "hangs in one round"
    finally:
        let_go.set()
        assert stage.stop(5)
    assert client.get("/readyz").status_code == 200  # it ended as it was told


def test_a_probe_asks_once_at_a_time_and_keeps_its_answer():
    asked: list[int] = []
    gate = threading.Event()

    def ask() -> int:
        asked.append(1)
        gate.wait(10)
        return len(asked)

    async def play() -> None:
        probe = Probe("test", ask, keep=3600)
        first = await asyncio.gather(*(probe.seen(0.05) for _ in range(5)))
        assert [seen.value for seen in first] == [None] * 5
        assert all(seen.problem is not None for seen in first)
        gate.set()
        seen = await probe.seen(10)
        assert (seen.value, seen.problem) == (1, None)
        assert (await probe.seen(10)).value == 1
        assert len(asked) == 1

    asyncio.run(play())


def test_a_probe_keeps_what_it_knew_when_the_question_fails():
    answers = iter([7])

    async def play() -> None:
        probe = Probe("test", lambda: next(answers), keep=0.0)
        assert (await probe.seen(10)).value == 7
        later = await probe.seen(10)
        assert (later.value, later.problem) == (7, "StopIteration")

    asyncio.run(play())


def test_nothing_is_asked_before_somebody_asks(database, settings):
    readiness = Readiness(database, LocalBus(), settings, Instruments("0"))
    assert readiness.parts == {}
    assert not [one for one in threading.enumerate() if one.name.startswith("foreshock-ready")]
