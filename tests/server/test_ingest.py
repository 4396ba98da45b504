"""A block is stored once, whole, in any order, and everything about it is counted."""

from __future__ import annotations

import gzip
import math
import threading
import zlib

import msgpack
import numpy as np
import pytest
from sqlalchemy import func, select

from foreshock_server.models import Block, Run, Writer


def test_a_block_is_stored_and_read_back_as_it_was(trainer, wire):
    values = [[1.5, math.nan], [2.5, 4.0], [math.inf, 5.0]]
    ack = trainer.send(1, [wire.rows(1, [10, 11, 12], values)], [wire.frame(1, ["a", "b"])])
    assert ack == 1
    data = trainer.get("/data", key=["a", "b"])
    first, second = data["series"]
    assert first["steps"] == [10, 11, 12]
    assert first["values"] == [1.5, 2.5, "Infinity"]
    assert first["times"] == [1e9 + 10, 1e9 + 11, 1e9 + 12]
    assert second["values"] == ["NaN", 4.0, 5.0]
    assert (first["nan"], second["nan"]) == ([12], [10])


def test_an_absent_reading_is_absent_and_a_nan_is_a_reading(trainer, wire):
    absent = [[False, True], [True, False], [False, False]]
    group = wire.rows(1, [1, 2, 3], [[1, 99], [99, 2], [math.nan, 3]], absent=absent)
    trainer.send(1, [group], [wire.frame(1, ["a", "b"])])
    first, second = trainer.get("/data", key=["a", "b"])["series"]
    assert (first["steps"], first["values"]) == ([1, 3], [1.0, "NaN"])
    assert (second["steps"], second["values"]) == ([2, 3], [2.0, 3.0])
    listed = {one["key"]: one for one in trainer.get("/series")["series"]}
    assert (listed["a"]["points"], listed["a"]["nonfinite"]) == (2, 1)
    assert (listed["b"]["points"], listed["b"]["nonfinite"]) == (2, 0)
    assert trainer.get()["points"] == 4


def test_a_block_of_nothing_but_absences_is_stored_and_counts_nothing(trainer, wire):
    group = wire.rows(1, [1, 2], [[0], [0]], absent=[[True], [True]])
    assert trainer.send(1, [group], [wire.frame(1, ["a"])]) == 1
    assert trainer.get()["points"] == 0
    assert trainer.get("/data", key="a")["series"][0]["steps"] == []


def test_several_groups_of_one_block_count_together(trainer, wire):
    frames = [wire.frame(1, ["a", "b"]), wire.frame(2, ["b"])]
    groups = [
        wire.rows(1, [5, 6], [[1, 1], [2, math.nan]]),
        wire.rows(2, [3, 4], [[9], [9]]),
        wire.rows(1, [6], [[3, 4]]),
    ]
    trainer.send(1, groups, frames)
    a, b = trainer.get("/series")["series"]
    assert (a["points"], a["first_step"], a["last_step"], a["last"]) == (3, 5, 6, 3.0)
    assert (b["points"], b["first_step"], b["last_step"], b["last"], b["nonfinite"]) == (5, 3, 6, 4.0, 1)


def test_the_same_block_in_json_reads_the_same(trainer, wire):
    block = trainer.block(
        1,
        [
            {
                "frame": 1,
                "steps": [1, 2],
                "times": [1.0, 2.5],
                "values": [0.1, "NaN", "Infinity", "-Infinity"],
                "absent": [0],
            }
        ],
        [wire.frame(1, ["a", "b"], "f64")],
    )
    assert trainer.post_json(block).status_code == 200
    first, second = trainer.get("/data", key=["a", "b"])["series"]
    assert (first["steps"], first["values"]) == ([2], ["Infinity"])
    assert (second["steps"], second["values"]) == ([1, 2], ["NaN", "-Infinity"])


def test_float64_stays_float64(trainer, wire):
    group = wire.rows(1, [1], [[0.1]], dtype="f64")
    trainer.send(1, [group], [wire.frame(1, ["loss"], "f64")])
    assert trainer.get("/data", key="loss")["series"][0]["values"] == [0.1]


def test_gzip_is_understood(trainer, wire):
    body = gzip.compress(msgpack.packb(trainer.block(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])))
    answer = trainer.post_bytes(body, wire.MSGPACK, **{"Content-Encoding": "gzip"})
    assert answer.json()["ack"] == 1


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_a_block_whose_checksum_differs_is_not_stored_and_may_come_again(trainer, wire, encoding):
    def post(plain: bytes, checksum: str):
        body = gzip.compress(plain) if encoding else plain
        headers = {"Content-Encoding": encoding} if encoding else {}
        return trainer.post_bytes(body, wire.MSGPACK, **headers, **{"Foreshock-CRC32": checksum})

    block = trainer.block(1, [wire.rows(1, [1], [[0.5]], dtype="f64")], [wire.frame(1, ["a"], "f64")])
    sent = msgpack.packb(block)
    at = sent.index(np.float64(0.5).tobytes()) + 7
    arrived = sent[:at] + bytes([sent[at] ^ 1]) + sent[at + 1 :]  # still a number
    checksum = f"{zlib.crc32(sent):08X}"
    for wrong in (checksum, "nonsense", "0"):
        answer = post(arrived, wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, "DamagedBlock")
    assert trainer.get("/series")["series"] == []
    assert post(sent, checksum).json()["ack"] == 1
    assert trainer.get("/data", key="a")["series"][0]["values"] == [0.5]


def test_a_block_sent_twice_is_stored_once_and_acknowledged_twice(trainer, wire):
    block = trainer.block(1, [wire.rows(1, [1, 2], [[1], [2]])], [wire.frame(1, ["a"])], dropped=3)
    first, second = trainer.post(block), trainer.post(block)
    told = {"ack": 1, "actions": [], "alerts": [], "retry_after": None}
    assert first.json() == second.json() == told
    run = trainer.get()
    assert (run["points"], run["dropped"]) == (2, 3)
    assert trainer.get("/series")["series"][0]["points"] == 2


def test_a_repeated_block_is_no_news_to_a_viewer(trainer, wire):
    block = trainer.block(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    trainer.post(block)
    before = trainer.get()["revision"]
    trainer.post(block)
    assert trainer.get()["revision"] == before


def test_the_acknowledgement_waits_for_the_gap(trainer, wire):
    frames = [wire.frame(1, ["a"])]
    assert trainer.send(2, [wire.rows(1, [2], [[2]])], frames) == 0
    assert trainer.send(4, [wire.rows(1, [4], [[4]])]) == 0
    assert trainer.send(1, [wire.rows(1, [1], [[1]])]) == 2
    assert trainer.send(3, [wire.rows(1, [3], [[3]])]) == 4
    assert trainer.get("/data", key="a")["series"][0]["values"] == [1, 2, 3, 4]


def test_the_floor_closes_a_gap_for_good(trainer, wire):
    assert trainer.send(5, [wire.rows(1, [5], [[5]])], [wire.frame(1, ["a"])]) == 0
    answer = trainer.post(trainer.block(6, [wire.rows(1, [6], [[6]])]), floor=5)
    assert answer.json()["ack"] == 6
    # what lies below was given up by its writer and counted lost there: a late copy must not count again
    late = trainer.post(trainer.block(3, [wire.rows(1, [3], [[3]])]))
    assert (late.status_code, late.json()["ack"]) == (200, 6)
    assert trainer.get("/data", key="a")["series"][0]["steps"] == [5, 6]


def test_the_floor_never_sinks(trainer, wire):
    frames = [wire.frame(1, ["a"])]
    trainer.post(trainer.block(9, [wire.rows(1, [9], [[9]])], frames), floor=9)
    assert trainer.post(trainer.block(10, []), floor=1).json()["ack"] == 10


def test_two_writers_count_apart(client, trainer, wire):
    other = wire.Trainer(client, writer="r1-bbbb")
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    assert other.send(2, [wire.rows(7, [1], [[1]])], [wire.frame(7, ["b"])]) == 0
    assert trainer.send(2) == 2


def test_a_row_of_an_unknown_frame_is_409_and_leaves_nothing(trainer, wire):
    block = trainer.block(1, [wire.rows(2, [1], [[1]])], [wire.frame(1, ["a"])])
    answer = trainer.post(block)
    assert (answer.status_code, answer.json()["error"]) == (409, "UnknownFrame")
    assert trainer.get("/series")["series"] == []
    assert trainer.get()["points"] == 0


def test_an_unknown_run_is_404(client, wire):
    answer = wire.Trainer(client, run="nobody").post({"v": 1, "attempt": 1, "writer": "w", "seq": 1})
    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownRun")
    assert answer.json()["detail"].startswith("No run has this id")


def test_a_frame_sent_again_changes_nothing_and_another_one_under_its_number_is_refused(trainer, wire):
    frame = wire.frame(1, ["a", "b"])
    trainer.send(1, [wire.rows(1, [1], [[1, 1]])], [frame])
    trainer.send(2, [wire.rows(1, [2], [[2, 2]])], [frame])
    answer = trainer.post(trainer.block(3, [], [wire.frame(1, ["b", "a"])]))
    assert (answer.status_code, answer.json()["field"]) == (422, "frames")
    assert len(trainer.get("/series")["series"]) == 2


def test_a_series_is_shared_by_frames_writers_and_attempts(client, trainer, wire):
    trainer.send(1, [wire.rows(1, [1], [[1, 10]])], [wire.frame(1, ["a", "b"])])
    trainer.send(2, [wire.rows(2, [2], [[2]])], [wire.frame(2, ["a"])])
    resumed = wire.Trainer(client, attempt=2, writer="r0-bbbb")
    resumed.open()
    resumed.send(1, [wire.rows(1, [1], [[7]])], [wire.frame(1, ["a"])])
    data = trainer.get("/data", key="a", superseded=True)["series"][0]
    assert (data["steps"], data["values"]) == ([1, 2, 1], [1, 2, 7])
    assert data["attempts"] == [{"attempt": 1, "from": 0}, {"attempt": 2, "from": 2}]


def test_the_last_reading_is_of_the_latest_attempt_whatever_its_step(client, trainer, wire):
    frame = [wire.frame(1, ["a"])]
    trainer.send(2, [wire.rows(1, [500, 520], [[5], [6]])], frame)
    trainer.send(1, [wire.rows(1, [400], [[4]])], frame)  # late: older than what is known
    assert trainer.get()["last_step"] == 520
    resumed = wire.Trainer(client, attempt=2, writer="r0-bbbb")
    resumed.open()
    resumed.send(1, [wire.rows(1, [450], [[math.nan]])], frame)
    one = trainer.get("/series")["series"][0]
    assert (one["first_step"], one["last_step"], one["last"]) == (400, 450, "NaN")
    assert trainer.get()["last_step"] == 450


def test_opening_again_adds_only_what_was_unknown(trainer):
    before = trainer.get()
    assert trainer.open().json()["url"] == "http://testserver/runs/run-1"
    assert trainer.get()["revision"] == before["revision"]
    trainer.open(config={"lr": 3, "clip": 0.2}, info={"host": "other", "python": "3.11"})
    after = trainer.get()
    assert after["config"] == {"lr": 1e-5, "clip": 0.2}
    assert after["attempts"][0]["info"] == {"host": "n17", "python": "3.11"}


def test_numbers_that_are_not_finite_in_a_config_are_kept_as_words(trainer):
    body = (
        '{"project": "p", "config": {"a": NaN, "b": [-Infinity, {"c": 1e999}]}, "started_at": 1,'
        ' "attempt": 1, "writer": "w"}'
    )
    answer = trainer.client.put(
        "/api/v1/runs/odd", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    run = trainer.client.get("/api/v1/runs/odd").json()
    assert run["config"] == {"a": "NaN", "b": ["-Infinity", {"c": "Infinity"}]}


def test_an_attempt_closes_once_and_the_next_one_opens_the_run_again(client, trainer, wire):
    def finish(attempt: int, state: str) -> str:
        body = {"state": state, "at": 1.8e9, "last_seq": {"r0-aaaa": 17}}
        answer = client.post(f"/api/v1/runs/run-1/attempts/{attempt}/finish", json=body)
        assert answer.status_code == 200
        return answer.json()["state"]

    assert finish(1, "finished") == "finished"
    before = trainer.get()
    assert finish(1, "finished") == "finished"
    assert trainer.get() == before
    assert before["attempts"][0]["writers"][0]["final"] == 17
    assert finish(1, "failed") == "failed"  # another process of the attempt failed
    assert finish(1, "finished") == "failed"
    wire.Trainer(client, attempt=2).open()
    assert trainer.get()["state"] == "running"
    assert finish(1, "failed") == "running"  # the old attempt no longer speaks for the run
    assert [one["state"] for one in trainer.get()["attempts"]] == ["failed", "running"]


def test_late_blocks_of_a_finished_run_are_stored_and_leave_it_finished(client, trainer, wire):
    client.post(
        "/api/v1/runs/run-1/attempts/1/finish", json={"state": "finished", "at": 1.8e9, "last_seq": {}}
    )
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    run = trainer.get()
    assert (run["state"], run["points"]) == ("finished", 1)


def test_losses_and_costs_are_cumulative_in_any_order(trainer):
    cost = {"steps": 100, "wall_seconds": 50.0, "training_seconds": 0.5, "background_seconds": 1.0}
    trainer.send(2, dropped=7, lost={"spool full": 7}, cost=cost)
    trainer.send(
        1, dropped=4, lost={"spool full": 4}, cost={**cost, "wall_seconds": 25.0, "training_seconds": 0.2}
    )
    run = trainer.get()
    assert (run["dropped"], run["lost"], run["overhead_percent"]) == (7, {"spool full": 7}, 1.0)


def test_concurrent_posts_of_the_same_blocks_store_each_once(client, trainer, wire):
    bodies = [
        trainer.block(seq, [wire.rows(1, [seq], [[seq, -seq]])], [wire.frame(1, ["a", "b"])])
        for seq in range(1, 13)
    ]
    failures = []

    def post(order: np.random.Generator) -> None:
        for i in order.permutation(len(bodies)):
            answer = trainer.post(bodies[i])
            if answer.status_code != 200:
                failures.append(answer.text)

    threads = [threading.Thread(target=post, args=(np.random.default_rng(seed),)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    run = trainer.get()
    assert run["points"] == 24
    assert trainer.send(1) == 12
    assert trainer.get("/data", key="a")["series"][0]["values"] == list(range(1, 13))
    with client.app.state.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) == 12
        # one change each, beside the opening
        assert session.scalar(select(Run.revision)) == 13


def test_concurrent_writers_name_the_same_series_once(client, trainer, wire):
    names = [f"s{i}" for i in range(40)]
    failures = []

    def run(rank: int) -> None:
        one = wire.Trainer(client, writer=f"r{rank}-x")
        opened = one.open()
        order = np.random.default_rng(rank).permutation(names).tolist()
        answer = one.post(one.block(1, [wire.rows(1, [rank], [[rank] * 40])], [wire.frame(1, order)]))
        failures.extend(one.text for one in (opened, answer) if one.status_code != 200)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    listed = trainer.get("/series")["series"]
    assert sorted(one["key"] for one in listed) == sorted(names)
    assert {one["points"] for one in listed} == {6}


def test_what_a_hint_promises_is_already_stored(client, trainer, wire):
    seen = []
    database = client.app.state.database

    def look(run_id: str) -> None:
        with database.reading() as session:
            seen.append((run_id, session.scalar(select(Writer.acked_seq).where(Writer.run_id == run_id))))

    end = client.app.state.bus.subscribe(look)
    trainer.send(1, [wire.rows(1, [1], [[1]])], [wire.frame(1, ["a"])])
    end()
    assert seen == [("run-1", 1)]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("attempt", {"attempt": 0}),
        ("writer", {"writer": ""}),
        ("project", {"project": "x" * 201}),
        ("name", {"name": "a\x00b"}),
        ("started_at", {"started_at": "NaN"}),
        ("config", {"config": [1]}),
    ],
)
def test_a_bad_opening_names_its_field(trainer, name, body):
    answer = trainer.open(**body)
    assert answer.status_code == 422
    assert (answer.json()["error"], answer.json()["field"]) == ("Invalid", name)


@pytest.mark.parametrize("run", ["a" * 65, "a b", "..", "ü", "a%2Fb"])
def test_a_run_id_is_plain(client, wire, run):
    assert wire.Trainer(client, run=run).open().status_code in (404, 405, 422)
