"""Sealed, half sealed or not at all: the same readings, bit for bit; whoever seals, however often, killed wherever."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from foreshock_server.models import Block, Clock, Merge, Rollup, Segment, Series, Writer
from foreshock_server.sealing import ready as readiness
from foreshock_server.sealing import sealer
from foreshock_server.sealing.ready import Ready, ready
from foreshock_server.sealing.sealer import Sealer
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.store import blocks
from foreshock_server.store.runs import finish_attempt, lock_run

TABLES = (Block, Clock, Segment, Rollup)


def judged(recorded) -> None:
    """As if the rules had seen everything, and it were counted."""
    while Tallier(recorded.database).tally(recorded.run):
        pass
    with recorded.database.writing() as session:
        for row in session.scalars(select(Writer).where(Writer.run_id == recorded.run)):
            row.evaluated_seq = row.acked_seq


def seal(recorded, work: Sealer | None = None) -> int:
    """Seal all that may be, worth it or not."""
    work = work or Sealer(recorded.database)
    judged(recorded)
    with recorded.database.reading() as session:
        rows = [one for one in ready(session, now=1e12) if one.run_id == recorded.run]
    return sum(work.seal(one) for one in rows)


def read(recorded, **more: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Every reading of every series as comparable numbers; NaN by its bits."""
    with recorded.database.reading() as session:
        rows = list(session.scalars(select(Series).where(Series.run_id == recorded.run)))
        data = blocks.read(session, recorded.run, [row.series_id for row in rows], **more)
    found = {}
    for row in rows:
        one = data[row.series_id]
        columns = (one.attempts, one.steps, one.times.view(np.int64), one.values.view(np.int64))
        found[row.key] = list(zip(*(column.tolist() for column in columns), strict=True))
        assert sum(size for *_, size in one.parts) == len(one)
    return found


def expected(recorded) -> dict[str, list[tuple[Any, ...]]]:
    def bits(number: Any) -> int:
        return int(np.float64(number).view(np.int64))

    return {
        key: [(one.attempt, one.step, bits(one.time), bits(one.value)) for one in recorded.of(key)]
        for key in {one.key for one in recorded.sent}
    }


def rows(recorded) -> dict[str, int]:
    with recorded.database.reading() as session:
        return {
            table.__tablename__: session.scalar(
                select(func.count()).select_from(table).where(table.run_id == recorded.run)
            )
            for table in TABLES
        }


def fill(recorded, blocks_: int = 6) -> None:
    for seq in range(1, blocks_ + 1):
        steps = [3 * seq, 3 * seq + 1, 3 * seq + 2]
        table = np.float32([[step, -step] for step in steps])
        gone = [[0, 0], [0, seq % 2], [0, 0]]
        recorded.store(
            seq,
            recorded.rows(["a", "b"], steps, table, absent=gone),
            recorded.rows(["c"], steps[:1], [[math.pi * seq]]),
        )


def test_sealed_blocks_are_gone_and_read_the_same(recorded):
    fill(recorded)
    before = read(recorded)
    assert before == expected(recorded)
    assert seal(recorded) == 6
    assert rows(recorded) == {"blocks": 0, "clocks": 2, "segments": 3, "rollups": 3 * 5}
    assert read(recorded) == before
    fill(recorded, 8)  # known blocks are known
    assert read(recorded) == expected(recorded)
    assert rows(recorded)["blocks"] == 2
    assert seal(recorded) == 2
    assert read(recorded) == expected(recorded)
    assert seal(recorded) == 0


def test_every_bit_survives(recorded):
    odd = np.array([0x7FC00001, 0xFFC00123, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x7F7FFFFF], np.uint32)
    recorded.store(1, recorded.rows(["a"], range(7), odd.view(np.float32)))
    wide = np.array([0x7FF8000000000001, 0xFFF8000000000ABC, 1 << 63, 1, 0x7FEFFFFFFFFFFFFF], np.uint64)
    recorded.store(2, recorded.rows(["b"], range(5), wide.view(np.float64)))
    before = read(recorded)
    assert seal(recorded) == 2
    assert read(recorded) == before == expected(recorded)


def test_a_range_of_steps_reads_only_the_segments_it_touches(recorded):
    for part in range(4):
        first = 100 * part
        recorded.store(part + 1, recorded.rows(["a"], range(first, first + 100), np.arange(100.0)))
        assert seal(recorded) == 1
    assert rows(recorded)["segments"] == 4
    decoded = []

    def note(_connection, _cursor, statement, _parameters, context, _many):
        if "FROM clocks" in statement:
            decoded.append(context)

    everything = read(recorded)["a"]
    engine = recorded.database.engine
    event.listen(engine, "before_cursor_execute", note)
    assert read(recorded, first=150, last=170)["a"] == [one for one in everything if 150 <= one[1] <= 170]
    assert len(decoded) == 1
    assert read(recorded, first=1000)["a"] == []
    assert len(decoded) == 1
    event.remove(engine, "before_cursor_execute", note)


def test_an_old_reader_keeps_its_moment_while_blocks_are_sealed(recorded):
    fill(recorded)
    judged(recorded)
    with recorded.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Block)) == 6  # its moment begins here
        fill(recorded, 9)
        assert seal(recorded) == 9
        assert read(recorded) == expected(recorded)  # fills the cache with what this session cannot see
        ids = [row.series_id for row in session.scalars(select(Series))]
        data = blocks.read(session, recorded.run, ids)
        assert sum(len(one) for one in data.values()) >= 6 * 7 - 3
        assert session.scalar(select(func.count()).select_from(Segment)) == 0


@pytest.mark.parametrize("statement", range(12))
def test_a_kill_between_any_two_statements_loses_and_doubles_nothing(recorded, statement):
    fill(recorded)
    judged(recorded)
    before, standing = read(recorded), rows(recorded)
    engine = recorded.database.engine
    left = [statement]

    def kill(_connection, _cursor, sql, *_rest):
        if not sql.lstrip().upper().startswith(("SELECT", "BEGIN", "PRAGMA")):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", kill)
    try:
        with recorded.database.reading() as session:
            (one,) = ready(session, now=1e12)
        killed = False
        try:
            Sealer(recorded.database).seal(one)
        except KeyboardInterrupt:
            killed = True
    finally:
        event.remove(engine, "before_cursor_execute", kill)
    assert read(recorded) == before
    assert killed == (rows(recorded) == standing)
    seal(recorded)
    assert read(recorded) == before
    assert rows(recorded)["blocks"] == 0


def test_of_two_sealers_with_the_same_blocks_one_stores(recorded):
    fill(recorded)
    judged(recorded)
    with recorded.database.reading() as session:
        (one,) = ready(session, now=1e12)
        batch = sealer._read(session, one)
    assert Sealer(recorded.database).seal(one) == 6
    with recorded.database.writing() as session:
        assert not sealer._store(session, batch)
    assert read(recorded) == expected(recorded)


def test_sealers_readers_and_a_trainer_at_once(recorded):
    fill_one(recorded, 1)
    stop, failures = threading.Event(), []

    def guarded(work) -> None:
        try:
            while not stop.is_set():
                work()
        except Exception as error:
            failures.append(error)

    def look() -> None:
        known = {one.step for one in recorded.of("a")}
        found = [one[1] for one in read(recorded)["a"]]
        if found != sorted(set(found)) or not known <= set(found):
            failures.append((known, found))

    work = [lambda: seal(recorded), lambda: seal(recorded), look]
    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for seq in range(2, 40):
        fill_one(recorded, seq)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    seal(recorded)
    assert read(recorded) == expected(recorded)
    assert rows(recorded)["blocks"] == 0


def fill_one(recorded, seq: int) -> None:
    recorded.store(seq, recorded.rows(["a", "b"], [2 * seq, 2 * seq + 1], np.float32([[seq, 1], [2, 3]])))


def test_only_what_rules_and_counts_have_passed_is_sealed(recorded):
    fill(recorded)
    with recorded.database.reading() as session:
        assert ready(session, now=1e12) == []
    judged(recorded)
    with recorded.database.writing() as session:
        lock_run(session, recorded.run)
        session.get_one(Writer, (recorded.run, 1, "w")).evaluated_seq = 4
    with recorded.database.reading() as session:
        assert ready(session, now=1e12) == [Ready(recorded.run, 1, "w", 0, 4)]


def test_ranks_are_sealed_as_far_as_they_are_merged(recorded):
    for rank in (0, 1):
        for seq in (1, 2, 3):
            place = {"writer": f"r{rank}-x"}
            recorded.store(
                seq, recorded.rows(["a"], [10 * seq, 10 * seq + 1], [[1.0], [2.0]], **place), **place
            )
    judged(recorded)
    with recorded.database.reading() as session:
        assert ready(session, now=1e12) == []
    with recorded.database.writing() as session:
        session.add(Merge(run_id=recorded.run, attempt=1, step=21, seen=6, yardsticks={}))
    with recorded.database.reading() as session:
        assert {(one.writer, one.upto) for one in ready(session, now=1e12)} == {("r0-x", 2), ("r1-x", 2)}


def test_a_writer_is_sealed_when_it_has_much_or_is_quiet_or_closed(recorded, monkeypatch):
    monkeypatch.setattr(readiness, "ENOUGH_STEPS", 10)
    fill(recorded, 3)  # 3 × 3 steps of two series and 3 × 1 of one
    judged(recorded)
    with recorded.database.reading() as session:
        assert ready(session, now=1.0) == []
        assert len(ready(session, now=1.0 + readiness.QUIET)) == 1
    fill(recorded, 6)
    judged(recorded)
    with recorded.database.reading() as session:
        assert len(ready(session, now=1.0)) == 1
    assert seal(recorded) == 6
    fill(recorded, 7)
    judged(recorded)
    with recorded.database.reading() as session:
        assert ready(session, now=1.0) == []
    with recorded.database.writing() as session:
        finish_attempt(session, recorded.run, 1, state="finished", at=1.0, last_seq={"w": 7}, now=1.0)
    with recorded.database.reading() as session:
        assert len(ready(session, now=1.0)) == 1


def test_blocks_that_were_weighed_before_count_with_the_new_ones(recorded, monkeypatch):
    monkeypatch.setattr(readiness, "ENOUGH_STEPS", 10)
    scales = readiness.Scales()
    found = []
    for number in range(1, 8):
        fill(recorded, number)
        judged(recorded)
        with recorded.database.reading() as session:
            again = bool(ready(session, now=1.0))
            found.append(bool(ready(session, now=1.0, scales=scales)))
            assert found[-1] == again
    assert found[0] is False
    assert found[-1] is True
    assert seal(recorded) == 7
    fill(recorded, 8)
    judged(recorded)
    with recorded.database.reading() as session:
        assert ready(session, now=1.0, scales=scales) == []


def test_much_is_sealed_in_portions(recorded, monkeypatch):
    monkeypatch.setattr(sealer, "MOST_ROWS", 8)
    fill(recorded)
    assert seal(recorded) == 2  # each block has four rows
    monkeypatch.setattr(sealer, "MOST_POINTS", 1)
    assert seal(recorded) == 1
    assert read(recorded) == expected(recorded)
    monkeypatch.undo()
    assert seal(recorded) == 3
    assert read(recorded) == expected(recorded)


def test_a_run_that_cannot_be_sealed_stalls_no_other(recorded, monkeypatch, caplog):
    other = type(recorded)(recorded.database)
    for one in (recorded, other):
        fill(one)
        judged(one)
    real = sealer._read
    monkeypatch.setattr(
        sealer, "_read", lambda session, one: 1 / 0 if one.run_id == recorded.run else real(session, one)
    )
    assert Sealer(recorded.database, clock=lambda: 1e12).run_once() == 6
    assert "could not be sealed" in caplog.text
    assert (rows(recorded)["blocks"], rows(other)["blocks"]) == (6, 0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sealing_gives_its_space_back(recorded):
    def pages(name: str) -> int:
        with recorded.database.reading() as session:
            return session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()

    before = pages("page_count")
    noise = np.random.default_rng(0)
    for seq in range(1, 41):
        table = noise.standard_normal((100, 60)).astype(np.float32)
        steps = range(100 * seq, 100 * seq + 100)
        recorded.store(seq, recorded.rows([f"s{i}" for i in range(60)], steps, table))
    assert seal(recorded) == 40
    empty = pages("freelist_count")
    assert empty > 200
    given = []
    while pages_given := sealer.give_back(recorded.database):
        given.append(pages_given)
    assert len(given) == 1  # all in one go: they are fewer than VACUUM_PAGES
    assert pages("freelist_count") < max(64, pages("page_count") // 50) <= empty
    left = pages("page_count") - pages("freelist_count") - before
    assert left * 4096 < 5.0 * 40 * 100 * 60


values = st.sampled_from([0.0, -0.0, 1.5, -2.25, math.nan, math.inf, -math.inf, 1e30, 3e-42])
groups = st.tuples(
    st.sampled_from([("a",), ("a", "b"), ("b", "c")]),
    st.lists(st.one_of(st.integers(-3, 9), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=4).map(
        sorted
    ),
    st.lists(values, min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.lists(st.floats(-1e12, 1e12), min_size=4, max_size=4),  # clocks are not to be trusted
    st.booleans(),
)
drawn_blocks = st.lists(
    st.tuples(
        st.integers(1, 2),  # attempt
        st.sampled_from(["w", "v"]),
        st.integers(1, 5),  # seq
        st.lists(groups, max_size=3),
        st.booleans(),  # seal after it
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_blocks, st.integers(-4, 10), st.integers(0, 8))
def test_any_blocks_in_any_order_sealed_at_any_moment_read_as_unsealed(recorded, drawn, first, more):
    one = type(recorded)(recorded.database)
    for attempt, writer, seq, parts, seals in drawn:
        place = {"attempt": attempt, "writer": writer}
        sent = []
        for keys, steps, numbers, gone, times, wide in parts:
            size = len(steps) * len(keys)
            table = np.array(numbers[:size], np.float64 if wide else np.float32)
            sent.append(one.rows(keys, steps, table, times=times[: len(steps)], absent=gone[:size], **place))
        one.store(seq, *sent, **place)
        if seals:
            seal(one)
    want = expected(one)
    assert {key: found for key, found in read(one).items() if found} == want
    ranged = {key: [r for r in found if first <= r[1] <= first + more] for key, found in want.items()}
    got = read(one, first=first, last=first + more)
    assert {key: found for key, found in got.items() if found} == {k: v for k, v in ranged.items() if v}


def test_a_resume_supersedes_later_steps_of_earlier_attempts(recorded):
    recorded.store(1, recorded.rows(["a"], range(10), np.arange(10.0)))
    recorded.store(1, recorded.rows(["a"], [6, 7], [[60.0], [70.0]], attempt=2), attempt=2)
    recorded.store(1, recorded.rows(["a"], [4, 5], [[400.0], [500.0]], attempt=3), attempt=3)
    for _ in range(2):
        stands = [one[:2] for one in read(recorded, superseded=False)["a"]]
        assert stands == [(1, 0), (1, 1), (1, 2), (1, 3), (3, 4), (3, 5)]
        assert [one[:2] for one in read(recorded, superseded=False, first=2, last=4)["a"]] == [
            (1, 2),
            (1, 3),
            (3, 4),
        ]
        assert len(read(recorded)["a"]) == 14
        seal(recorded)
    assert rows(recorded)["blocks"] == 0
