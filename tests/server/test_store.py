"""What the other stages rely on in store/: order, cursors, and sessions that nobody can misuse quietly."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from foreshock_server.errors import UnknownRun, UnknownSeries
from foreshock_server.models import Run
from foreshock_server.store import blocks, runs, series
from foreshock_server.store.rows import RowGroup, decode_rows, encode_rows


def opened(session, run_id="r", writer="w", attempt=1):
    runs.open_run(
        session,
        run_id,
        project="p",
        name="",
        config={},
        attempt=attempt,
        writer=writer,
        info={},
        started_at=1.0,
        now=2.0,
    )
    return runs.ensure_writer(session, run_id, attempt, writer, now=2.0)


def register_loss(session, attempt=1, writer="w"):
    one = series.NewSeries("loss", "loss", "training", "", {}, "", "f32")
    series.register_frames(session, "r", attempt, writer, [series.NewFrame(1, "f32", [one])])


def group(*steps: int, series: int = 1) -> RowGroup:
    count = len(steps)
    return RowGroup(1, np.array(steps, np.int64), np.zeros(count), np.ones((count, series), np.float32), None)


def test_rules_see_acknowledged_blocks_in_order_and_only_those(database):
    with database.writing() as session:
        writer = opened(session)
        for seq in (3, 1, 5):
            assert blocks.append(session, writer, seq, [group(seq)], now=3.0)
        assert writer.acked_seq == 1
        assert [one.seq for one in blocks.blocks_after(session, "r", 1, "w", 0)] == [1]
        blocks.append(session, writer, 2, [group(2)], now=3.0)
        assert [one.seq for one in blocks.blocks_after(session, "r", 1, "w", 0)] == [1, 2, 3]
        assert [one.seq for one in blocks.blocks_after(session, "r", 1, "w", 1, limit=1)] == [2]
        blocks.raise_floor(session, writer, 5)
        assert writer.acked_seq == 5
        assert [one.seq for one in blocks.blocks_after(session, "r", 1, "w", 3)] == [5]


def test_columns_say_how_many_readings_each_writer_of_each_attempt_brought(database):
    with database.writing() as session:
        for attempt, name, steps in ((2, "a", (1, 2)), (1, "b", (1, 2, 3)), (1, "a", (5,))):
            writer = opened(session, attempt=attempt, writer=name)
            register_loss(session, attempt, name)
            blocks.append(session, writer, 1, [group(*steps)], now=3.0)
    with database.reading() as session:
        assert blocks.read(session, "r", [1])[1].parts == ((1, "a", 1), (1, "b", 3), (2, "a", 2))
        assert blocks.read(session, "r", [1], first=2, last=4)[1].parts == ((1, "b", 2), (2, "a", 1))


def test_a_writer_waits_for_the_rules_until_their_cursor_reaches_its_acknowledgement(database):
    with database.writing() as session:
        for i in range(3):
            writer = opened(session, writer=f"w{i}")
            writer.seen_at = 10.0 - i
            blocks.append(session, writer, 1, [group(1)], now=3.0)
        assert [one.writer for one in blocks.unevaluated(session)] == ["w2", "w1", "w0"]
        assert [one.writer for one in blocks.unevaluated(session, limit=1)] == ["w2"]
        writer.evaluated_seq = writer.acked_seq
        session.flush()
        assert [one.writer for one in blocks.unevaluated(session)] == ["w1", "w0"]


def test_what_is_unknown_is_said_in_a_sentence(database):
    with database.reading() as session:
        with pytest.raises(UnknownRun, match="No run has this id"):
            runs.get_run(session, "nobody")
        with pytest.raises(UnknownSeries, match="GET /api/v1/runs/nobody/series"):
            series.find_series(session, "nobody", "a")


def test_many_series_are_found_in_the_order_asked_for(database):
    names = [f"s{i}" for i in range(1200)]
    with database.writing() as session:
        opened(session)
        new = [series.NewSeries(name, name, "training", "", {}, "", "f32") for name in names]
        series.register_frames(session, "r", 1, "w", [series.NewFrame(1, "f32", new)])
        wanted = names[::-1]
        assert [one.key for one in series.find_all(session, "r", wanted)] == wanted


def test_a_session_that_raises_stores_nothing(database):
    def half() -> None:
        with database.writing() as session:
            opened(session)
            raise KeyError

    with pytest.raises(KeyError):
        half()
    with database.reading() as session:
        assert session.query(Run).count() == 0


def test_a_reading_session_stores_nothing_and_sees_one_moment(database):
    with database.writing() as session:
        opened(session, "one")
    with database.reading() as session:
        assert session.query(Run).count() == 1
        thread = threading.Thread(target=lambda: _open(database, "two"))
        thread.start()
        thread.join()
        assert session.query(Run).count() == 1
        session.expire_all()
        session.get_one(Run, "one").name = "changed"
    with database.reading() as session:
        assert {run.id: run.name for run in session.query(Run)} == {"one": "", "two": ""}


def _open(database, run_id: str) -> None:
    with database.writing() as session:
        opened(session, run_id)


def test_writers_of_one_run_queue_and_lose_no_change(database):
    _open(database, "r")

    def touch() -> None:
        for _ in range(20):
            with database.writing() as session:
                run = runs.lock_run(session, "r")
                run.points += 1
                runs.touch(session, "r", 5.0)

    threads = [threading.Thread(target=touch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        run = runs.get_run(session, "r")
        assert (run.points, run.revision) == (80, 81)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_embedded_database_refuses_a_write_within_a_write_instead_of_waiting_for_itself(database):
    def nested() -> None:
        with database.writing(), database.writing():
            pass

    with pytest.raises(RuntimeError, match="inside writing"):
        nested()
    _open(database, "r")  # and goes on afterwards


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_embedded_database_survives_the_loss_of_power(database):
    with database.reading() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2


floats = st.floats(width=32)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.sampled_from(["<f4", "<f8"]), st.data())
def test_rows_rest_bit_for_bit(n, k, some_absent, dtype, data):
    values = np.array(data.draw(st.lists(floats, min_size=n * k, max_size=n * k)), dtype).reshape(n, k)
    absent = None
    if some_absent:
        absent = np.array(data.draw(st.lists(st.booleans(), min_size=n * k, max_size=n * k))).reshape(n, k)
    steps = np.array(data.draw(st.lists(st.integers(-(2**53), 2**53), min_size=n, max_size=n)), np.int64)
    (back,) = decode_rows(encode_rows([RowGroup(7, steps, steps * 0.5, values, absent)]))
    assert back.frame == 7
    assert back.steps.tobytes() == steps.tobytes()
    assert back.times.tobytes() == (steps * 0.5).tobytes()
    assert (back.values.dtype, back.values.tobytes()) == (values.dtype, values.tobytes())
    assert (back.absent is None) == (absent is None)
    assert absent is None or np.array_equal(back.absent, absent)
    assert back.present == n * k - (0 if absent is None else absent.sum())
