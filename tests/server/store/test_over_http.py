"""What people ask over HTTP: one truth however it rests, resumed runs as they went on, 64-bit steps, heatmaps."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from foreshock_server.models import Block, Writer
from foreshock_server.query import columns, heatmap
from foreshock_server.sealing.ready import ready
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier


def seal(database) -> None:
    """Everything."""
    while Tallier(database, clock=lambda: 0.0).run_once():
        pass
    with database.writing() as session:
        for row in session.scalars(select(Writer)):
            row.evaluated_seq, row.tallied_seq = row.acked_seq, row.acked_seq
    with database.reading() as session:
        waiting = ready(session, now=1e12)
    for one in waiting:
        assert Sealer(database).seal(one)
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) == 0


@pytest.fixture
def database(client):
    return client.app.state.database


def test_a_resumed_run_goes_on_and_both_can_be_shown(trainer, wire, client, database):
    trainer.send(1, [wire.rows(1, [1, 2, 3, 4], [[1], [2], [3], [4]])], [wire.frame(1, ["loss"])])
    again = wire.Trainer(client, attempt=2)
    again.send(1, [wire.rows(1, [3, 4, 5], [[30], [40], [50]])], [wire.frame(1, ["loss"])])
    for _ in range(2):
        (one,) = trainer.get("/data", key="loss")["series"]
        assert (one["steps"], one["values"]) == ([1, 2, 3, 4, 5], [1, 2, 30, 40, 50])
        assert one["attempts"] == [{"attempt": 1, "from": 0}, {"attempt": 2, "from": 2}]
        assert one["points_total"] == 5
        assert one["exact"]
        (both,) = trainer.get("/data", key="loss", superseded=True)["series"]
        assert both["values"] == [1, 2, 3, 4, 30, 40, 50]
        seal(database)


def test_a_sealed_block_sent_again_is_known(trainer, wire, database):
    group, frame = wire.rows(1, [1, 2], [[1], [2]]), wire.frame(1, ["loss"])
    trainer.send(1, [group], [frame])
    seal(database)
    assert trainer.send(1, [group], [frame]) == 1
    assert trainer.get("/data", key="loss")["series"][0]["values"] == [1, 2]
    assert trainer.get()["points"] == 2


def test_steps_of_64_bits_come_in_and_go_out_exactly(trainer, wire, database):
    steps = [-(2**63), -(2**53) - 1, 2**53, 2**53 + 1, 2**63 - 1]
    trainer.send(
        1, [wire.rows(1, steps, [[1], [2], [3], [4], [5]], times=[1, 2, 3, 4, 5])], [wire.frame(1, ["a"])]
    )
    told = {"frame": 2, "steps": [7, "9007199254740995", 2**62], "times": [1, 2, 3], "values": [1, 2, 3]}
    answer = trainer.post_json(trainer.block(2, [told], [wire.frame(2, ["b"])]))
    assert answer.status_code == 200, answer.text
    for _ in range(2):
        a, b = trainer.get("/data", key=["a", "b"])["series"]
        assert a["steps"] == [str(steps[0]), str(steps[1]), 2**53, str(steps[3]), str(steps[4])]
        assert b["steps"] == [7, "9007199254740995", str(2**62)]
        (some,) = trainer.get("/data", key="a", first=2**53 + 1)["series"]
        assert some["values"] == [4, 5]
        seal(database)


@pytest.mark.parametrize("step", ["1.5", "x", "9" * 30, str(2**63), 1.5, None])
def test_what_is_no_step_is_refused_with_its_place(trainer, wire, step):
    told = {"frame": 1, "steps": [step], "times": [1], "values": [1]}
    answer = trainer.post_json(trainer.block(1, [told], [wire.frame(1, ["b"])]))
    assert (answer.status_code, answer.json()["field"]) == (422, "rows[0].steps[0]")


def test_a_long_series_is_answered_from_its_extremes_and_says_so(trainer, wire, database, monkeypatch):
    monkeypatch.setattr("foreshock_server.store.overview.FEW", 1000)
    g = np.random.default_rng(0)
    values = g.standard_normal(20_000).astype(np.float32)
    values[7777], values[123] = 99.0, np.nan
    trainer.send(1, [wire.rows(1, range(20_000), values)], [wire.frame(1, ["a"])])
    seal(database)
    (one,) = trainer.get("/data", key="a", points=100)["series"]
    assert not one["exact"]
    assert one["downsampled"]
    assert (one["points_total"], one["nan_total"], one["nan"]) == (20_000, 1, [123])
    assert 60 < len(one["steps"]) < 250
    assert one["values"][one["steps"].index(7777)] == 99.0
    assert one["values"][one["steps"].index(123)] == "NaN"
    (whole,) = trainer.get("/data", key="a", points=0)["series"]
    assert whole["exact"]
    assert len(whole["steps"]) == 20_000


def test_a_heatmap_is_a_matrix_of_places_by_steps(trainer, wire, database):
    places = [f"layer.{i}" for i in range(3)]
    series = [
        wire.series(
            "norm", key=f"norm{{place={place}}}", statistic="norm", place=place, labels={"place": place}
        )
        for place in places
    ]
    table = np.arange(300).reshape(100, 3)
    trainer.send(1, [wire.rows(1, range(100), table)], [{"frame": 1, "series": series}])
    for _ in range(2):
        answer = trainer.get("/heatmap", statistic="norm", columns=10)
        rows, columns = map(int, answer["values"]["shape"].split(", "))
        found = np.frombuffer(base64.b64decode(answer["values"]["bdata"]), "<f4").reshape(rows, columns)
        assert answer["edges"] == list(range(0, 101, 10))
        np.testing.assert_allclose(found, table.reshape(10, 10, 3).mean(1).T)
        assert answer["places"] == places
        assert trainer.get("/heatmap", statistic="norm", places="*.1")["places"] == ["layer.1"]
        seal(database)
    assert trainer.client.get("/api/v1/runs/run-1/heatmap?statistic=nope").status_code == 404
    assert trainer.client.get("/api/v1/runs/run-1/heatmap?statistic=norm&first=3&last=2").status_code == 422


def test_more_than_fits_into_an_answer_is_refused_before_it_is_read(trainer, wire, database, monkeypatch):
    steps = range(100)
    frame = {"frame": 1, "series": [wire.series("a"), wire.series("v", axis={"name": "head", "size": 4})]}
    trainer.send(1, [wire.rows(1, steps, np.ones((100, 5)))], [frame])
    seal(database)
    ask = trainer.client.get
    arrow = {"Accept": columns.ARROW}

    def status(query: str, **more: Any) -> int:
        answer = ask(f"/api/v1/runs/run-1/data?{query}", **more)
        if answer.status_code != 200:
            assert (answer.json()["field"], "points" in answer.json()["detail"]) == ("points", True)
        return int(answer.status_code)

    monkeypatch.setattr(columns, "MOST_READ", 400)
    assert status("key=v&points=0") == 200
    assert status("key=a&points=0") == 200
    assert status("key=a&key=v&points=0") == 422
    assert status("key=a&key=v&points=0", headers=arrow) == 422
    assert status("key=a&key=v&points=0&first=0&last=9") == 422  # a segment is read whole
    assert status("&".join(["key=a"] * 4)) == 200
    assert status("&".join(["key=a"] * 5)) == 422  # what is read once may be written often
    monkeypatch.setattr(columns, "MOST_WRITTEN", 99)
    assert status("key=a&points=0") == 422
    assert status("key=a&points=0", headers=arrow) == 200
    assert status("key=a&points=20") == 200


def test_a_heatmap_of_many_rows_has_wider_columns(trainer, wire, database, monkeypatch):
    trainer.send(1, [wire.rows(1, range(100), np.arange(100.0)[:, None])], [wire.frame(1, ["a"])])
    monkeypatch.setattr(heatmap, "MOST_CELLS", 10)
    for _ in range(2):
        answer = trainer.get("/heatmap", statistic="a", columns=4000)
        assert 2 <= len(answer["edges"]) <= 11
        seal(database)
