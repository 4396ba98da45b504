"""Duplicate, reordered, cut, damaged and foreign blocks over HTTP: each good one is stored once, nothing of the rest is a failure of ours."""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import msgpack
import numpy as np
import pytest
from tests.crash import wire
from tests.crash.conftest import Embedded
from tests.crash.logged import SERIES, value
from tests.crash.place import ROUNDS, Trainer
from tests.topology.processes import eventually

import foreshock
from foreshock.record import wire as contract
from foreshock.spool.folder import folders_below

pytestmark = pytest.mark.slow

BLOCKS, STEPS = 12, 10
DAMAGES = 60  # damaged copies of blocks per round


@pytest.fixture(scope="module")
def blocks() -> list[bytes]:
    return wire.recorded(BLOCKS, STEPS)


def exactly_once(place: Embedded, run_id: str) -> None:
    """Every step that was recorded, once, with its value."""
    run = place.client.run(run_id)
    for series in SERIES:
        stored = run.series(series)
        assert stored.steps.tolist() == list(range(BLOCKS * STEPS))
        np.testing.assert_array_equal(stored.values, [value(series, step) for step in stored.steps])


@pytest.mark.parametrize("seed", ROUNDS)
def test_repeated_and_reordered_blocks_are_stored_once(
    embedded: Embedded, blocks: list[bytes], seed: int
) -> None:
    line = wire.Line(embedded.url, f"reordered-{seed}")
    line.open("r0-a")
    for body in wire.shuffled(random.Random(seed), blocks):
        status, said = line.post(body)
        # a block that comes before the one that describes its frames is asked for again
        assert status == 200 or said["error"] == "UnknownFrame", said
    acks = [line.post(body)[1]["ack"] for body in blocks]
    assert acks[-1] == len(blocks)
    exactly_once(embedded, line.run_id)


@pytest.mark.parametrize("seed", ROUNDS)
def test_damaged_blocks_are_stored_or_refused_and_harm_nobody(
    embedded: Embedded, blocks: list[bytes], seed: int
) -> None:
    rng = random.Random(seed)
    damaged, whole = (wire.Line(embedded.url, f"{name}-{seed}") for name in ("damaged", "whole"))
    for line in (damaged, whole):
        line.open("r0-a")
    waiting = list(blocks)
    statuses: Counter[int] = Counter()
    for number in range(DAMAGES):
        damage: wire.Damage = rng.choice([wire.flipped, wire.flipped, wire.truncated, wire.spliced])
        body = damage(rng, rng.choice(blocks))
        status, said = damaged.post(body)
        statuses[status] += 1
        assert status == 200 or (status in (409, 413, 422) and said["detail"]), (status, said)
        if number % 5 == 0:
            damaged.cut(body, rng.randrange(len(body) + 1))
            damaged.post(blocks[0][: rng.randrange(100)], **{"Content-Encoding": "gzip"})
        if waiting and number % 4 == 0:
            assert whole.post(waiting.pop(0))[0] == 200
    for body in waiting:
        assert whole.post(body)[0] == 200
    assert statuses[422] > 0
    exactly_once(embedded, whole.run_id)
    run = embedded.client.run(damaged.run_id)
    listed = run.series_list()
    for path in (
        "",
        "/series",
        "/alerts",
        "/verdict",
        "/figures",
        *(f"/data?key={quote(one['key'], safe='')}" for one in listed),
    ):
        assert damaged.get(path) == 200, path
    for one in run.figures():
        assert damaged.get(f"/figures/{one['name']}") == 200, one["name"]


@pytest.mark.parametrize("seed", ROUNDS)
def test_of_blocks_with_a_checksum_no_damaged_one_is_stored(
    embedded: Embedded, blocks: list[bytes], seed: int
) -> None:
    rng = random.Random(seed)
    line = wire.Line(embedded.url, f"checked-{seed}")
    line.open("r0-a")
    for body in blocks:
        checksum = {"Foreshock-CRC32": f"{zlib.crc32(body):08x}"}
        for _ in range(DAMAGES // BLOCKS):
            damaged = rng.choice([wire.flipped, wire.truncated, wire.spliced])(rng, body)
            if damaged != body:
                status, said = line.post(damaged, **checksum)
                assert (status, said["error"]) == (400, "DamagedBlock")
        assert line.post(body, **checksum)[0] == 200
    exactly_once(embedded, line.run_id)


@pytest.fixture(scope="module", autouse=True)
def nothing_of_it_is_our_fault(embedded: Embedded) -> object:
    """No stage stumbles over what was stored of damaged blocks, and none is left behind by it."""
    yield
    trainer = embedded.trainer("afterwards")
    trainer.end()
    embedded.settled("afterwards")
    log = embedded.server.log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]


@pytest.mark.parametrize("seed", ROUNDS)
def test_of_two_writers_with_one_name_each_block_is_one_s(embedded: Embedded, seed: int) -> None:
    """Cloned processes send other numbers under the same numbers: whoever is first is stored, whole, and nothing twice."""
    line = wire.Line(embedded.url, f"cloned-{seed}")
    line.open("r0-a")

    def send(writer: int) -> None:
        mine = wire.Line(embedded.url, line.run_id)
        for seq in range(1, 41):
            assert mine.post(msgpack.packb(cloned(seq, writer)))[0] == 200

    both = [threading.Thread(target=send, args=(writer,)) for writer in (1, 2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    stored = embedded.client.run(line.run_id).series("x")
    assert stored.steps.tolist() == list(range(80))
    pairs = stored.values.reshape(40, 2)
    assert set(pairs[:, 0]) <= {1.0, 2.0}
    assert (pairs[:, 0] == pairs[:, 1]).all(), "a block was stored in part"
    assert embedded.client.run(line.run_id).fields["points"] == 80


def cloned(seq: int, writer: int) -> dict[str, object]:
    """Two steps of one series, which say who sent them."""
    series = {"key": "x", "statistic": "x", "family": "training", "place": "", "labels": {}, "unit": ""}
    rows = {
        "frame": 1,
        "steps": np.array([2 * seq - 2, 2 * seq - 1], "<i8").tobytes(),
        "times": np.array([0.0, 1.0], "<f8").tobytes(),
        "values": np.array([writer, writer], "<f8").tobytes(),
    }
    frames = [{"frame": 1, "series": [{**series, "dtype": "f64"}]}]
    return {
        "v": 1,
        "attempt": 1,
        "writer": "r0-a",
        "seq": seq,
        "frames": frames,
        "rows": [rows],
        "dropped": 0,
    }


def test_of_two_machines_that_resume_one_run_both_are_kept(embedded: Embedded, tmp_path: Path) -> None:
    """They cannot know of each other: both are attempt 1. Every step is there twice, once from each, and no more."""
    both = [Trainer(embedded.url, tmp_path / machine, "twins") for machine in ("a", "b")]
    for trainer in both:
        trainer.end()
    run = embedded.client.run("twins")
    stored = run.series("loss")
    steps = Counter(stored.steps.tolist())
    assert len(steps) == max(steps) + 1
    assert set(steps.values()) == {2}
    np.testing.assert_array_equal(stored.values, [value("loss", step) for step in stored.steps])
    assert run.state == "finished"


def test_an_older_client_that_says_less_is_understood(embedded: Embedded, blocks: list[bytes]) -> None:
    """The first clients knew neither losses by reason nor costs."""
    line = wire.Line(embedded.url, "older")
    line.open("r0-a")
    for body in blocks:
        block = msgpack.unpackb(body)
        told = {name: block[name] for name in ("v", "attempt", "writer", "seq", "frames", "rows", "dropped")}
        for frame in told["frames"]:
            for one in frame["series"]:
                one.pop("about", None)
        assert line.post(msgpack.packb(told))[0] == 200
    exactly_once(embedded, "older")


def test_a_newer_client_that_says_more_is_understood(embedded: Embedded, blocks: list[bytes]) -> None:
    """What this server does not know within version 1 does not keep it from the rest."""
    line = wire.Line(embedded.url, "newer")
    line.open("r0-a")
    for body in blocks:
        block = {**msgpack.unpackb(body), "weather": {"outside": "rain"}}
        for frame in block["frames"]:
            for one in frame["series"]:
                one["colour"] = "blue"
        assert line.post(msgpack.packb(block))[0] == 200
    exactly_once(embedded, "newer")


def test_another_version_is_refused_and_the_client_keeps_it(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training ends well, the user is told, and the blocks wait beside the spool for a server that reads them."""
    monkeypatch.setattr(contract, "VERSION", 2)
    run = foreshock.init(
        project="crash", run="version-2", url=embedded.url, dir=tmp_path, flush_seconds=30.0, attempt=1
    )
    for step in range(30):
        run.log(loss=float(step))
        run.step()
    run.finish()
    eventually(lambda: embedded.client.run("version-2").state == "finished")
    assert len(embedded.client.run("version-2").series_list()) == 0
    kept = [path for folder in folders_below(tmp_path) for path in folder.refused()]
    bodies = [contract.unpack_block(path.read_bytes()) for path in kept]
    assert kept
    assert {body["v"] for body in bodies} == {2}
    assert "version 1" in kept[0].with_suffix(".json").read_text()
