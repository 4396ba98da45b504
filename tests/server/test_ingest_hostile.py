"""Whatever is posted, the answer names what is wrong, nothing is stored, and memory and time stay bounded."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from foreshock_server.errors import BlockTooLarge, DomainError, MalformedBlock
from foreshock_server.ingest import decode, schema
from foreshock_server.models import Block, Frame, Series

JSON = "application/json"


@pytest.fixture
def database_url(tmp_path) -> str:
    """What is refused never reaches the database: one engine is enough here."""
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


def good(wire, trainer) -> dict[str, Any]:
    return trainer.block(
        1, [wire.rows(1, [1, 2], [[1, 2], [3, 4]])], [wire.frame(1, ["a", "b"])], lost={}, cost={"steps": 1}
    )


def changed(block: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The block with one entry replaced, or removed where the value is `...`."""
    block = msgpack.unpackb(msgpack.packb(block))
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = block
    for part in way:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return block


i64, f64 = (lambda *v: np.array(v, "<i8").tobytes()), (lambda *v: np.array(v, "<f8").tobytes())


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        ("v", 2, "v", "version 1"),
        ("v", "1", "v", "write an integer"),
        ("v", ..., "v", "missing"),
        ("attempt", 0, "attempt", "between 1"),
        ("attempt", True, "attempt", "write an integer"),
        ("writer", "", "writer", "r0-5f3c2a"),
        ("writer", "x" * 65, "writer", "64 is the most"),
        ("writer", "a\x00", "writer", "control character"),
        ("seq", 0, "seq", "between 1"),
        ("seq", 2**60, "seq", "between 1"),
        ("seq", 1.0, "seq", "write an integer"),
        ("dropped", -1, "dropped", "between 0"),
        ("lost", {"full": "many"}, "lost.full", "write an integer"),
        ("cost", {"steps": float("nan")}, "cost.steps", "finite"),
        ("cost", {"steps": -1.0}, "cost.steps", "not negative"),
        ("frames", {}, "frames", "write a list"),
        ("frames.0.frame", 0, "frames[0].frame", "between 1"),
        ("frames.0.series", [], "frames[0].series", "at least one"),
        (
            "frames.0.series.1",
            {"key": "a", "statistic": "a", "family": "f", "dtype": "f32"},
            "frames[0].series",
            "names a key twice",
        ),
        ("frames.0.series.1.key", "", "frames[0].series[1].key", "is empty"),
        ("frames.0.series.1.key", "k" * 1001, "frames[0].series[1].key", "1000 is the most"),
        ("frames.0.series.1.dtype", "f16", "frames[0].series[1].dtype", '"f32" or "f64"'),
        ("frames.0.series.1.dtype", {}, "frames[0].series[1].dtype", '"f32" or "f64"'),
        ("frames.0.series.1.dtype", "f64", "frames[0].series", "two frames"),
        ("frames.0.series.1.key", "b{head=1}", "frames[0].series[1].key", "make it 'b'"),
        ("frames.0.series.1.place", "h.0", "frames[0].series[1].place", "write the same"),
        ("frames.0.series.1.statistic", ..., "frames[0].series[1].statistic", "missing"),
        (
            "frames.0.series.1.labels",
            {"head": "h" * 201},
            "frames[0].series[1].labels.head",
            "200 is the most",
        ),
        ("frames.0.series.1.labels", {"head": 3}, "frames[0].series[1].labels.head", "write a string"),
        ("frames.0.series.1.labels", [], "frames[0].series[1].labels", "write an object"),
        ("frames.0.series.1.about", {"low": "low"}, "frames[0].series[1].about.low", "write a number"),
        ("rows.0", 7, "rows[0]", "write an object"),
        ("rows.0.frame", ..., "rows[0].frame", "missing"),
        ("rows.0.steps", [1, 2], "rows[0].steps", "little-endian bytes"),
        ("rows.0.steps", b"123", "rows[0].steps", "eight each"),
        ("rows.0.steps", b"", "rows[0].steps", "leave the row group out"),
        ("rows.0.steps", i64(2, 1), "rows[0].steps", "goes back"),
        ("rows.0.steps", i64(1, 2, 3), "rows[0].times", "as many"),
        ("rows.0.times", f64(1, float("nan")), "rows[0].times", "not finite"),
        ("rows.0.times", f64(1, 1.79e12), "rows[0].times", "milliseconds"),
        ("rows.0.values", b"12345678", "rows[0].values", "are 16 bytes"),
        ("rows.0.values", [1, 2, 3, 4], "rows[0].values", "little-endian bytes"),
        ("rows.0.absent", b"12", "rows[0].absent", "bitmap over 4"),
        ("rows.0.absent", [0], "rows[0].absent", "bitmap as bytes"),
    ],
)
def test_a_malformed_block_is_refused_with_its_field_and_what_to_write(
    client, trainer, wire, path, value, field, says
):
    answer = trainer.post(changed(good(wire, trainer), path, value))
    body = answer.json()
    assert (answer.status_code, body["error"], body["field"]) == (422, "MalformedBlock", field)
    assert says in body["detail"]
    with client.app.state.database.reading() as session:
        assert [
            session.scalar(select(func.count()).select_from(table)) for table in (Block, Frame, Series)
        ] == [
            0,
            0,
            0,
        ]


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        ("rows.0.values", [1, 2, 3], "rows[0].values", "are 4"),
        ("rows.0.values", [1, 2, 3, "nan"], "rows[0].values[3]", '"NaN"'),
        ("rows.0.values", [1, 2, 3, None], "rows[0].values[3]", "is null"),
        ("rows.0.values", [1, 2, 3, 10**400], "rows[0].values[3]", "too large"),
        ("rows.0.steps", [1, 2.5], "rows[0].steps[1]", "write an integer"),
        ("rows.0.steps", [1, 2**70], "rows[0].steps[1]", "between"),
        ("rows.0.absent", [4], "rows[0].absent[0]", "between 0 and 3"),
        ("rows.0.absent", [-1], "rows[0].absent[0]", "between 0 and 3"),
    ],
)
def test_a_malformed_block_in_json_too(trainer, wire, path, value, field, says):
    block = good(wire, trainer)
    block["rows"] = [{"frame": 1, "steps": [1, 2], "times": [1, 2], "values": [1, 2, 3, 4]}]
    assert trainer.post_json(block).status_code == 200
    answer = trainer.post_json(
        {**changed({**block, "seq": 2}, path, value)} if not _huge(value) else _put(block, path, value)
    )
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert says in answer.json()["detail"]


def _huge(value: Any) -> bool:
    return any(isinstance(one, int) and one > 2**63 for one in value)


def _put(block: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    block = json.loads(json.dumps({**block, "seq": 2}))
    block["rows"][0][path.rpartition(".")[2]] = value  # msgpack cannot carry integers of this size
    return block


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x90"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not one msgpack object"),
        (b"\xc1", "not one msgpack object"),
        (b"\x01\x02", "not one msgpack object"),  # something follows
        (b"\xdf\xff\xff\xff\xff", "not one msgpack object"),  # a map of four billion entries, it says
        (b"\xdd\xff\xff\xff\xff", "not one msgpack object"),
        (b"\xc6\xff\xff\xff\xff", "not one msgpack object"),
        (b"\xa2\xff\xfe", "not UTF-8"),
        (b"\xc7\x01\x05x", "extension (type 5)"),
        (b"\x81\x01\x02", "not one msgpack object"),  # a key that is no string
        (nested(100_000), "not one msgpack object"),
        (b"\xdd\x00\x03\x0d\x40" + b"\x80" * 200_000, "not one msgpack object"),
        (b"\xdc\x00\x03" + (b"\xdc\xc3\x50" + b"\x80" * 50_000) * 3, "maps and lists at most"),
        (b"\x93\x01\x02\x03", "write an object"),
        (b"\xd6\xff\x00\x00\x00\x00", "The block is a number"),  # a timestamp
    ],
)
def test_hostile_msgpack_is_refused_in_a_sentence(trainer, wire, body, says):
    answer = trainer.post_bytes(body, wire.MSGPACK)
    assert (answer.status_code, answer.json()["error"]) == (422, "MalformedBlock")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"[1", "not JSON"),
        (b'{"v": NaN}', 'write it as a string: "NaN"'),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"v": 1' + b"0" * 10_000 + b"}", "not JSON"),
        (json.dumps({"v": 1, "attempt": 1, "seq": 1, "writer": "\ud800"}).encode(), "surrogate"),
    ],
)
def test_hostile_json_is_refused_in_a_sentence(trainer, body, says):
    answer = trainer.post_bytes(body, JSON)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_decompression_bomb_is_refused_without_being_unpacked(trainer, wire):
    squeeze = zlib.compressobj(9, wbits=31)
    bomb = b"".join([squeeze.compress(bytes(2**20)) for _ in range(1024)] + [squeeze.flush()])
    assert len(bomb) < 2**21
    tracemalloc.start()
    with pytest.raises(BlockTooLarge):
        decode.decompress(bomb, "gzip", 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20
    answer = trainer.post_bytes(bomb, wire.MSGPACK, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["error"]) == (413, "BlockTooLarge")


@pytest.mark.parametrize(
    "body", [b"plain", gzip.compress(b"x", mtime=0)[:-3], gzip.compress(b"x", mtime=0) + b"more"]
)
def test_broken_gzip_is_malformed(trainer, wire, body):
    answer = trainer.post_bytes(body, wire.MSGPACK, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Content-Encoding")


def test_an_unknown_encoding_or_type_is_malformed(trainer, wire):
    body = msgpack.packb(trainer.block(1))
    assert (
        trainer.post_bytes(body, wire.MSGPACK, **{"Content-Encoding": "br"}).json()["field"]
        == "Content-Encoding"
    )
    assert trainer.post_bytes(body, "text/plain").json()["field"] == "Content-Type"


def test_a_body_beyond_the_limit_is_refused_whether_it_says_its_length_or_not(client, wire):
    limit = client.app.state.settings.max_block_bytes
    url = "/api/v1/runs/run-1/blocks"
    said = client.post(url, content=bytes(limit + 1), headers={"Content-Type": wire.MSGPACK})
    pieces = (bytes(2**20) for _ in range(limit // 2**20 + 2))
    unsaid = client.post(url, content=pieces, headers={"Content-Type": wire.MSGPACK})
    opening = client.put("/api/v1/runs/run-1", content=(bytes(2**20) for _ in range(limit // 2**20 + 2)))
    for answer in (said, unsaid, opening):
        assert (answer.status_code, answer.json()["error"]) == (413, "BlockTooLarge")


def test_a_run_may_not_have_series_without_end(trainer, wire, monkeypatch):
    monkeypatch.setattr("foreshock_server.store.series.MOST_SERIES", 3)
    trainer.send(1, [], [wire.frame(1, ["a", "b"])])
    answer = trainer.post(trainer.block(2, [], [wire.frame(2, ["c", "d"])]))
    assert (answer.status_code, answer.json()["field"]) == (422, "frames")
    assert len(trainer.get("/series")["series"]) == 2


def test_a_frame_may_not_have_series_without_end(trainer, wire):
    answer = trainer.post(trainer.block(1, [], [wire.frame(1, [f"s{i}" for i in range(4097)])]))
    assert (answer.status_code, answer.json()["field"]) == (422, "frames[0].series")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=24),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    [
        "v",
        "attempt",
        "writer",
        "seq",
        "frames",
        "rows",
        "dropped",
        "lost",
        "cost",
        "frame",
        "series",
        "steps",
        "times",
        "values",
        "absent",
    ]
)
likely = st.dictionaries(
    names, plain | st.just(1) | st.lists(st.dictionaries(names, plain | st.just(1))), max_size=9
)


def refusal(function: Callable[[], object]) -> DomainError | None:
    """How the server refuses it; None when it takes it. Any other exception is a fault."""
    try:
        function()
    except DomainError as error:
        return error
    return None


def read(data: object, *, binary: bool, series: int) -> None:
    for rows in schema.block(data, binary=binary).rows:
        rows.group(series, "f32")


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.one_of(plain, likely.map(lambda body: {"v": 1, "attempt": 1, "writer": "w", "seq": 1, **body})),
    st.booleans(),
)
def test_whatever_is_parsed_is_a_block_or_malformed(data, binary):
    error = refusal(lambda: read(data, binary=binary, series=2))
    assert error is None or (isinstance(error, MalformedBlock) and str(error) and "field" in error.extra)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([decode.MSGPACK, decode.JSON]), st.sampled_from(["", "gzip"]))
def test_whatever_bytes_come_in_the_answer_is_a_sentence(body, media_type, encoding):
    error = refusal(lambda: decode.parse(decode.decompress(body, encoding, 1000), media_type, 1000))
    assert error is None or str(error)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=3))
def test_a_good_block_with_some_bytes_overwritten_is_a_block_or_malformed(seed, garbage):
    rows = {
        "frame": 1,
        "steps": struct.pack("<q", 1),
        "times": struct.pack("<d", 1),
        "values": struct.pack("<f", 1),
    }
    body = bytearray(
        msgpack.packb({"v": 1, "attempt": 1, "writer": "w", "seq": 1, "rows": [rows], "dropped": 0})
    )
    at = seed % len(body)
    body[at : at + len(garbage)] = garbage
    error = refusal(lambda: read(decode.parse(bytes(body), decode.MSGPACK, 1000), binary=True, series=1))
    assert error is None or (isinstance(error, MalformedBlock) and "field" in error.extra)
