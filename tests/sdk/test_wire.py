"""The SDK writes the contract's golden files byte for byte; the server's tests read the same files.

FORESHOCK_TEST_WRITE_GOLDEN=1 writes them anew: a change of theirs is a change of the contract.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreshock.measure.layout import Layout, laid
from foreshock.record.wire import (
    FrameNumbers,
    Rows,
    pack_block,
    pack_frames,
    unpack_block,
    unpack_frames,
    with_all_frames,
    without_axes,
)
from foreshock.series import FrameSpec, SeriesSpec

CONTRACT = Path(__file__).parents[1] / "contract"

DEVICE = FrameSpec(
    (
        SeriesSpec(
            "policy_entropy",
            "policy entropy",
            "nat",
            low=0.0,
            title="policy entropy",
            source="a paper, eq. 1",
        ),
        SeriesSpec(
            "effective_rank", "representation", "", "model.layers.3", (("centered", "true"),), low=1.0
        ),
        SeriesSpec("nonfinite_count", "numerics", "", "model.layers.3", (("tensor", "gradient"),)),
    )
)
HOST = FrameSpec(
    (SeriesSpec("loss", "training", dtype="f64"), SeriesSpec("learning rate/η", "training", dtype="f64"))
)
VECTORS = FrameSpec(
    (
        *(
            SeriesSpec("expert_load", "experts", "", "moe.0", (("expert", str(e)),), along="expert")
            for e in range(3)
        ),
        SeriesSpec("expert_idle", "experts", "", "moe.0"),
        *(
            SeriesSpec("reward_histogram", "training", labels=(("bin", tick),), along="bin")
            for tick in ("low", "high")
        ),
    )
)
# What ranks say who share a layer: the second one's shard of its columns, and what each of them has whole.
SHARES = SeriesSpec(
    "zero_activation_share", "units", "", "mlp.0", low=0.0, high=1.0, merge="mean", weight="unit_samples"
)
LAYOUTS = FrameSpec(
    (
        *laid(
            [SHARES, SeriesSpec("effective_rank", "representation", "", "mlp.0", merge="mean")],
            Layout("columns", part=2, shard=1, shards=4, width=16),
        ),
        *laid([SeriesSpec("n_eff", "representation", "", "norm", merge="sum")], Layout("replicated", part=2)),
    )
)
LOST = {"recorder behind": 3, "spool full": 4}
COST = {"steps": 3.0, "wall_seconds": 0.75, "training_seconds": 0.0015, "background_seconds": 0.01}


def blocks() -> dict[str, dict[str, Any]]:
    """Name of the file -> the arguments of pack_block: what every kind of block looks like."""
    numbers = FrameNumbers()
    (device,), _ = numbers.of(DEVICE)
    (host,), _ = numbers.of(HOST)
    (vectors,), _ = numbers.of(VECTORS)
    (layouts,), _ = numbers.of(LAYOUTS)
    steps = np.array([10, 11, 11], np.int64)
    times = 1_792_000_000.0 + np.array([0.0, 0.25, 0.5])
    measured = np.array([[0.82, 12.5, 0], [math.nan, math.inf, 1], [0.31, 0.0, 2]], np.float32)
    rank_absent = np.array([[False, False, False], [False, False, True], [False, True, False]])
    logged = np.array([[0.1, 1e-5], [1e308, -math.inf], [math.nan, 5e-324]])
    loads = np.array(
        [[0.5, 0.25, 0.25, 0, 7, 9], [1, 0, 0, 2, math.nan, 1], [0.5, 0.5, 0, 1, math.inf, 0]], np.float32
    )
    load_absent = np.array([[False] * 6, [False] * 4 + [True] * 2, [True] * 3 + [False] * 3])
    parts = np.array([[0.25, 3.5, 96], [0.5, math.nan, 96], [0.75, 1, 0]], np.float32)
    later = {"attempt": 2, "writer": "r0-5f3c2a", "lost": LOST, "cost": COST}
    return {
        "block-1-first": {
            "attempt": 2,
            "writer": "r0-5f3c2a",
            "seq": 1,
            "frames": [device.on_wire(), host.on_wire()],
            "rows": [Rows(1, steps, times, measured), Rows(2, steps, times, logged)],
            "lost": {},
            "cost": {},
        },
        "block-2-known-frames-and-absences": {
            **later,
            "seq": 2,
            "frames": [],
            "rows": [
                Rows(2, steps + 2, times + 1, logged[::-1]),
                Rows(1, steps + 2, times + 1, measured, rank_absent),
            ],
        },
        "block-3-empty": {**later, "seq": 3, "frames": [], "rows": []},
        "block-4-vectors": {
            **later,
            "seq": 4,
            "frames": [vectors.on_wire()],
            "rows": [Rows(3, steps + 4, times + 2, loads, load_absent)],
        },
        "block-5-layouts": {
            **later,
            "seq": 5,
            "frames": [layouts.on_wire()],
            "rows": [Rows(4, steps + 6, times + 3, parts)],
        },
    }


def series_after_all_blocks() -> dict[str, dict[str, Any]]:
    """What a reader must find: key -> steps, times and values in order of arrival."""
    found: dict[str, dict[str, Any]] = {}
    specs = {1: DEVICE.series, 2: HOST.series, 4: LAYOUTS.series}
    for block in blocks().values():
        for rows in block["rows"]:
            of_vectors = [("expert_load{place=moe.0}", 0, 3), ("reward_histogram", 4, 6)]
            columns = (
                [*of_vectors, ("expert_idle{place=moe.0}", 3, None)]
                if rows.frame == 3
                else [(spec.key, position, None) for position, spec in enumerate(specs[rows.frame])]
            )
            for key, first, end in columns:
                column = found.setdefault(key, {"steps": [], "times": [], "values": []})
                for index in range(len(rows.steps)):
                    if rows.absent is None or not rows.absent[index, first]:
                        entries = [_text(float(one)) for one in rows.values[index, first : end or first + 1]]
                        column["steps"].append(int(rows.steps[index]))
                        column["times"].append(float(rows.times[index]))
                        column["values"].append(entries[0] if end is None else entries)
    return found


def as_json(block: dict[str, Any]) -> dict[str, Any]:
    """The same block as people with curl write it."""
    told: dict[str, Any] = {"v": 1, **block, "dropped": sum(block["lost"].values()), "rows": []}
    for rows in block["rows"]:
        group = {
            "frame": rows.frame,
            "steps": rows.steps.tolist(),
            "times": rows.times.tolist(),
            "values": [_text(value) for value in rows.values.ravel().tolist()],
        }
        if rows.absent is not None:
            group["absent"] = np.flatnonzero(rows.absent).tolist()
        told["rows"].append(group)
    return told


def _text(value: float) -> float | str:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def golden(name: str, content: bytes) -> None:
    path = CONTRACT / name
    if os.environ.get("FORESHOCK_TEST_WRITE_GOLDEN") == "1":
        path.write_bytes(content)
    assert path.read_bytes() == content, f"{name} is not what the SDK writes"


@pytest.mark.parametrize("name", blocks())
def test_a_block_is_written_as_the_contract_has_it(name: str) -> None:
    golden(f"{name}.msgpack", pack_block(**blocks()[name]))


@pytest.mark.parametrize("name", blocks())
def test_the_same_block_in_json_lies_beside_it(name: str) -> None:
    golden(
        f"{name}.json",
        json.dumps(as_json(blocks()[name]), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n",
    )


def test_what_a_reader_must_find_lies_beside_them() -> None:
    found = series_after_all_blocks()
    golden("series.json", json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


@pytest.mark.parametrize("name", blocks())
def test_a_block_reads_back_as_it_was(name: str) -> None:
    written = blocks()[name]
    block = unpack_block((CONTRACT / f"{name}.msgpack").read_bytes())
    assert (block["v"], block["seq"], block["dropped"]) == (1, written["seq"], sum(written["lost"].values()))
    for group, rows in zip(block["rows"], written["rows"], strict=True):
        read = Rows.from_wire(group, "f64" if rows.frame == 2 else "f32")
        assert read.values.dtype == rows.values.dtype
        np.testing.assert_array_equal(read.steps, rows.steps)
        np.testing.assert_array_equal(read.times, rows.times)
        np.testing.assert_array_equal(read.values, rows.values)
        np.testing.assert_array_equal(read.absent, rows.absent)
        assert read.readings == rows.readings


def test_the_bitmap_counts_from_the_least_significant_bit() -> None:
    absent = np.zeros((3, 3), bool)
    absent[0, 0] = absent[2, 2] = True
    packed = Rows(1, np.arange(3), np.zeros(3), np.zeros((3, 3), np.float32), absent).on_wire()
    assert packed["absent"] == bytes([0b00000001, 0b00000001])


def test_a_frame_wider_than_the_contract_allows_is_cut() -> None:
    wide = FrameSpec(tuple(SeriesSpec(f"s{i}", "training") for i in range(10)))
    numbers = FrameNumbers(widest=4)
    parts, new = numbers.of(wide)
    assert new
    assert [(part.number, len(part.series)) for part in parts] == [(1, 4), (2, 4), (3, 2)]
    assert numbers.of(wide) == (parts, False)


def test_a_vector_is_one_series_of_its_frame_and_is_never_cut() -> None:
    (vectors,), _ = FrameNumbers().of(VECTORS)
    told = vectors.on_wire()["series"]
    assert [(one["key"], one.get("axis")) for one in told] == [
        ("expert_load{place=moe.0}", {"name": "expert", "size": 3}),
        ("expert_idle{place=moe.0}", None),
        ("reward_histogram", {"name": "bin", "size": 2, "ticks": ["low", "high"]}),
    ]
    parts, _ = FrameNumbers(widest=5).of(VECTORS)
    assert [len(part.series) for part in parts] == [4, 2]
    other = SeriesSpec("expert_load", "experts", "", "moe.1", (("expert", "0"),), along="expert")
    (apart,), _ = FrameNumbers().of(FrameSpec((*VECTORS.series[:3], other)))
    assert [one["axis"]["size"] for one in apart.on_wire()["series"]] == [3, 1]


def test_for_a_server_that_knows_no_vectors_each_entry_is_a_series() -> None:
    block = blocks()["block-4-vectors"]
    plain = unpack_block(without_axes(pack_block(**block)))
    expected = [dict(spec.on_wire()) for spec in VECTORS.series]
    assert plain["frames"] == [{"frame": 3, "series": expected}]
    assert plain["rows"] == unpack_block(pack_block(**block))["rows"]
    scalar = pack_block(**blocks()["block-1-first"])
    assert without_axes(scalar) is scalar


def test_a_block_can_be_sent_again_with_the_definitions_it_needs() -> None:
    first, second = (blocks()[name] for name in list(blocks())[:2])
    known = unpack_frames(pack_frames([*first["frames"], {"frame": 9, "series": []}]))
    whole = unpack_block(with_all_frames(pack_block(**second), known))
    assert [frame["frame"] for frame in whole["frames"]] == [1, 2]
    assert whole["rows"] == unpack_block(pack_block(**second))["rows"]
    assert whole["lost"] == second["lost"]
