"""A deleted run is gone for everybody at once, its rows go in portions behind, and what still arrives is told so."""

from __future__ import annotations

import json
import time

import msgpack
import numpy as np
import pytest
from sqlalchemy import func, select

from foreshock_server.app.backlog import look
from foreshock_server.bus import LocalBus
from foreshock_server.errors import RunDeleted
from foreshock_server.lifecycle.cleanup import Cleaner
from foreshock_server.models import Alert, Base, Block, Delivery, Run, Series, Transition, Writer
from foreshock_server.query.live import list_look, run_look
from foreshock_server.ranks.merger import Merger
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.store import outbox, removal, runs


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cleaner(client, clock):
    return Cleaner(client.app.state.database, LocalBus(), clock=clock)


def fill(trainer, wire, blocks: int = 4) -> None:
    for seq in range(1, blocks + 1):
        frames = [wire.frame(1, ["loss", "grad_norm"])] if seq == 1 else []
        trainer.send(seq, [wire.rows(1, [seq], [[seq, np.nan]])], frames)


def alarm(client, run: str = "run-1") -> None:
    """An alert that fires, with its transition and a message that waits."""
    with client.app.state.database.writing() as session:
        about = {"run_id": run, "rule": "r", "series_id": 1, "episode": 1, "severity": "critical"}
        session.add(
            Alert(**about, state="firing", memory={}, reading={}, attempt=1, fired_step=2, since_step=1)
        )
        transition = Transition(
            **about, kind="fired", step=2, since_step=1, at=1.0, created_at=1.0, detail={}
        )
        session.add(transition)
        session.flush()
        outbox.enqueue(session, transition, 1.0)


def channel(client) -> None:
    body = {"name": "c", "kind": "webhook", "url": "http://127.0.0.1:1/"}
    assert client.post("/api/v1/channels", json=body).status_code in (200, 201)


def rows_of(database, run: str) -> dict[str, int]:
    with database.reading() as session:
        counted = {
            name: session.scalar(select(func.count()).select_from(table).where(table.c.run_id == run))
            for name, table in Base.metadata.tables.items()
            if "run_id" in table.c
        }
    return {name: number for name, number in counted.items() if number}


def clean(cleaner) -> int:
    rounds = 0
    while cleaner.run_once() > 0:
        rounds += 1
    return rounds


def test_a_deleted_run_is_unknown_to_every_question(trainer, wire, client):
    channel(client)
    fill(trainer, wire)
    alarm(client)
    address = "/api/v1/runs/run-1"
    assert client.get("/api/v1/alerts").json()["alerts"]
    assert client.get("/api/v1/deliveries").json()["deliveries"]
    assert client.delete(address).json() == {"run": "run-1", "state": "deleted"}
    for path in (
        "",
        "/series",
        "/data?key=loss",
        "/alerts",
        "/verdict",
        "/figures",
        "/figures/series?key=loss",
        "/live",
    ):
        answer = client.get(address + path)
        assert (answer.status_code, answer.json()["error"]) == (404, "UnknownRun"), path
    assert client.get("/api/v1/runs").json()["runs"] == []
    assert client.get("/api/v1/projects").json()["projects"] == []
    assert client.get("/api/v1/statistics").json()["statistics"] == []
    assert client.get("/api/v1/alerts").json()["alerts"] == []
    assert client.get("/api/v1/deliveries").json()["deliveries"] == []
    assert client.delete(address).status_code == 404, "once is enough"


def test_what_still_arrives_is_told_and_changes_nothing(trainer, wire, client):
    fill(trainer, wire)
    client.delete("/api/v1/runs/run-1")
    late = trainer.post(trainer.block(5, [wire.rows(1, [5], [[5, 5]])]))
    closing = client.post("/api/v1/runs/run-1/attempts/1/finish", json={"state": "finished", "at": 1.0})
    for answer in (trainer.open(), late, closing):
        assert (answer.status_code, answer.json()["error"]) == (410, "RunDeleted")
        assert "new id" in answer.json()["detail"]
    with client.app.state.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) == 4
        assert session.scalar(select(func.count()).select_from(Writer)) == 0


def test_its_rows_go_and_those_of_others_stay(trainer, wire, client, cleaner):
    channel(client)
    other = wire.Trainer(client, run="run-2")
    other.open()
    for one in (trainer, other):
        fill(one, wire)
        alarm(client, one.run)
    database = client.app.state.database
    before = rows_of(database, "run-2")
    client.delete("/api/v1/runs/run-1")
    clean(cleaner)
    assert rows_of(database, "run-1") == {}
    assert rows_of(database, "run-2") == before
    assert other.get("/data", key="loss")["series"][0]["values"] == [1, 2, 3, 4]
    assert trainer.open().status_code == 410, "a process that still sends must not open it anew"


def test_metrics_count_it_no_more(trainer, wire, client, cleaner):
    fill(trainer, wire)
    assert look(client.app.state.database).numbers["runs"] == {"running": 1.0}
    client.delete("/api/v1/runs/run-1")
    assert "runs" not in look(client.app.state.database).numbers
    clean(cleaner)
    assert "runs" not in look(client.app.state.database).numbers


def test_no_table_is_forgotten():
    assert set(removal.TABLES) == {
        name for name, table in Base.metadata.tables.items() if "run_id" in table.c
    }


def test_portions_are_bounded_and_a_kill_between_any_two_loses_no_work(
    trainer, wire, client, clock, monkeypatch
):
    monkeypatch.setattr(removal, "MOST_ROWS", 3)
    monkeypatch.setattr(removal, "MOST_BYTES", 1)  # one row of volume at a time
    fill(trainer, wire, blocks=7)
    database = client.app.state.database
    client.delete("/api/v1/runs/run-1")
    left = sum(rows_of(database, "run-1").values())
    rounds = 0
    while rows_of(database, "run-1"):
        removed = Cleaner(database, LocalBus(), clock=clock).run_once()  # each time a new process
        now = sum(rows_of(database, "run-1").values())
        assert left - now == removed <= 3
        left, rounds = now, rounds + 1
    assert rounds > 7, "each block went alone"


def test_a_portion_that_fails_changes_nothing(trainer, wire, client, cleaner, monkeypatch):
    fill(trainer, wire)
    client.delete("/api/v1/runs/run-1")
    database = client.app.state.database
    before = rows_of(database, "run-1")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(removal, "emptied", killed)
        with pytest.raises(KeyboardInterrupt):
            clean(cleaner)
    assert rows_of(database, "run-1") == {} != before
    with database.reading() as session:
        assert session.get_one(Run, "run-1").state != removal.CLEANED, "the last portion was undone"
    clean(cleaner)
    with database.reading() as session:
        run = session.get_one(Run, "run-1")
        assert (removal.is_clean(run), run.config, run.name, run.points) == (True, {}, "", 0)


def test_stages_that_looked_before_the_deletion_store_nothing(trainer, wire, client, settings, monkeypatch):
    fill(trainer, wire)
    state = client.app.state
    evaluator = Evaluator(state.database, state.rules, LocalBus(), settings)
    due = evaluator._due

    def deleted_meanwhile():
        found = due()
        client.delete("/api/v1/runs/run-1")
        return found

    evaluator._due = deleted_meanwhile
    evaluator.run_once()
    evaluator.close()
    assert evaluator._aside == {}, "nothing failed"
    assert Evaluator(state.database, state.rules, LocalBus(), settings).run_once() == 0
    assert Merger(state.database, LocalBus()).run_once() == 0
    with state.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Alert)) == 0


def test_a_message_that_waited_is_not_sent(trainer, wire, client):
    channel(client)
    fill(trainer, wire)
    alarm(client)
    client.delete("/api/v1/runs/run-1")
    with client.app.state.database.reading() as session:
        assert outbox.next_due(session, 2e9) is None
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0


def test_open_lists_learn_of_it_and_its_own_stream_ends(trainer, wire, client, settings):
    fill(trainer, wire)
    database = client.app.state.database
    own, every = run_look(database, settings, "run-1", None), list_look(database, settings, None, 0.0)
    assert own()
    assert [event["data"]["state"] for event in every()] == ["running"]
    client.delete("/api/v1/runs/run-1")
    assert [(event["data"]["run"], event["data"]["state"]) for event in every()] == [("run-1", "deleted")]
    with pytest.raises(Exception, match="No run has this id"):
        own()


def test_a_writer_in_the_store_cannot_touch_it(trainer, client):
    client.delete("/api/v1/runs/run-1")
    with pytest.raises(RunDeleted), client.app.state.database.writing() as session:
        runs.lock_run(session, "run-1")


def test_two_cleaners_at_once_leave_the_same(trainer, wire, client, cleaner, clock):
    fill(trainer, wire)
    client.delete("/api/v1/runs/run-1")
    second = Cleaner(client.app.state.database, LocalBus(), clock=clock)
    while cleaner.run_once() + second.run_once() > 0:
        pass
    assert rows_of(client.app.state.database, "run-1") == {}


def test_the_file_gives_its_space_back(tmp_path, client, wire, cleaner):
    database = client.app.state.database
    if not database.is_sqlite:
        pytest.skip("PostgreSQL's autovacuum does it")
    with database.reading() as session:
        if session.connection().exec_driver_sql("PRAGMA auto_vacuum").scalar_one() != 2:
            pytest.fail("new databases are made with auto_vacuum=INCREMENTAL")
    trainer = wire.Trainer(client)
    trainer.open()
    values = np.random.default_rng(0).normal(size=(1000, 200))
    for seq in range(1, 9):
        frames = [wire.frame(1, [f"s{i}" for i in range(200)])] if seq == 1 else []
        trainer.send(seq, [wire.rows(1, range(seq * 1000, seq * 1000 + 1000), values)], frames)

    def pages() -> int:
        with database.reading() as session:
            return session.connection().exec_driver_sql("PRAGMA page_count").scalar_one()

    full = pages()
    client.delete("/api/v1/runs/run-1")
    clean(cleaner)
    while Sealer(database).run_once() > 0:  # which gives back what is free when it has nothing else to do
        pass
    assert pages() < full / 4
    assert json.loads(json.dumps(client.get("/readyz").json()))["status"] == "ok"


def test_a_hostile_name_is_a_run_nobody_knows(client):
    assert client.delete("/api/v1/runs/..%2F..%2Fetc").status_code in (404, 405, 422)
    assert client.delete("/api/v1/runs/%00").status_code in (404, 422)


def test_msgpack_of_a_late_block_is_told_410_before_anything_of_it_is_kept(trainer, wire, client):
    client.delete("/api/v1/runs/run-1")
    body = msgpack.packb(trainer.block(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["new"])]))
    assert trainer.post_bytes(body, wire.MSGPACK).status_code == 410
    with client.app.state.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Series)) == 0
