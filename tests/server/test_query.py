"""What was sent is what is read: runs, series, columns; one moment, cheaply, and the list never waits for the blocks."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import event, select, update

from foreshock_server.models import Alert, Block, Run
from foreshock_server.query import leads
from foreshock_server.query.runs import overhead_percent
from foreshock_server.store import blocks
from foreshock_server.store.runs import touch

ARROW = "application/vnd.apache.arrow.stream"


def test_a_run_reads_as_the_page_expects_it(trainer, wire):
    trainer.send(
        1,
        [wire.rows(1, [0, 1], [[0.5, 8], [0.25, math.nan]])],
        [wire.frame(1, ["loss", "policy_entropy"])],
        cost={"steps": 2, "wall_seconds": 4.0, "training_seconds": 0.02},
    )
    run = trainer.get()
    created, updated = run.pop("created_at"), run.pop("updated_at")
    assert created == 1.79e9
    assert updated > created - 1e9
    attempts = run.pop("attempts")
    assert run == {
        "id": "run-1",
        "project": "p",
        "name": "brisk-otter",
        "state": "running",
        "revision": 2,
        "last_step": 1,
        "points": 4,
        "dropped": 0,
        "lost": {},
        "overhead_percent": 0.5,
        "verdict": "fine",
        "firing": 0,
        "families": [{"family": "training", "state": "fine"}],
        "planned_steps": None,
        "owner": None,
        "tags": [],
        "archived": False,
        "trashed_at": None,
        "note": None,
        "note_at": None,
        "note_by": None,
        "lead": {
            "key": "policy_entropy",
            "statistic": "policy_entropy",
            "unit": "",
            "last": "NaN",
            "spark": {"steps": [0, 1], "values": [8.0, "NaN"]},
        },
        "url": "http://testserver/runs/run-1",
        "config": {"lr": 1e-5},
    }
    assert attempts[0]["info"] == {"host": "n17"}
    assert attempts[0]["writers"][0]["acked"] == 1


def test_a_run_without_blocks_for_a_while_is_silent_until_the_next_one(client, trainer, wire):
    database, patience = client.app.state.database, client.app.state.settings.silent_after
    with database.writing() as session:
        session.execute(update(Run).values(updated_at=Run.updated_at - patience - 1))
    assert trainer.get()["state"] == "silent"
    listed = {
        state: client.get("/api/v1/runs", params={"state": state}).json()["runs"]
        for state in ("silent", "running")
    }
    assert [len(listed["silent"]), len(listed["running"])] == [1, 0]
    trainer.send(1)
    assert trainer.get()["state"] == "running"
    assert len(client.get("/api/v1/runs?state=running").json()["runs"]) == 1


def test_the_list_is_latest_first_in_pages_and_by_project(client, wire):
    for i in range(7):
        wire.Trainer(client, run=f"run-{i}").open(project="even" if i % 2 == 0 else "odd")
    seen, before = [], None
    while True:
        page = client.get(
            "/api/v1/runs", params={"limit": 3, **({"before": before} if before else {})}
        ).json()
        seen += [run["id"] for run in page["runs"]]
        before = page["next"]
        if before is None:
            break
    assert seen == [f"run-{i}" for i in reversed(range(7))]
    odd = client.get("/api/v1/runs?project=odd").json()["runs"]
    assert [run["id"] for run in odd] == ["run-5", "run-3", "run-1"]
    assert "config" not in odd[0]
    projects = client.get("/api/v1/projects").json()["projects"]
    assert [(one["project"], one["runs"]) for one in projects] == [("even", 4), ("odd", 3)]


def test_a_cursor_that_is_none_is_refused_with_what_to_pass(client):
    answer = client.get("/api/v1/runs?before=yesterday")
    assert (answer.status_code, answer.json()["field"]) == (422, "before")


def test_the_list_reads_no_block_of_a_run_that_did_not_change(client, wire, monkeypatch):
    monkeypatch.setattr(leads, "KEEP", 0.0)
    for i in range(5):
        trainer = wire.Trainer(client, run=f"run-{i}")
        trainer.open()
        trainer.send(1, [wire.rows(1, [1], [[i]])], [wire.frame(1, ["loss"])])
    first = client.get("/api/v1/runs").json()["runs"]
    reads = []
    engine = client.app.state.database.engine

    def note(_connection, _cursor, statement, parameters, *_rest):
        if "blocks.rows" in statement:
            reads.append(str(parameters))

    event.listen(engine, "before_cursor_execute", note)
    assert client.get("/api/v1/runs").json()["runs"] == first
    assert reads == []
    trainer.send(2, [wire.rows(1, [2], [[9]])])
    again = client.get("/api/v1/runs").json()["runs"]
    assert reads
    assert all("run-4" in one for one in reads)
    assert again[0]["lead"]["spark"] == {"steps": [1, 2], "values": [4.0, 9.0]}
    event.remove(engine, "before_cursor_execute", note)


def test_leads_that_were_dear_are_shown_for_longer(client, trainer, wire, database):
    times = iter([0.0, 2.0, 5.0, 22.1, 22.2, 22.3])  # it took two seconds, so it is shown for twenty
    kept = leads.Leads(clock=lambda: next(times))

    def last() -> float:
        with database.reading() as session:
            return kept.of(session, session.scalars(select(Run)).all())["run-1"]["last"]

    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["loss"])])
    assert last() == 1
    trainer.send(2, [wire.rows(1, [2], [[9]])])
    assert last() == 1
    assert last() == 9


def test_an_answer_draws_old_leads_anew_for_a_while_and_leaves_the_others_to_the_next(
    client, wire, database, monkeypatch
):
    monkeypatch.setattr(leads, "KEEP", 0.0)
    monkeypatch.setattr(leads, "TOGETHER", 1)
    monkeypatch.setattr(leads, "PATIENCE", 1.5)
    kept = leads.Leads(clock=itertools.count().__next__)  # a second between two looks
    trainers = [wire.Trainer(client, run=f"run-{i}") for i in range(3)]

    def last() -> list[float]:
        with database.reading() as session:
            found = kept.of(session, session.scalars(select(Run)).all())
        return sorted(one["last"] for one in found.values())

    for trainer in trainers:
        trainer.open()
        trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["loss"])])
    assert last() == [1, 1, 1]
    for trainer in trainers:
        trainer.send(2, [wire.rows(1, [2], [[9]])])
    assert [last() for _ in range(3)] == [[1, 1, 9], [1, 9, 9], [9, 9, 9]]


def test_the_lead_is_the_statistic_that_tells_most(client, trainer, wire, monkeypatch):
    monkeypatch.setattr(leads, "KEEP", 0.0)
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["reward"])])
    assert trainer.get()["lead"]["key"] == "reward"
    trainer.send(2, [wire.rows(2, [1], [[1]])], [wire.frame(2, ["loss"])])
    assert trainer.get()["lead"]["key"] == "loss"
    ranks = [
        wire.series(
            f"effective_rank{{place=h.{i}}}",
            statistic="effective_rank",
            place=f"h.{i}",
            labels={"place": f"h.{i}"},
        )
        for i in (0, 1)
    ]
    trainer.send(3, [wire.rows(3, [1], [[5, 6]])], [{"frame": 3, "series": ranks}])
    assert trainer.get()["lead"]["key"] == "effective_rank{place=h.0}"


def test_series_are_listed_with_all_that_was_said_of_them(trainer, wire):
    about = {"title": "Policy entropy", "low": 0.0, "high": None, "source": "a paper"}
    said = wire.series(
        "policy_entropy{place=head}",
        statistic="policy_entropy",
        family="policy entropy",
        place="head",
        labels={"place": "head"},
        unit="nat",
        about=about,
    )
    trainer.send(1, [wire.rows(1, [3, 4], [[1], [2]])], [{"frame": 1, "series": [said]}])
    assert trainer.get("/series") == {
        "series": [
            {
                **said,
                "axis": None,
                "first_step": 3,
                "last_step": 4,
                "last": 2.0,
                "points": 2,
                "nonfinite": 0,
            }
        ]
    }
    statistics = trainer.client.get("/api/v1/statistics").json()["statistics"]
    assert statistics == [{"statistic": "policy_entropy", "family": "policy entropy", "unit": "nat", **about}]


def test_statistics_of_many_runs_are_listed_once(client, wire):
    for i in range(3):
        trainer = wire.Trainer(client, run=f"run-{i}")
        trainer.open()
        trainer.send(1, [], [wire.frame(1, ["b", "a"])])
    listed = client.get("/api/v1/statistics").json()["statistics"]
    assert [one["statistic"] for one in listed] == ["a", "b"]


def test_a_range_of_steps_is_what_it_says(trainer, wire):
    for seq in range(1, 6):
        steps = list(range(10 * seq, 10 * seq + 10))
        trainer.send(seq, [wire.rows(1, steps, [[step] for step in steps])], [wire.frame(1, ["a"])])
    assert trainer.get("/data", key="a", first=25, last=41)["series"][0]["steps"] == list(range(25, 42))
    assert trainer.get("/data", key="a", first=58)["series"][0]["values"] == [58, 59]
    assert trainer.get("/data", key="a", last=5)["series"][0]["steps"] == []
    answer = trainer.client.get("/api/v1/runs/run-1/data?key=a&first=5&last=4")
    assert (answer.status_code, answer.json()["field"]) == (422, "first")


def test_an_unknown_series_says_where_the_known_ones_are_listed(trainer):
    answer = trainer.client.get("/api/v1/runs/run-1/data", params={"key": "nothing"})
    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownSeries")
    assert "/api/v1/runs/run-1/series" in answer.json()["detail"]


def test_data_without_a_key_says_which_parameter_is_missing(trainer):
    answer = trainer.client.get("/api/v1/runs/run-1/data")
    assert (answer.status_code, answer.json()["field"]) == (422, "key")


def test_arrow_carries_every_reading_bit_for_bit(client, trainer, wire):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 2)).astype("<f4")
    values[17, 0], values[4000, 1] = np.nan, np.inf
    trainer.send(1, [wire.rows(1, range(5000), values)], [wire.frame(1, ["a", "b"])])
    resumed = wire.Trainer(client, attempt=2, writer="r0-b")
    resumed.send(1, [wire.rows(1, [3], [[0.1]], dtype="f64")], [wire.frame(1, ["b"], "f64")])
    answer = client.get(
        "/api/v1/runs/run-1/data",
        params={"key": ["b", "a"], "points": 0, "superseded": True},
        headers={"Accept": ARROW},
    )
    assert answer.headers["content-type"] == ARROW
    with pa.ipc.open_stream(io.BytesIO(answer.content)) as stream:
        table = stream.read_all()
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("key", "dictionary<values=string, indices=int32, ordered=0>"),
        ("step", "int64"),
        ("time", "double"),
        ("value", "double"),
        ("attempt", "int32"),
    ]
    keys = np.array(table["key"].to_pylist())
    b = np.append(values[:, 1].astype(np.float64), 0.1)
    assert table["value"].to_numpy()[keys == "b"].tobytes() == b.tobytes()
    assert table["value"].to_numpy()[keys == "a"].tobytes() == values[:, 0].astype(np.float64).tobytes()
    assert table["value"].null_count == 0
    assert table["attempt"].to_pylist()[4999:5001] == [1, 2]
    assert table["step"].to_pylist()[5000] == 3
    assert table.schema.metadata[b"revision"] == str(trainer.get()["revision"]).encode()


def test_arrow_of_a_series_without_readings_is_an_empty_table(trainer, wire):
    trainer.send(1, [], [wire.frame(1, ["a"])])
    answer = trainer.client.get("/api/v1/runs/run-1/data?key=a", headers={"Accept": ARROW})
    with pa.ipc.open_stream(io.BytesIO(answer.content)) as stream:
        assert stream.read_all().num_rows == 0


def test_a_long_series_is_thinned_to_about_what_was_asked_for(trainer, wire):
    for seq in range(1, 11):
        steps = range(1000 * seq, 1000 * seq + 1000)
        trainer.send(seq, [wire.rows(1, steps, [[math.sin(step)] for step in steps])], [wire.frame(1, ["a"])])
    data = trainer.get("/data", key="a", points=300)
    one = data["series"][0]
    assert 200 <= len(one["steps"]) <= 310
    assert one["downsampled"]
    assert one["points_total"] == 10_000
    assert len(trainer.get("/data", key="a", points=0)["series"][0]["steps"]) == 10_000


def test_what_is_remembered_of_a_series_grows_as_the_run_grows(client, trainer, wire):
    database = client.app.state.database

    def values(first=None, last=None):
        with database.reading() as session:
            return blocks.read(session, "run-1", [1], first, last)[1].values.tolist()

    frame = [wire.frame(1, ["a"])]
    trainer.send(1, [wire.rows(1, [1], [[1]])], frame)
    assert values() == [1]
    trainer.send(3, [wire.rows(1, [3], [[3]])], frame)  # beyond the gap: seen, but not yet settled
    assert values() == [1, 3]
    trainer.send(2, [wire.rows(1, [2], [[2]])], frame)
    assert values() == [1, 2, 3]
    other = wire.Trainer(client, writer="r1-b")
    other.send(1, [wire.rows(9, [1], [[7]])], [wire.frame(9, ["a"])])
    assert values() == [1, 2, 3, 7]
    wire.Trainer(client, attempt=2).send(1, [wire.rows(4, [2], [[8]])], [wire.frame(4, ["a"])])
    assert values() == [1, 2, 3, 7, 8]
    assert values(2, 3) == [2, 3, 8]


def test_a_series_in_several_frames_of_a_writer_is_read_in_the_order_of_its_rows(trainer, wire):
    frames = [wire.frame(1, ["a", "b"]), wire.frame(2, ["b", "c"])]
    groups = [
        wire.rows(1, [1], [[1, 10]]),
        wire.rows(2, [2], [[20, 2]], absent=[[False, True]]),
        wire.rows(1, [3], [[3, 30]]),
    ]
    trainer.send(1, groups, frames)
    trainer.send(2, [wire.rows(2, [4, 5], [[40, 4], [50, 5]])])
    a, b, c = trainer.get("/data", key=["a", "b", "c"])["series"]
    assert a["values"] == [1, 3]
    assert (b["steps"], b["values"]) == ([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    assert (c["steps"], c["values"]) == ([4, 5], [4, 5])


def test_nothing_is_remembered_of_a_transaction_that_is_undone(client, trainer, wire):
    database = client.app.state.database
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])

    def spoil() -> None:
        with database.writing() as session:
            session.execute(update(Block).values(rows=b"\x90"))
            assert len(blocks.read(session, "run-1", [1])[1]) == 0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        spoil()
    with database.reading() as session:
        assert len(blocks.read(session, "run-1", [1])[1]) == 1


def test_memory_of_series_is_bounded(client, trainer, wire, monkeypatch):
    monkeypatch.setattr("foreshock_server.store.columns.MOST_BYTES", 100_000)
    names = [f"s{i}" for i in range(20)]
    steps = range(1000)
    trainer.send(1, [wire.rows(1, steps, np.ones((1000, 20)))], [wire.frame(1, names)])
    for name in names:
        assert len(trainer.get("/data", key=name, points=0)["series"][0]["steps"]) == 1000
    from foreshock_server.store import columns

    with client.app.state.database.reading() as session:
        cache = columns._cache(session)
    assert 0 < cache._bytes <= 100_000
    assert cache._bytes == sum(columns._size(kept) for kept in cache._kept.values())


@pytest.mark.parametrize(
    ("states", "word"),
    [
        ([], "fine"),
        ([("ok", "critical")], "fine"),
        ([("pending", "critical")], "watch"),
        ([("ok", "critical"), ("firing", "warning")], "watch"),
        ([("firing", "critical"), ("firing", "warning")], "collapsing"),
    ],
)
def test_the_list_says_the_verdict_that_the_run_explains(client, trainer, wire, states, word):
    assert trainer.get()["verdict"] == trainer.get("/verdict")["verdict"] == "none"
    trainer.send(1, [wire.rows(1, [1, 412], [[1], [0.31]])], [wire.frame(1, ["policy_entropy"])])
    with client.app.state.database.writing() as session:
        session.add_all(alert(f"rule-{i}", state, severity) for i, (state, severity) in enumerate(states))
    assert trainer.get()["verdict"] == trainer.get("/verdict")["verdict"] == word


def alert(rule: str, state: str, severity: str) -> Alert:
    """An alert on the first series of the run."""
    return Alert(
        run_id="run-1",
        rule=rule,
        series_id=1,
        state=state,
        severity=severity,
        episode=1,
        since_step=400,
        fired_step=None if state == "pending" else 412,
        last_step=412,
        attempt=1,
        memory={},
        reading={
            "value": 0.31,
            "baseline": 0.82,
            "threshold": 0.205,
            "message": "It falls.",
            "forecast": None,
        },
    )


def test_a_firing_alert_shows_in_the_run_the_list_and_the_answer_to_a_block(client, trainer, wire):
    trainer.send(1, [wire.rows(1, [412], [[0.31]])], [wire.frame(1, ["policy_entropy"])])
    with client.app.state.database.writing() as session:
        session.add(alert("policy-entropy-collapse", "firing", "critical"))
        touch(session, "run-1", 1e9)  # as whoever stores an alert does
    run = client.get("/api/v1/runs").json()["runs"][0]
    assert (run["verdict"], run["firing"]) == ("collapsing", 1)
    assert trainer.post(trainer.block(2)).json()["alerts"] == [
        {
            "rule": "policy-entropy-collapse",
            "series": "policy_entropy",
            "state": "firing",
            "severity": "critical",
            "step": 412,
            "value": 0.31,
            "baseline": 0.82,
            "threshold": 0.205,
            "message": "It falls.",
            "episode": 1,
        }
    ]


@pytest.mark.parametrize(
    ("costs", "percent"),
    [
        ([], None),
        ([{}], None),
        ([{"wall_seconds": 0.0, "training_seconds": 0.0}], None),
        (
            [
                {"wall_seconds": 100.0, "training_seconds": 1.0},
                {"wall_seconds": 300.0, "training_seconds": 1.0},
            ],
            0.5,
        ),
        ([{"wall_seconds": 100.0, "training_seconds": 1.0}, {"training_seconds": 9.0}], 1.0),
    ],
)
def test_overhead_is_our_share_of_the_training_threads(costs, percent):
    assert overhead_percent(costs) == percent


def test_a_parameter_that_takes_one_value_is_not_given_two(client):
    answer = client.get("/api/v1/runs?owner=ada&limit=3&owner=grace")
    assert answer.status_code == 422
    assert answer.json()["field"] == "owner"
    assert answer.json()["detail"] == "owner is there 2 times; give it once."
    assert client.get("/api/v1/runs?tag=a&tag=b&owner=ada").status_code == 200
