"""Bodies of every encoding and version, and what happens when there are more of them than may be held."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard

from foreshock_server.db import Database
from foreshock_server.errors import BlockTooLarge, MalformedBlock, Overloaded, TooFast
from foreshock_server.ingest import decode
from foreshock_server.ingest.budget import LEAST, Budget

LIMIT = 2**20


def zstd(body: bytes, *, size: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=size).compress(body)


@pytest.mark.parametrize("size", [True, False])
def test_zstd_is_understood(trainer, wire, size):
    block = trainer.block(1, [wire.rows(1, range(100), [[1.5]] * 100)], [wire.frame(1, ["a"])])
    answer = trainer.post_bytes(
        zstd(msgpack.packb(block), size=size), wire.MSGPACK, **{"Content-Encoding": "zstd"}
    )
    assert answer.json()["ack"] == 1
    assert trainer.get()["points"] == 100


@pytest.mark.parametrize("size", [True, False])
def test_a_zstd_bomb_is_refused_in_bounded_memory(size):
    bomb = zstd(bytes(2**28), size=size)
    assert len(bomb) < 2**15
    with pytest.raises(BlockTooLarge):
        decode.decompress(bomb, "zstd", LIMIT)
    assert decode.decompress(zstd(bytes(LIMIT), size=size), "zstd", LIMIT) == bytes(LIMIT)


def test_a_zstd_frame_that_lies_about_its_size_is_refused_in_bounded_memory():
    bomb = bytearray(zstd(bytes(2**28)))
    assert zstandard.get_frame_parameters(bytes(bomb)).content_size == 2**28
    bomb[6:10] = (1000).to_bytes(4, "little")
    assert zstandard.get_frame_parameters(bytes(bomb)).content_size == 1000
    with pytest.raises((BlockTooLarge, MalformedBlock)):
        decode.decompress(bytes(bomb), "zstd", LIMIT)


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = compressor.compress(np.random.default_rng(0).bytes(2**16)) + compressor.flush()
    with pytest.raises(MalformedBlock):
        decode.decompress(body, "zstd", LIMIT)


@pytest.mark.parametrize(
    "spoil", [lambda b: b"", lambda b: b"plain", lambda b: b[:-3], lambda b: b + b"more", lambda b: b + b]
)
@pytest.mark.parametrize("size", [True, False])
def test_broken_zstd_is_malformed(spoil, size):
    with pytest.raises(MalformedBlock) as caught:
        decode.decompress(spoil(zstd(b"x" * 1000, size=size)), "zstd", LIMIT)
    assert caught.value.extra["field"] == "Content-Encoding"


@pytest.mark.parametrize("version", [0, 2, 17])
def test_another_version_is_refused_with_the_ones_that_are_understood(trainer, wire, version):
    answer = trainer.post({**trainer.block(1), "v": version})
    assert (answer.status_code, answer.json()["field"]) == (422, "v")
    assert f"is {version}; this server understands version 1" in answer.json()["detail"]


def test_fields_of_a_later_version_are_ignored(trainer, wire):
    described = wire.frame(1, ["a"])
    described["hue"] = 7
    described["series"][0]["colour"] = {"r": 1}
    group = {**wire.rows(1, [1], [[5]]), "quality": b"\x01"}
    assert trainer.send(1, [group], [described], mood="sunny", future=[1, {"x": None}]) == 1
    assert trainer.get("/data", key="a")["series"][0]["values"] == [5]


def test_a_list_of_blocks_is_stored_in_one_request(trainer, wire):
    blocks = [trainer.block(seq, [wire.rows(1, [seq], [[seq]])]) for seq in (1, 2, 3)]
    blocks[0]["frames"] = [wire.frame(1, ["a"])]
    for _ in range(2):
        answer = trainer.post_bytes(msgpack.packb(blocks), wire.MSGPACK)
        assert (answer.status_code, answer.json()["ack"]) == (200, 3)
    assert trainer.get()["points"] == 3
    listed = trainer.post_bytes(json.dumps([trainer.block(4), trainer.block(5)]).encode(), "application/json")
    assert listed.json()["ack"] == 5


def test_a_list_is_of_one_writer_and_bounded(trainer, wire):
    mixed = [trainer.block(1), {**trainer.block(2), "writer": "r1-else"}]
    for body, field in ((mixed, "writer"), ([], ""), ([trainer.block(1)] * 65, "")):
        answer = trainer.post_bytes(msgpack.packb(body), wire.MSGPACK)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_json_has_a_quarter_of_the_room(trainer, client):
    body = json.dumps(
        {**trainer.block(1), "note": "x" * (client.app.state.settings.max_block_bytes // 4)}
    ).encode()
    answer = trainer.post_bytes(body, "application/json")
    assert (answer.status_code, answer.json()["error"]) == (413, "BlockTooLarge")
    assert "msgpack" in answer.json()["detail"]


def test_the_budget_gives_one_run_its_share_and_all_of_them_no_more_than_there_is():
    budget = Budget(8 * LEAST)
    first, second = budget.open("a"), budget.open("a")
    first.grow(2 * LEAST)
    with pytest.raises(TooFast) as fast:
        second.grow(1)
    assert fast.value.retry_after
    others = [budget.open(name) for name in "bcd"]
    for one in others:
        one.grow(2 * LEAST)
    with pytest.raises(Overloaded) as full:
        budget.open("e").grow(1)
    assert full.value.retry_after
    assert budget.used == 8 * LEAST
    first.release()
    first.release()
    second.grow(1)
    assert (budget.used, second.size) == (7 * LEAST, LEAST)


def test_what_is_larger_than_its_share_is_admitted_when_it_is_alone():
    budget = Budget(8 * LEAST)
    large = budget.open("a")
    large.grow(100 * LEAST)
    with pytest.raises(Overloaded):
        budget.open("b").grow(1)
    large.release()
    budget.open("b").grow(1)


def slow_commits(client: Any, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Transactions that begin only when the event is set."""
    go_on = threading.Event()
    database: Database = client.app.state.database
    writing = database.writing

    def waits() -> Any:
        assert go_on.wait(60)
        return writing()

    monkeypatch.setattr(database, "writing", waits)
    return go_on


def test_a_run_that_is_too_fast_is_429_and_a_full_server_503(client, trainer, wire, monkeypatch):
    runs = [trainer, *(wire.Trainer(client, run=f"run-{i}") for i in range(2, 6))]
    for one in runs:
        one.open()
    go_on = slow_commits(client, monkeypatch)
    client.app.state.receiver.budget.most = 8 * LEAST
    answers: list[Any] = []

    def post(one: Any, seq: int) -> None:
        answers.append(one.post(one.block(seq, cost={"steps": 1})))

    threads = [threading.Thread(target=post, args=(one, seq)) for one in runs[:4] for seq in (1, 2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while client.app.state.receiver.budget.used < 8 * LEAST and time.monotonic() < until:
        time.sleep(0.01)
    fast, full = runs[0].post(runs[0].block(3)), runs[4].post(runs[4].block(1))
    assert (fast.status_code, fast.json()["error"]) == (429, "TooFast")
    assert (full.status_code, full.json()["error"]) == (503, "Overloaded")
    assert float(fast.headers["retry-after"]) > 0
    assert float(full.headers["retry-after"]) > 0
    go_on.set()
    for thread in threads:
        thread.join()
    assert [one.status_code for one in answers] == [200] * 8
    assert client.app.state.receiver.budget.used == 0
    assert runs[0].send(3) == 3


def test_a_database_that_hangs_is_503_and_holds_its_room_until_it_answers(client, trainer, monkeypatch):
    monkeypatch.setattr("foreshock_server.ingest.receiving.COMMIT_SECONDS", 0.2)
    go_on = slow_commits(client, monkeypatch)
    answer = trainer.post(trainer.block(1))
    assert (answer.status_code, answer.json()["error"]) == (503, "DatabaseAway")
    assert client.app.state.receiver.budget.used == LEAST
    go_on.set()
    until = time.monotonic() + 30
    while client.app.state.receiver.budget.used and time.monotonic() < until:
        time.sleep(0.01)
    monkeypatch.setattr("foreshock_server.ingest.receiving.COMMIT_SECONDS", 12.0)
    assert trainer.send(1) == 1


class Slow:
    """A request of which nothing but its head has come."""

    def __init__(self, length: int) -> None:
        self.headers = {"content-length": str(length), "content-type": decode.MSGPACK}

    async def stream(self) -> Any:
        await asyncio.sleep(60)
        yield b""


def test_a_body_that_does_not_come_leaves_its_room(client, monkeypatch):
    monkeypatch.setattr("foreshock_server.ingest.receiving.BODY_SECONDS", 0.1)
    receiver = client.app.state.receiver
    with pytest.raises(Overloaded):
        asyncio.run(receiver.receive(Slow(5 * 2**20), "run-1", 1))
    assert receiver.budget.used == 0


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_a_refused_body_leaves_its_room(client, trainer, wire, encoding):
    pack = {"": bytes, "gzip": gzip.compress, "zstd": zstd}[encoding]
    for body in (b"\xc1" * 5000, msgpack.packb({"v": 9})):
        answer = trainer.post_bytes(pack(body), wire.MSGPACK, **{"Content-Encoding": encoding})
        assert answer.status_code == 422
    assert client.app.state.receiver.budget.used == 0
