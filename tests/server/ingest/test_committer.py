"""Blocks that wait together are stored together and answered each for itself, whatever happens to one of them or to the thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError, OperationalError

from foreshock_server.db import Database
from foreshock_server.errors import (
    DatabaseAway,
    DomainError,
    MalformedBlock,
    StorageFull,
    UnknownFrame,
    UnknownRun,
)
from foreshock_server.ingest import committer as module
from foreshock_server.ingest import schema
from foreshock_server.ingest.committer import Committer, Stored
from foreshock_server.ingest.service import Arrival
from foreshock_server.models import Attempt, Block, Frame, Run, Writer
from foreshock_server.store import runs


def arrival(
    wire: Any, seq: int, *, frames: Sequence[Any] = (), floor: int = 1, writer: str = "r0-a", **more: Any
) -> Arrival:
    """A block of one reading of frame 1, at step seq."""
    told = {"v": 1, "attempt": 1, "writer": writer, "seq": seq, "frames": list(frames), "dropped": 0}
    told["rows"] = [wire.rows(1, [seq], [[seq]])]
    return Arrival(schema.block({**told, **more}, binary=True), floor)


def opened(database: Database, *run_ids: str) -> None:
    with database.writing() as session:
        for run_id in run_ids:
            runs.open_run(
                session,
                run_id,
                project="p",
                name="n",
                config={},
                attempt=1,
                writer="r0-a",
                info={},
                started_at=1.0,
                now=1.0,
            )


@pytest.fixture
def hints() -> list[str]:
    return []


@pytest.fixture
def committer(database: Database, hints: list[str]) -> Iterator[Committer]:
    committer = Committer(database, hints.append, clock=lambda: 1000.0)
    opened(database, "run-1", "run-2")
    yield committer
    committer.close()


@pytest.fixture
def together(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Hands over all of these while a transaction is going on, so that they are one group; what each was answered."""

    def hand_over(*requests: tuple[str, Sequence[Arrival]]) -> list[Any]:
        begun, go_on = threading.Event(), threading.Event()
        store_all = module.store_all

        def slow(*arguments: Any, **named: Any) -> Any:
            begun.set()
            assert go_on.wait(30)
            return store_all(*arguments, **named)

        monkeypatch.setattr(module, "store_all", slow)
        first = committer.submit("nobody", [requests[0][1][0]], 1)
        assert begun.wait(30)
        monkeypatch.setattr(module, "store_all", store_all)
        futures = [committer.submit(run_id, arrivals, 100) for run_id, arrivals in requests]
        go_on.set()
        assert isinstance(first.exception(30), UnknownRun)
        return [outcome(one) for one in futures]

    return hand_over


def outcome(future: Future[Stored]) -> Stored | BaseException:
    error = future.exception(30)
    return future.result() if error is None else error


def seqs(database: Database, run_id: str = "run-1", writer: str = "r0-a") -> list[int]:
    with database.reading() as session:
        query = select(Block.seq).where(Block.run_id == run_id, Block.writer == writer).order_by(Block.seq)
        return list(session.scalars(query))


def test_what_waits_together_is_one_transaction_and_keeps_its_order(
    committer, together, database, wire, hints
):
    frames = [wire.frame(1, ["a"])]
    groups = committer.groups
    answers = together(
        ("run-1", [arrival(wire, 1, frames=frames)]),
        ("run-1", [arrival(wire, 2), arrival(wire, 3)]),
        ("run-2", [arrival(wire, 1, frames=frames)]),
        ("run-1", [arrival(wire, 4)]),
    )
    assert [(one.ack, one.stored, one.points) for one in answers] == [
        (4, 1, 1),
        (4, 2, 2),
        (1, 1, 1),
        (4, 1, 1),
    ]
    assert seqs(database) == [1, 2, 3, 4]
    if database.is_sqlite:
        assert committer.groups - groups == 2  # that of nobody, and all the rest
    assert set(hints) == {"run-1", "run-2"}
    with database.reading() as session:
        run = session.get_one(Run, "run-1")
        assert (run.points, run.revision, run.last_attempt, run.last_step, run.updated_at) == (
            4,
            5,
            1,
            4,
            1000.0,
        )
        assert session.get_one(Attempt, ("run-1", 1)).first_step == 1
        assert session.get_one(Writer, ("run-1", 1, "r0-a")).acked_seq == 4


def test_one_bad_block_fails_alone_and_leaves_nothing(together, database, wire):
    frames = [wire.frame(1, ["a"])]
    bad = arrival(wire, 2, rows=[wire.rows(7, [2], [[2]])])
    worse = arrival(
        wire, 1, writer="r9-new", frames=[wire.frame(1, ["b"])], rows=[wire.rows(1, [1], [[1, 2]])]
    )
    answers = together(
        ("run-1", [arrival(wire, 1, frames=frames)]),
        ("run-1", [bad]),
        ("run-1", [worse]),
        ("run-1", [arrival(wire, 3, frames=[wire.frame(1, ["other"])])]),
        ("run-1", [arrival(wire, 4)]),
    )
    assert [type(one) for one in answers] == [Stored, UnknownFrame, MalformedBlock, MalformedBlock, Stored]
    assert seqs(database) == [1, 4]
    with database.reading() as session:
        assert session.get(Writer, ("run-1", 1, "r9-new")) is None
        assert session.scalar(select(func.count()).select_from(Frame)) == 1
        assert session.get_one(Run, "run-1").points == 2
        assert session.get_one(Writer, ("run-1", 1, "r0-a")).acked_seq == 1  # 2 and 3 may come again


def test_a_frame_of_a_refused_block_is_unknown_to_the_next(together, database, wire):
    spoiled = arrival(wire, 1, frames=[wire.frame(1, ["a"])], rows=[wire.rows(1, [1], [[1, 2]])])
    answers = together(("run-1", [spoiled]), ("run-1", [arrival(wire, 2)]))
    assert [type(one) for one in answers] == [MalformedBlock, UnknownFrame]
    assert seqs(database) == []


def test_a_request_with_a_bad_block_is_answered_with_it_and_its_others_are_stored(together, database, wire):
    bad = arrival(wire, 2, rows=[wire.rows(7, [2], [[2]])])
    (answer,) = together(("run-1", [arrival(wire, 1, frames=[wire.frame(1, ["a"])]), bad, arrival(wire, 3)]))
    assert isinstance(answer, UnknownFrame)
    assert seqs(database) == [1, 3]


def test_duplicates_within_one_group_are_stored_once(together, database, wire):
    frames = [wire.frame(1, ["a"])]
    one = arrival(wire, 1, frames=frames)
    answers = together(
        ("run-1", [one]), ("run-1", [one]), ("run-1", [arrival(wire, 3)]), ("run-1", [arrival(wire, 3)])
    )
    assert [(one.ack, one.stored) for one in answers] == [(1, 1), (1, 0), (1, 1), (1, 0)]
    again = together(("run-1", [arrival(wire, 3)]), ("run-1", [arrival(wire, 2)]), ("run-1", [one]))
    assert [(one.ack, one.stored) for one in again] == [(3, 0), (3, 1), (3, 0)]
    assert seqs(database) == [1, 2, 3]
    with database.reading() as session:
        assert session.get_one(Run, "run-1").points == 3


def test_a_floor_in_the_middle_of_a_group_settles_what_lies_below(together, database, wire):
    answers = together(
        ("run-1", [arrival(wire, 1, frames=[wire.frame(1, ["a"])])]),
        ("run-1", [arrival(wire, 7)]),
        ("run-1", [arrival(wire, 6, floor=6)]),
        ("run-1", [arrival(wire, 3)]),
    )
    assert [(one.ack, one.stored) for one in answers] == [(7, 1), (7, 1), (7, 1), (7, 0)]
    assert seqs(database) == [1, 6, 7]


def test_a_transaction_that_fails_is_tried_block_by_block(together, database, wire, monkeypatch):
    """Only the one that spoils it fails, with its own error."""
    insert = module.store_all

    def spoiled(session: Any, run_id: str, arrivals: Sequence[Arrival], **named: Any) -> Any:
        if any(one.block.seq == 2 for one in arrivals):
            raise IntegrityError("INSERT", {}, Exception("spoiled"))
        return insert(session, run_id, arrivals, **named)

    monkeypatch.setattr(module, "store_all", spoiled)
    frames = [wire.frame(1, ["a"])]
    answers = together(
        ("run-1", [arrival(wire, 1, frames=frames)]),
        ("run-1", [arrival(wire, 2)]),
        ("run-1", [arrival(wire, 3)]),
    )
    assert [type(one) for one in answers] == [Stored, IntegrityError, Stored]
    assert seqs(database) == [1, 3]


@pytest.mark.parametrize(
    ("said", "error"),
    [("server closed the connection", DatabaseAway), ("database or disk is full", StorageFull)],
)
def test_a_database_that_cannot_is_said_to_each_with_a_time_to_try_again(
    committer, database, wire, monkeypatch, said, error
):
    store_all = module.store_all

    def cannot(*_arguments: Any, **_named: Any) -> Any:
        raise OperationalError("INSERT", {}, Exception(said))

    monkeypatch.setattr(module, "store_all", cannot)
    blocks = [arrival(wire, seq, frames=[wire.frame(1, ["a"])]) for seq in (1, 2, 3)]
    answers = [outcome(one) for one in [committer.submit("run-1", [block], 1) for block in blocks]]
    assert [type(one) for one in answers] == [error] * 3
    assert all(isinstance(one, DomainError) and one.retry_after for one in answers)
    monkeypatch.setattr(module, "store_all", store_all)
    assert outcome(committer.submit("run-1", blocks, 1)).ack == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_answers_those_who_wait_and_another_takes_over(
    committer, database, wire, monkeypatch
):
    store_all = module.store_all

    def dies(*_arguments: Any, **_named: Any) -> Any:
        raise SystemExit  # ends a thread without a word

    monkeypatch.setattr(module, "store_all", dies)
    first = arrival(wire, 1, frames=[wire.frame(1, ["a"])])
    assert isinstance(outcome(committer.submit("run-1", [first], 1)), DatabaseAway)
    monkeypatch.setattr(module, "store_all", store_all)
    assert outcome(committer.submit("run-1", [first], 1)).ack == 1
    assert (committer.waiting(), seqs(database)) == (0, [1])


def test_closing_stores_what_waits_and_takes_nothing_more(committer, database, wire):
    futures = [
        committer.submit("run-1", [arrival(wire, seq, frames=[wire.frame(1, ["a"])])], 1)
        for seq in range(1, 30)
    ]
    committer.close()
    assert all(isinstance(outcome(one), Stored) for one in futures)
    assert seqs(database) == list(range(1, 30))
    with pytest.raises(DatabaseAway):
        committer.submit("run-1", [arrival(wire, 30)], 1)


def test_two_processes_with_writers_of_one_identity_store_each_block_once(database, wire):
    """Two committers over one database stand for two processes; their blocks come in any order, some of them twice."""
    opened(database, "run-1", "run-2")
    committers = [Committer(database, lambda run: None) for _ in range(2)]
    rng = np.random.default_rng(4)
    sent = [
        (committer, run_id, seq)
        for committer in committers
        for run_id in ("run-1", "run-2")
        for seq in range(1, 41)
        if rng.random() < 0.8 or committer is committers[0]
    ]
    rng.shuffle(sent)
    frames = [wire.frame(1, ["a"])]
    futures = [
        committer.submit(run_id, [arrival(wire, seq, frames=frames)], 100) for committer, run_id, seq in sent
    ]
    answers = [outcome(one) for one in futures]
    for committer in committers:
        committer.close()
    assert all(isinstance(one, Stored) for one in answers)
    assert sum(one.stored for one in answers) == 80
    for run_id in ("run-1", "run-2"):
        assert seqs(database, run_id) == list(range(1, 41))
        with database.reading() as session:
            run = session.get_one(Run, run_id)
            assert (run.points, run.revision) == (40, 41)
            assert session.get_one(Writer, (run_id, 1, "r0-a")).acked_seq == 40
