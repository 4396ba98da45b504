"""A vector is one series: stored, counted, read and refused as such, whatever stands beside it in its frame."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from sqlalchemy import select

from foreshock_server.models import Writer
from foreshock_server.sealing.ready import ready
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier

pa = pytest.importorskip("pyarrow")

ARROW = "application/vnd.apache.arrow.stream"


def frame(wire, number, *series, dtype="f32"):
    """A frame of numbers (a name) and vectors (name, size)."""
    described = [
        wire.series(one, dtype)
        if isinstance(one, str)
        else wire.series(one[0], dtype, axis={"name": "head", "size": one[1], **dict(one[2:])})
        for one in series
    ]
    return {"frame": number, "series": described}


def test_a_vector_is_one_series_and_reads_back_as_rows_of_entries(trainer, wire):
    values = [[1, 10, 11, 12, 2], [3, 20, math.nan, math.inf, 4]]
    trainer.send(1, [wire.rows(1, [5, 6], values)], [frame(wire, 1, "a", ("v", 3), "b")])
    listed = trainer.get("/series")["series"]
    assert [(one["key"], one["axis"]) for one in listed] == [
        ("a", None),
        ("v", {"name": "head", "size": 3}),
        ("b", None),
    ]
    a, v, b = trainer.get("/data", key=["a", "v", "b"])["series"]
    assert (a["values"], a["axis"]) == ([1.0, 3.0], None)
    assert (b["values"], b["axis"]) == ([2.0, 4.0], None)
    assert v["values"] == [[10.0, 11.0, 12.0], [20.0, "NaN", "Infinity"]]
    assert v["axis"] == {"name": "head", "size": 3}
    assert (v["steps"], v["nan"], v["nan_total"], v["points_total"]) == ([5, 6], [6], 1, 2)


def test_json_and_msgpack_say_the_same(trainer, wire):
    block = trainer.block(1, [], [frame(wire, 1, ("v", 2), "a")])
    block["rows"] = [
        {
            "frame": 1,
            "steps": [1, 2],
            "times": [1e9, 1e9 + 1],
            "values": [1, 2, 3, "NaN", 5, 6],
            "absent": [0, 1],
        }
    ]
    assert trainer.post_json(block).status_code == 200
    v, a = trainer.get("/data", key=["v", "a"])["series"]
    assert (v["steps"], v["values"]) == ([2], [["NaN", 5.0]])
    assert (a["steps"], a["values"]) == ([1, 2], [3.0, 6.0])


def test_a_vector_of_which_no_entry_is_there_is_no_reading(trainer, wire):
    absent = [[True, True, False], [True, False, False], [False, False, True]]
    group = wire.rows(1, [1, 2, 3], [[0, 0, 1], [0, 5, 2], [6, 7, 0]], absent=absent)
    trainer.send(1, [group], [frame(wire, 1, ("v", 2), "a")])
    v, a = trainer.get("/data", key=["v", "a"])["series"]
    assert (v["steps"], v["values"]) == ([2, 3], [["NaN", 5.0], [6.0, 7.0]])
    assert (a["steps"], a["values"]) == ([1, 2], [1.0, 2.0])


def test_what_a_series_counts_are_entries(trainer, wire):
    values = [[9, 1, 2, 3, 0], [9, 4, math.nan, 6, 8], [9, 3, 5, 1, 4]]
    absent = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 1, 1]]
    frames = [frame(wire, 1, "n", ("v", 2), "a", ("w", 1))]
    trainer.send(1, [wire.rows(1, [1, 2, 3], values, absent=absent)], frames)
    n, v, a, w = trainer.get("/series")["series"]
    assert (n["points"], n["last"]) == (0, None)
    assert (v["points"], v["nonfinite"], v["first_step"], v["last_step"], v["last"]) == (5, 1, 1, 3, 4.0)
    assert (a["points"], a["nonfinite"], a["last_step"], a["last"]) == (2, 0, 2, 6.0)
    assert (w["points"], w["last_step"], w["last"]) == (2, 2, 8.0)
    assert trainer.get()["points"] == 9
    trainer.send(2, [wire.rows(1, [4], [[9, math.inf, 5, 1, 4]])])
    assert trainer.get("/series")["series"][1]["last"] == "Infinity"


def test_some_entries_can_be_asked_for_by_number_or_name(trainer, wire):
    frames = [frame(wire, 1, ("v", 3, ("ticks", ["low", "mid", "high"])), "a")]
    trainer.send(1, [wire.rows(1, [1], [[1, 2, 3, 4]])], frames)
    v, a = trainer.get("/data", key=["v", "a"], entry=["high", "0"])["series"]
    assert v["values"] == [[3.0, 1.0]]
    assert v["axis"] == {"name": "head", "size": 2, "ticks": ["high", "low"]}
    assert a["values"] == [4.0]
    for query, sentence in (
        ({"key": "v", "entry": "9"}, "v has no head '9'"),
        ({"key": "a", "entry": "0"}, "leave `entry` out"),
    ):
        answer = trainer.client.get(f"/api/v1/runs/{trainer.run}/data", params=query)
        assert answer.status_code == 422, answer.text
        assert sentence in answer.json()["detail"]


def test_arrow_carries_vectors_as_lists_of_one_size(trainer, wire):
    values = [[1, 2, 3, 4, 5], [5, math.nan, 7, 8, 9]]
    trainer.send(1, [wire.rows(1, [1, 2], values)], [frame(wire, 1, ("v", 2), ("w", 2), "a")])

    def ask(*keys):
        return trainer.client.get(
            f"/api/v1/runs/{trainer.run}/data", params={"key": keys}, headers={"Accept": ARROW}
        )

    table = pa.ipc.open_stream(io.BytesIO(ask("v", "w").content)).read_all()
    assert table.schema.field("value").type == pa.list_(pa.float64(), 2)
    assert table.column("key").to_pylist() == ["v", "v", "w", "w"]
    flat = table.column("value").combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(flat, [1, 2, 5, math.nan, 3, 4, 7, 8])
    assert table.column("value").null_count == 0
    mixed = ask("v", "a")
    assert mixed.status_code == 422
    assert "several requests" in mixed.json()["detail"]


def test_a_long_vector_is_thinned_and_keeps_its_ends_and_its_nan(trainer, wire):
    values = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    values[2500, 1] = np.nan
    steps = np.arange(5000)
    for seq, part in enumerate(np.split(np.arange(5000), 5), 1):
        frames = [frame(wire, 1, ("v", 4))] if seq == 1 else []
        trainer.send(seq, [wire.rows(1, steps[part], values[part])], frames)
    drawn = trainer.get("/data", key="v", points=200)["series"][0]
    assert drawn["downsampled"]
    assert 100 < len(drawn["steps"]) <= 210
    assert (drawn["steps"][0], drawn["steps"][-1]) == (0, 4999)
    assert drawn["nan"] == [2500]
    assert drawn["values"][drawn["steps"].index(2500)][1] == "NaN"
    whole = trainer.get("/data", key="v", points=0)["series"][0]["values"]
    np.testing.assert_array_equal(np.array(whole, float), values)


def test_another_size_under_one_name_is_a_series_of_its_own(trainer, wire):
    frames = [frame(wire, 1, ("v", 2)), frame(wire, 2, ("v", 3)), frame(wire, 3, "v")]
    groups = [
        wire.rows(1, [1], [[1, 2]]),
        wire.rows(2, [2], [[3, 4, 5]]),
        wire.rows(3, [3], [[6]]),
    ]
    trainer.send(1, groups, frames)
    trainer.send(2, [wire.rows(2, [4], [[7, 8, 9]])], [frames[1]])  # said again, it means the same
    listed = {one["key"]: one for one in trainer.get("/series")["series"]}
    assert list(listed) == ["v", "v{entries=3}", "v{entries=number}"]
    assert listed["v{entries=3}"]["labels"] == {"entries": "3"}
    data = trainer.get("/data", key=list(listed))["series"]
    assert [one["values"] for one in data] == [[[1.0, 2.0]], [[3.0, 4.0, 5.0], [7.0, 8.0, 9.0]], [6.0]]


def test_a_series_of_vectors_without_readings_is_empty(trainer, wire):
    trainer.send(1, [], [frame(wire, 1, ("v", 2))])
    assert trainer.get("/data", key="v")["series"][0]["values"] == []
    answer = trainer.client.get(
        f"/api/v1/runs/{trainer.run}/data", params={"key": "v"}, headers={"Accept": ARROW}
    )
    assert pa.ipc.open_stream(io.BytesIO(answer.content)).read_all().num_rows == 0


@pytest.mark.parametrize(
    ("axis", "field", "sentence"),
    [
        ("head", "axis", "write an object"),
        ({"size": 2}, "axis.name", "is missing"),
        ({"name": "", "size": 2}, "axis.name", "is empty"),
        ({"name": "head", "size": 0}, "axis.size", "between 1 and 4096"),
        ({"name": "head", "size": 4097}, "axis.size", "between 1 and 4096"),
        ({"name": "head", "size": True}, "axis.size", "write an integer"),
        ({"name": "head", "size": 2, "ticks": ["a"]}, "axis.ticks", "write one for each entry"),
        ({"name": "head", "size": 2, "ticks": ["a", None]}, "axis.ticks[1]", "write a number"),
        ({"name": "head", "size": 2, "ticks": [1, "x" * 41]}, "axis.ticks[1]", "40 is the most"),
        ({"name": "head", "size": 2, "ticks": [1, math.inf]}, "axis.ticks[1]", "not finite"),
    ],
)
def test_an_axis_that_breaks_the_contract_is_refused_with_its_field(trainer, wire, axis, field, sentence):
    described = {"frame": 1, "series": [wire.series("v", axis=axis)]}
    answer = trainer.post(trainer.block(1, [], [described]))
    assert answer.status_code == 422
    assert answer.json()["field"] == f"frames[0].series[0].{field}"
    assert sentence in answer.json()["detail"]


def test_a_frame_has_a_bounded_number_of_columns_and_its_rows_fill_them(trainer, wire):
    wide = trainer.post(trainer.block(1, [], [frame(wire, 1, ("v", 4000), ("w", 97))]))
    assert (wide.status_code, wide.json()["field"]) == (422, "frames[0].series")
    assert "4,097" in wide.json()["detail"]
    short = trainer.post(trainer.block(1, [wire.rows(1, [1], [[1, 2, 3]])], [frame(wire, 1, ("v", 3), "a")]))
    assert (short.status_code, short.json()["field"]) == (422, "rows[0].values")
    assert "16 bytes" in short.json()["detail"]


def seal(trainer):
    """Everything of the run, as if the rules had seen it; how many blocks that were."""
    database = trainer.client.app.state.database
    while Tallier(database).tally(trainer.run):
        pass
    with database.writing() as session:
        for row in session.scalars(select(Writer).where(Writer.run_id == trainer.run)):
            row.evaluated_seq = row.acked_seq
    with database.reading() as session:
        waiting = ready(session, now=1e12)
    return sum(Sealer(database).seal(one) for one in waiting)


def test_sealed_vectors_read_as_they_did(trainer, wire):
    rng = np.random.default_rng(0)
    frames = [frame(wire, 1, "a", ("v", 3), "b"), frame(wire, 2, ("w", 2), ("v", 3), dtype="f32")]
    for seq in range(1, 5):
        first, second = rng.normal(size=(8, 5)), rng.normal(size=(8, 5))
        first[2, 1], first[3, 2] = math.nan, math.inf
        absent = rng.random((8, 5)) < 0.4
        steps = np.arange(8) + 20 * seq
        groups = [wire.rows(1, steps, first, absent=absent), wire.rows(2, steps + 8, second)]
        trainer.send(seq, groups, frames if seq == 1 else [])
    keys = ["a", "v", "b", "w"]

    def seen():
        listed = trainer.get("/series")["series"]
        parts = [
            trainer.get("/data", key=keys, points=0),
            trainer.get("/data", key=keys, points=5),
            trainer.get("/data", key=keys, first=45, last=75),
            trainer.get("/data", key=["v"], entry=["2"]),
        ]
        picture = trainer.client.get(f"/api/v1/runs/{trainer.run}/figures/entries.v").json()
        return listed, [one["series"] for one in parts], picture["data"]

    before = seen()
    assert seal(trainer) == 4
    assert seen() == before
    more = np.ones((2, 5))
    trainer.send(5, [wire.rows(2, [200, 201], more)])
    after = trainer.get("/data", key="v", points=0)["series"][0]
    assert after["values"] == [*before[1][0][1]["values"], [1.0] * 3, [1.0] * 3]
    assert seal(trainer) == 1
    assert trainer.get("/data", key="v", points=0)["series"][0] == after
