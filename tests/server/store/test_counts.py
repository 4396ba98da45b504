"""What a series counts about itself: the same before, while and after it is counted into its row, by anybody, killed or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreshock_server.models import Series, Writer
from foreshock_server.sealing import tallier
from foreshock_server.sealing.tallier import Tallier
from foreshock_server.store import latest
from foreshock_server.store.numbers import written
from foreshock_server.store.runs import finish_attempt

from .conftest import Recorded

NAMES = ("points", "nonfinite", "first_step", "last_attempt", "last_step", "last_value", "last_text")


def expected(recorded) -> dict[str, tuple[Any, ...]]:
    """Counted one by one."""
    found: dict[str, tuple[Any, ...]] = {}
    for key in {one.key for one in recorded.sent}:
        readings = recorded.of(key)
        last = max(readings, key=lambda one: (one.attempt, one.step))
        last = [one for one in readings if (one.attempt, one.step) == (last.attempt, last.step)][-1]
        value = float(last.value)
        found[key] = (
            len(readings),
            sum(not math.isfinite(one.value) for one in readings),
            min(one.step for one in readings),
            last.attempt,
            last.step,
            value if math.isfinite(value) else None,
            None if math.isfinite(value) else written(value),
        )
    return found


def shown(recorded) -> dict[str, tuple[Any, ...]]:
    with recorded.database.reading() as session:
        rows = latest.list_series(session, recorded.run)
    return {row.key: tuple(getattr(row, name) for name in NAMES) for row in rows if row.points}


def stored(recorded) -> dict[str, tuple[Any, ...]]:
    with recorded.database.reading() as session:
        rows = session.query(Series).filter(Series.run_id == recorded.run, Series.points > 0)
        return {row.key: tuple(getattr(row, name) for name in NAMES) for row in rows}


def fill(recorded) -> None:
    recorded.store(1, recorded.rows(["a", "b"], [1, 2], np.float32([[1, 2], [3, math.nan]])))
    recorded.store(
        2, recorded.rows(["a", "b"], [2, 5], np.float32([[4, 5], [6, 7]]), absent=[[0, 0], [0, 1]])
    )
    recorded.store(3, recorded.rows(["c"], [2**60, 2**62], [[1.5], [-math.inf]]))


def test_what_is_shown_is_never_stale_and_what_is_stored_follows(recorded):
    fill(recorded)
    assert stored(recorded) == {}
    assert shown(recorded) == expected(recorded)
    work = Tallier(recorded.database)
    assert work.run_once() == 3
    assert work.run_once() == 0
    assert stored(recorded) == shown(recorded) == expected(recorded)
    recorded.store(4, recorded.rows(["a", "b"], [3], np.float32([[8, 9]])))
    assert shown(recorded) == expected(recorded)


def test_a_resume_at_a_lower_step_is_the_latest_reading(recorded):
    recorded.store(1, recorded.rows(["a"], [10, 20], [[1.0], [2.0]]))
    Tallier(recorded.database).run_once()
    recorded.store(1, recorded.rows(["a"], [12], [[3.0]], attempt=2), attempt=2)
    assert shown(recorded)["a"] == (3, 0, 10, 2, 12, 3.0, None) == expected(recorded)["a"]


def test_a_block_that_waits_for_an_earlier_one_is_shown_and_counted_once(recorded):
    recorded.store(2, recorded.rows(["a"], [2], [[2.0]]))
    assert Tallier(recorded.database).run_once() == 0
    assert shown(recorded) == expected(recorded)
    recorded.store(1, recorded.rows(["a"], [1], [[1.0]]))
    assert Tallier(recorded.database).run_once() == 2
    assert stored(recorded) == shown(recorded) == expected(recorded)


def test_a_run_in_course_is_counted_now_and_then_and_a_closed_one_at_once(recorded):
    now = [100.0]
    work = Tallier(recorded.database, clock=lambda: now[0])
    for seq, after in ((1, 0.0), (2, 0.0), (3, tallier.EVERY)):
        recorded.store(seq, recorded.rows(["a"], [seq], [[1.0]]))
        now[0] += after
        assert work.run_once() == {1: 1, 2: 0, 3: 2}[seq]
    recorded.store(4, recorded.rows(["a"], [4], [[1.0]]))
    assert work.run_once() == 0
    with recorded.database.writing() as session:
        finish_attempt(session, recorded.run, 1, state="finished", at=1.0, last_seq={"w": 4}, now=1.0)
    assert work.run_once() == 1


def test_much_is_counted_in_portions(recorded, monkeypatch):
    monkeypatch.setattr(tallier, "MOST_POINTS", 4)
    for seq in range(1, 8):
        recorded.store(seq, recorded.rows(["a", "b"], [seq], [[1.0 * seq, 2.0]]))
    work = Tallier(recorded.database)
    assert [work.run_once() for _ in range(5)] == [2, 2, 2, 1, 0]
    assert stored(recorded) == expected(recorded)


def test_of_two_that_counted_the_same_blocks_one_stores(recorded):
    fill(recorded)
    with recorded.database.reading() as session:
        batch = tallier._read(session, recorded.run)
    assert Tallier(recorded.database).run_once() == 3
    with recorded.database.writing() as session:
        assert not tallier._store(session, recorded.run, batch)
    assert stored(recorded) == expected(recorded)


def test_a_kill_before_the_end_of_the_transaction_leaves_everything_as_it_was(recorded, monkeypatch):
    fill(recorded)

    def killed(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tallier, "add", killed)
        with pytest.raises(KeyboardInterrupt):
            Tallier(recorded.database).run_once()
    with recorded.database.reading() as session:
        assert session.get_one(Writer, (recorded.run, 1, "w")).tallied_seq == 0
    assert Tallier(recorded.database).run_once() == 3
    assert stored(recorded) == expected(recorded)


def test_a_run_that_cannot_be_counted_stalls_no_other(recorded, monkeypatch, caplog):
    other = type(recorded)(recorded.database)
    fill(recorded)
    fill(other)
    real = tallier._read
    monkeypatch.setattr(
        tallier, "_read", lambda session, run: 1 / 0 if run == recorded.run else real(session, run)
    )
    assert Tallier(recorded.database).run_once() == 3
    assert "could not be counted" in caplog.text
    assert stored(other) == expected(other)
    assert shown(recorded) == expected(recorded)


values = st.sampled_from([0.0, -0.0, 1.5, -2.25, math.nan, math.inf, -math.inf, 1e30])
blocks = st.lists(
    st.tuples(
        st.integers(1, 2),  # attempt
        st.sampled_from(["w", "v"]),
        st.integers(1, 5),  # seq
        st.lists(st.integers(-3, 9), min_size=1, max_size=4).map(sorted),
        st.lists(values, min_size=8, max_size=8),
        st.booleans(),  # count after it
    ),
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks)
def test_any_blocks_in_any_order_count_as_one_by_one(recorded, drawn):
    one = type(recorded)(recorded.database)
    work = Tallier(recorded.database, clock=lambda: 0.0)
    for attempt, writer, seq, steps, numbers, counts in drawn:
        steps = [2 * step + (writer == "v") for step in steps]  # of two writers neither is later at one step
        table = np.float32(numbers[: 2 * len(steps)]).reshape(-1, 2)
        place = {"attempt": attempt, "writer": writer}
        one.store(seq, one.rows(["a", "b"], steps, table, **place), **place)
        if counts:
            work.tally(one.run)
    assert shown(one) == expected(one)
    with one.database.writing() as session:  # what was lost will never come
        for row in session.query(Writer).filter(Writer.run_id == one.run):
            row.floor, row.acked_seq = 6, 5
    while work.tally(one.run):
        pass
    assert stored(one) == shown(one) == expected(one)


def test_the_ranges_of_families_are_those_of_their_series(recorded):
    fill(recorded)
    with recorded.database.reading() as session:
        assert latest.ranges(session, recorded.run) == {"training": (1, 2**62)}
    Tallier(recorded.database).run_once()
    with recorded.database.reading() as session:
        assert latest.ranges(session, recorded.run) == {"training": (1, 2**62)}


def test_a_run_that_cannot_be_counted_holds_up_none_of_its_transaction(recorded, monkeypatch, caplog):
    runs = [recorded, *(Recorded(recorded.database) for _ in range(3))]
    for one in runs:
        fill(one)
    bad = runs[1]
    store = tallier._store

    def refuses(session, run_id, batch):
        if run_id == bad.run:
            raise ValueError("cannot be counted")
        return store(session, run_id, batch)

    with monkeypatch.context() as patched:
        patched.setattr(tallier, "_store", refuses)
        assert Tallier(recorded.database).run_once() == 3 * 3
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert said[0].startswith(f"Run {bad.run}: its new blocks could not be counted.")
    assert stored(bad) == {}
    assert Tallier(recorded.database).run_once() == 3
    assert all(stored(one) == shown(one) == expected(one) for one in runs)
