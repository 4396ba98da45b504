"""Rows become blocks soon, in order and whole; the queue is bounded; what the monitor costs is recorded beside them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from foreshock.guard import faults
from foreshock.losses import Losses
from foreshock.measure.finish import StepRow
from foreshock.measure.problems.problem import Solve
from foreshock.record import monitor
from foreshock.record import recorder as recording_module
from foreshock.record.packing import HostRow, Writer
from foreshock.record.recorder import (
    BLOCK_BYTES,
    FIRST_ROWS,
    LARGE_BLOCK_BYTES,
    MANY_READINGS,
    MOST_READINGS,
    Recorder,
)
from foreshock.record.wire import Rows, unpack_block, unpack_frames
from foreshock.series import FrameSpec, SeriesSpec
from foreshock.spool.segment import Kind, Record
from foreshock.spool.spool import Spool

BODY = {"project": "p", "info": {"host": "h"}}


class Bench:
    """A recorder over a spool in memory."""

    def __init__(self, **options: Any) -> None:
        self.losses = Losses()
        self.spool = Spool(None, self.losses)
        writer = options.pop("writer", Writer(1, "r0-000000"))
        self.recorder = Recorder(self.spool, self.losses, writer, {"url": "u", "body": BODY}, **options)
        self._records: list[Record] = []

    def log(self, step: int, wall: float = 0.0, training: float = 0.0, **logged: float) -> None:
        self.recorder.put(HostRow(step, 1000.0 + step, logged, wall, training), len(logged))

    def records(self, kind: Kind) -> list[Record]:
        assert self.recorder.flush(10)
        self._records += self.spool.read()
        return [record for record in self._records if record.kind is kind]

    def blocks(self) -> list[dict[str, Any]]:
        return [unpack_block(record.payload) for record in self.records(Kind.BLOCK)]

    def columns(self) -> dict[str, list[tuple[int, float]]]:
        frames: dict[int, dict[str, Any]] = {}
        found: dict[str, list[tuple[int, float]]] = {}
        for block in self.blocks():
            frames.update({frame["frame"]: frame for frame in block["frames"]})
            for group in block["rows"]:
                series = frames[group["frame"]]["series"]
                rows = Rows.from_wire(group, series[0]["dtype"])
                for position, one in enumerate(series):
                    for index, step in enumerate(rows.steps):
                        if rows.absent is None or not rows.absent[index, position]:
                            found.setdefault(one["key"], []).append(
                                (int(step), float(rows.values[index, position]))
                            )
        return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.recorder.start()
    yield bench
    bench.recorder.close("finished", 10)


def test_the_first_rows_are_recorded_at_once(bench: Bench, eventually: Callable[..., None]) -> None:
    started = time.monotonic()
    for step in range(FIRST_ROWS):
        bench.log(step, loss=1.0)
        eventually(lambda: bench.recorder.seq > 0, 2)
    assert time.monotonic() - started < 1.0
    assert [step for step, _ in bench.columns()["loss"]] == list(range(FIRST_ROWS))


def test_later_rows_gather_into_blocks(bench: Bench) -> None:
    for step in range(FIRST_ROWS):
        bench.log(step, loss=1.0)
    before = len(bench.blocks())
    for step in range(FIRST_ROWS, FIRST_ROWS + 1000):
        bench.log(step, loss=1.0)
    assert len(bench.blocks()) - before <= 3


def test_a_block_stays_near_its_size(bench: Bench) -> None:
    for step in range(100):
        bench.log(step, **{f"n{i}": float(i) for i in range(400)})
        if step % 25 == 0:
            bench.blocks()  # so that never much is waiting
    sizes = [len(record.payload) for record in bench.records(Kind.BLOCK)]
    assert len(sizes) > 3
    assert max(sizes) < 2 * BLOCK_BYTES
    assert [seq for seq, _ in bench.columns()["n7"]] == list(range(100))


def test_much_that_waits_goes_into_few_large_blocks() -> None:
    bench = Bench()
    for step in range(2 * MANY_READINGS // 400):
        bench.log(step, **{f"n{i}": float(i) for i in range(400)})
    bench.recorder.start()
    sizes = [len(record.payload) for record in bench.records(Kind.BLOCK)]
    steps = [step for step, _ in bench.columns()["n7"]]
    bench.recorder.close("finished", 10)
    assert steps == list(range(2 * MANY_READINGS // 400))
    assert len(sizes) == 1
    assert 10 * BLOCK_BYTES < sizes[0] < LARGE_BLOCK_BYTES


def test_many_readings_are_recorded_before_their_time(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(recording_module, "FIRST_SECONDS", 1000.0)
    monkeypatch.setattr(recording_module, "BLOCK_SECONDS", 1000.0)
    bench = Bench()
    bench.recorder.start()
    time.sleep(0.1)
    row = {f"n{i}": float(i) for i in range(1000)}
    for step in range(MANY_READINGS // 1000 + 1):
        assert bench.recorder.seq == 0
        bench.log(step, **row)
    eventually(lambda: bench.recorder.seq > 0, 10)
    bench.recorder.close("finished", 10)


def test_a_frame_is_defined_where_it_is_first_used_and_recorded_before(bench: Bench) -> None:
    for step in range(3):
        bench.log(step, loss=1.0)
        bench.blocks()
    first, *later = bench.blocks()
    assert {one["key"] for frame in first["frames"] for one in frame["series"]} >= {
        "loss",
        "foreshock_dropped",
    }
    assert all(block["frames"] == [] for block in later)
    known = unpack_frames(bench.records(Kind.FRAMES)[0].payload)
    assert known[1]["series"][0]["key"] == "loss"


def test_rows_of_the_device_keep_their_frame_and_their_float32(bench: Bench) -> None:
    frame = FrameSpec(
        (SeriesSpec("gradient_norm", "optimiser"), SeriesSpec("effective_rank", "representation", "", "head"))
    )
    for step in range(3):
        bench.recorder.put(StepRow(step, 0.0, frame, np.array([0.1, np.nan], np.float32)), 2)
        bench.log(step, loss=0.1)
    columns = bench.columns()
    assert columns["gradient_norm"] == [(step, float(np.float32(0.1))) for step in range(3)]
    assert [np.isnan(value) for _, value in columns["effective_rank{place=head}"]] == [True] * 3
    assert columns["loss"] == [(step, 0.1) for step in range(3)]


class Eigenvalues:
    def __init__(self, answer: Mapping[int, float] | Exception) -> None:
        self.answer = answer

    def finish(self, solve: Solve | None = None) -> Mapping[int, float]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_work_for_the_host_is_finished_here(bench: Bench) -> None:
    frame = FrameSpec((SeriesSpec("a", "x"), SeriesSpec("b", "x")))
    values = np.array([1.0, np.nan], np.float32)
    bench.recorder.put(StepRow(0, 0.0, frame, values, (Eigenvalues({1: 2.5}),)), 2)
    assert bench.columns()["b"] == [(0, 2.5)]
    assert np.isnan(values[1]), "the row itself belongs to the collector"


@pytest.mark.usefixtures("lenient")
def test_work_that_fails_leaves_nan_is_counted_and_costs_nothing_else(bench: Bench) -> None:
    frame = FrameSpec((SeriesSpec("a", "x"), SeriesSpec("b", "x")))
    values = np.array([1.0, np.nan], np.float32)
    bench.recorder.put(StepRow(0, 0.0, frame, values, (Eigenvalues(np.linalg.LinAlgError("no")),)), 2)
    bench.log(0, loss=1.0)
    columns = bench.columns()
    assert np.isnan(columns["b"][0][1])
    assert (columns["a"], columns["loss"]) == ([(0, 1.0)], [(0, 1.0)])
    assert faults() == {"finishing a statistic": 1}
    bench.log(1, loss=1.0)
    assert bench.columns()["foreshock_faults"][-1][1] == 1.0


class Slow:
    """Work that takes as long as the test wants."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def finish(self, solve: Solve | None = None) -> Mapping[int, float]:
        assert self.may_end.wait(20)
        return {0: 7.0}


def test_work_that_takes_long_holds_up_no_row_behind_it_and_is_awaited_by_a_flush(
    bench: Bench, eventually: Callable[..., None]
) -> None:
    frame, slow = FrameSpec((SeriesSpec("a", "x"),)), Slow()
    for step in range(3):
        row = StepRow(step, 0.0, frame, np.array([np.nan], np.float32), (slow,))
        bench.recorder.put(row, 1)
        bench.log(step, loss=1.0)
    eventually(lambda: bench.recorder.seq > 0, 5)
    assert not bench.recorder.flush(0.2)
    bench._records += bench.spool.read()
    assert sum(record.readings for record in bench._records) >= 3  # the loss of each step
    assert bench.recorder.give_up() == 3  # what is not finished is not recorded
    slow.may_end.set()
    assert bench.columns()["a"] == [(0, 7.0), (1, 7.0), (2, 7.0)]


def test_a_queue_that_nobody_empties_drops_its_oldest_rows_and_counts_them() -> None:
    bench = Bench()
    wide = {f"n{i}": 0.0 for i in range(1000)}
    for step in range(MOST_READINGS // 1000 + 7):
        bench.log(step, **wide)
    assert bench.losses.by_reason() == {"recorder behind": 7000}
    bench.recorder.start()
    assert bench.columns()["n5"][0][0] == 7
    assert bench.blocks()[-1]["lost"] == {"recorder behind": 7000}
    assert bench.blocks()[-1]["dropped"] == 7000
    bench.recorder.close("finished", 10)


def test_losses_on_the_device_are_counted(bench: Bench) -> None:
    lossy = Bench(device_drops=lambda: 12)
    lossy.recorder.start()
    for step in range(3):
        lossy.log(step, loss=1.0)
        lossy.blocks()
    assert lossy.blocks()[-1]["lost"] == {"device behind": 12}
    lossy.recorder.close("finished", 10)


def test_overhead_is_our_share_of_the_time_since_the_block_before(bench: Bench) -> None:
    for step, (wall, training) in enumerate([(0.0, 0.0), (1.0, 0.01), (3.0, 0.07)]):
        bench.log(step, wall, training, loss=1.0)
        bench.blocks()
    columns = bench.columns()
    assert columns["foreshock_overhead"] == [(1, pytest.approx(1.0)), (2, pytest.approx(3.0))]
    assert columns["foreshock_dropped"] == [(0, 0.0), (1, 0.0), (2, 0.0)]
    cost = bench.blocks()[-1]["cost"]
    assert (cost["steps"], cost["wall_seconds"], cost["training_seconds"]) == (3.0, 3.0, 0.07)
    assert 0 < cost["background_seconds"] < 5
    beside = dict(columns["foreshock_overhead_background"])
    assert set(beside) == {1, 2}
    assert all(0 <= percent < 100 * 5 for percent in beside.values())


def test_what_the_instruments_say_of_themselves_is_recorded_with_each_block() -> None:
    told = iter([monitor.Gauges(1, 0, 40.0, 10**7), monitor.Gauges(0, 7, 350.0, 3 * 10**7), monitor.Gauges()])
    bench = Bench(gauges=lambda: next(told))
    bench.recorder.start()
    for step in range(3):
        bench.log(step, 1.0 + step, 0.0, loss=1.0)
        bench.blocks()
    columns = bench.columns()
    assert columns["foreshock_level"] == [(0, 1.0), (1, 0.0), (2, 1.0)]
    assert columns["foreshock_skipped"] == [(0, 0.0), (1, 7.0), (2, 0.0)]
    assert columns["foreshock_budget_used"] == [
        (0, 40.0),
        (1, 350.0),
    ]  # none for the third: without a budget there is no share of it
    memory = dict(columns["foreshock_memory"])
    assert memory[1] - memory[0] == pytest.approx(2e7, abs=1e5)  # beside it, what waits in the recorder
    bench.recorder.close("finished", 10)


def test_the_opening_is_recorded_at_once_and_completed_when_git_has_answered() -> None:
    bench = Bench(slow_facts=lambda: {"git_commit": "abc"})
    bench.recorder.start()
    first, second = (json.loads(record.payload) for record in bench.records(Kind.OPEN))
    assert first == {"url": "u", "body": BODY}
    assert second["body"]["info"] == {"host": "h", "git_commit": "abc"}
    bench.recorder.close("finished", 10)


def test_closing_records_the_rows_before_it_and_then_the_end() -> None:
    bench = Bench()
    bench.recorder.start()
    for step in range(500):
        bench.log(step, loss=1.0)
    assert bench.recorder.close("failed", 10)
    records = bench.spool.read()
    assert records[-1].kind is Kind.CLOSE
    told = json.loads(records[-1].payload)
    assert told["attempt"] == 1
    assert told["body"]["state"] == "failed"
    assert told["body"]["last_seq"] == {"r0-000000": bench.recorder.seq}
    assert sum(record.readings for record in records) >= 500


def test_a_long_step_does_not_look_like_a_dead_process(
    monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(recording_module, "HEARTBEAT_SECONDS", 0.05)
    bench = Bench()
    bench.recorder.start()
    eventually(lambda: bench.recorder.seq >= 2)
    assert all(block["rows"] == [] for block in bench.blocks())
    bench.recorder.close("finished", 10)


def test_another_rank_labels_every_series(bench: Bench) -> None:
    ranked = Bench(gauges=lambda: monitor.Gauges(used=1.0), writer=Writer(1, "r2-000000", (("rank", "2"),)))
    ranked.recorder.start()
    frame = FrameSpec(
        (SeriesSpec("gradient_norm", "optimiser"), SeriesSpec("b", "x", "", "head", (("rank", "2"),)))
    )
    ranked.recorder.put(StepRow(0, 0.0, frame, np.array([1.0, 2.0], np.float32)), 2)
    ranked.log(0, 1.0, 0.0, loss=1.0)
    assert set(ranked.columns()) == {
        "gradient_norm{rank=2}",
        "b{place=head,rank=2}",
        "loss{rank=2}",
        *(f"{one.statistic}{{rank=2}}" for one in monitor.FRAME.series),
    }
    ranked.recorder.close("finished", 10)
