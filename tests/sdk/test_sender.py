"""Every answer of the contract has its consequence; blocks arrive in order, once each; nothing is thrown away in silence."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from foreshock.record.wire import FrameNumbers, Rows, pack_block, pack_frames
from foreshock.send.courier import FIRST_WAIT, LONGEST_WAIT, RARELY, Backoff, Courier, Found, Wait
from foreshock.send.sender import Sender
from foreshock.send.transport import Answer, Request, Undelivered
from foreshock.series import FrameSpec, SeriesSpec
from foreshock.spool.segment import Kind, Record
from foreshock.testing import MemoryTransport

CONTRACT = Path(__file__).parents[1] / "contract"
OPENING = {
    "project": "grpo-math",
    "name": "brisk-otter-12",
    "config": {"lr": 1e-05, "layers": [1, 2], "loss": "NaN"},
    "started_at": 1_792_000_000.0,
    "attempt": 2,
    "writer": "r0-5f3c2a",
    "info": {
        "host": "n17",
        "python": "3.11.7",
        "torch": "2.13.0",
        "git_commit": "0" * 40,
        "git_dirty": True,
        "rank": 0,
        "world_size": 1,
    },
}
ENDING = {"state": "finished", "at": 1_792_003_600.0, "last_seq": {"r0-5f3c2a": 3}}
OPEN = Record(Kind.OPEN, json.dumps({"url": "u", "body": OPENING}).encode())
CLOSE = Record(Kind.CLOSE, json.dumps({"attempt": 2, "body": ENDING}).encode())
(FRAME,), _ = FrameNumbers().of(FrameSpec((SeriesSpec("loss", "training", dtype="f64"),)))
FRAMES = Record(Kind.FRAMES, pack_frames([FRAME.on_wire()]))


def block(seq: int, *, define: bool | None = None) -> Record:
    rows = Rows(1, np.array([seq]), np.array([0.0]), np.array([[float(seq)]]))
    defined = seq == 1 if define is None else define
    frames = [FRAME.on_wire()] if defined else []
    payload = pack_block(attempt=2, writer="r0-5f3c2a", seq=seq, frames=frames, rows=[rows], lost={}, cost={})
    return Record(Kind.BLOCK, payload, seq, 1)


class Pile:
    """A source of given records."""

    def __init__(self, *records: Record) -> None:
        self.records = list(records)
        self.acknowledged = 0
        self.refused: list[tuple[int, Mapping[str, Any]]] = []

    def read(self) -> list[Record]:
        taken, self.records = self.records, []
        return taken

    def acknowledge(self, seq: int) -> None:
        self.acknowledged = seq

    def refuse(self, record: Record, reason: Mapping[str, Any]) -> str:
        self.refused.append((record.seq, reason))
        return "rejected/"


def turns(courier: Courier) -> list[Found | Wait]:
    """Turn until there is nothing to do, without sleeping."""
    found = []
    for _ in range(100):
        found.append(courier.turn())
        if found[-1] in (Found.NOTHING, Found.CLOSED):
            return found
    raise AssertionError(f"it never ends: {found[-5:]}")


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport()


def courier_of(transport: MemoryTransport, *records: Record, **options: Any) -> tuple[Courier, Pile]:
    pile = Pile(*records)
    return Courier("run-1", pile, transport, backoff=Backoff(random.Random(0)), **options), pile


def steps(transport: MemoryTransport) -> list[int]:
    return transport.columns("loss").steps.tolist()


def test_a_run_is_opened_then_its_blocks_then_its_end(transport: MemoryTransport) -> None:
    courier, pile = courier_of(transport, OPEN, FRAMES, block(1), block(2), CLOSE)
    assert turns(courier)[-1] is Found.CLOSED
    assert [f"{request.method} {request.path}" for request in transport.requests] == [
        "PUT /api/v1/runs/run-1",
        "POST /api/v1/runs/run-1/blocks?floor=1",
        "POST /api/v1/runs/run-1/blocks?floor=2",
        "POST /api/v1/runs/run-1/attempts/2/finish",
    ]
    assert (steps(transport), pile.acknowledged, courier.page) == ([1, 2], 2, "memory:///runs/run-1")


def golden(name: str, content: bytes) -> None:
    import os

    path = CONTRACT / name
    content = json.dumps(json.loads(content), indent=1, ensure_ascii=False).encode() + b"\n"
    if os.environ.get("FORESHOCK_TEST_WRITE_GOLDEN") == "1":
        path.write_bytes(content)
    assert path.read_bytes() == content, f"{name} is not what the SDK writes"


def test_opening_and_ending_are_written_as_the_contract_has_them(transport: MemoryTransport) -> None:
    turns(courier_of(transport, OPEN, block(1), CLOSE)[0])
    golden("open.json", transport.requests[0].body)
    golden("finish.json", transport.requests[-1].body)


def test_the_answer_of_the_contract_is_understood(transport: MemoryTransport) -> None:
    heard: list[Mapping[str, Any]] = []
    courier, pile = courier_of(transport, OPEN, block(1), on_answer=heard.append)
    answer = json.loads((CONTRACT / "answer.json").read_text())
    courier.turn()
    transport.fail_next(Answer(200, answer))
    assert courier.turn() is Found.SENT
    assert heard == [answer]
    assert pile.acknowledged == 1


def test_a_better_known_opening_is_told_again_and_the_same_is_not(transport: MemoryTransport) -> None:
    fuller = Record(Kind.OPEN, json.dumps({"url": "u", "body": {**OPENING, "name": "fuller"}}).encode())
    turns(courier_of(transport, OPEN, OPEN, fuller, block(1), OPEN, OPEN)[0])
    assert sum(request.method == "PUT" for request in transport.requests) == 2


def test_a_server_that_forgot_the_run_hears_of_it_again_and_of_the_frames(transport: MemoryTransport) -> None:
    courier, pile = courier_of(transport, OPEN, FRAMES, block(1))
    turns(courier)
    transport.forget()
    pile.records = [block(2)]
    turns(courier)
    assert steps(transport) == [2]
    assert courier.delivered == 2


def test_a_frame_that_the_server_missed_is_defined_again(transport: MemoryTransport) -> None:
    courier, _ = courier_of(
        transport, OPEN, FRAMES, block(5)
    )  # the blocks before were dropped from a full spool
    turns(courier)
    assert steps(transport) == [5]


class Newer(MemoryTransport):
    """A server that knows vectors."""

    def exchange(self, request: Request, seconds: float = 10.0) -> Answer:
        answer = super().exchange(request, seconds)
        told = {**answer.body, "understands": ["axis"]} if request.method == "PUT" else answer.body
        return Answer(answer.status, told)


class TakesLists(MemoryTransport):
    """A server that takes several blocks in one request; each is stored for itself, the last answer counts."""

    def exchange(self, request: Request, seconds: float = 10.0) -> Answer:
        if request.method != "POST" or not request.path.partition("?")[0].endswith("/blocks"):
            answer = super().exchange(request, seconds)
            told = (
                {**answer.body, "understands": ["axis", "lists"]} if request.method == "PUT" else answer.body
            )
            return Answer(answer.status, told, answer.retry_after)
        blocks = msgpack.unpackb(request.body)
        if isinstance(blocks, dict):
            return super().exchange(request, seconds)
        self.lists.append([one["seq"] for one in blocks])
        answers = [
            super(TakesLists, self).exchange(replace(request, body=msgpack.packb(one))) for one in blocks
        ]
        return next((one for one in answers if one.status != 200), answers[-1])

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[list[int]] = []


def test_what_piled_up_goes_together_as_far_as_one_request_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshock.send.courier.MOST_BLOCKS", 4)
    server = TakesLists()
    courier, pile = courier_of(
        server, OPEN, FRAMES, block(1), FRAMES, *(block(seq) for seq in range(2, 11)), CLOSE
    )
    turns(courier)
    assert server.lists == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    assert (steps(server), pile.acknowledged, courier.blocks, courier.readings) == (
        list(range(1, 11)),
        10,
        10,
        10,
    )
    assert courier.closed


def test_a_list_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshock.send.courier.BATCH_BYTES", 2 * len(block(2).payload))
    server = TakesLists()
    courier, _ = courier_of(server, OPEN, *(block(seq) for seq in range(1, 6)))
    turns(courier)
    assert server.lists == [[2, 3], [4, 5]]  # the first carries its frame and goes alone
    assert steps(server) == [1, 2, 3, 4, 5]


def test_one_bad_block_of_a_list_is_refused_alone() -> None:
    server = TakesLists()
    records = (block(1), block(2), Record(Kind.BLOCK, _of_nobody(3), 3, 1), block(4))
    courier, pile = courier_of(server, OPEN, FRAMES, *records)
    turns(courier)
    assert [seq for seq, _ in pile.refused] == [3]
    assert (steps(server), courier.delivered, courier.refused) == ([1, 2, 4], 4, 1)
    assert (courier.blocks, courier.readings) == (3, 3)


def _of_nobody(seq: int) -> bytes:
    rows = Rows(77, np.array([seq]), np.array([0.0]), np.array([[1.0]]))
    return pack_block(attempt=2, writer="r0-5f3c2a", seq=seq, frames=[], rows=[rows], lost={}, cost={})


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_gets_the_same_list_again_after_the_time_it_named(status: int) -> None:
    server = TakesLists()
    courier, pile = courier_of(server, OPEN, *(block(seq) for seq in range(1, 4)))
    courier.turn()
    server.fail_next(Answer(status, {}, retry_after=9.0))
    found = courier.turn()
    assert isinstance(found, Wait)
    assert (found.seconds >= 9.0, found.asked, pile.acknowledged) == (True, True, 0)
    turns(courier)
    assert server.lists[0] == server.lists[1] == [1, 2, 3]
    assert sorted(steps(server)) == [1, 2, 3]


@pytest.mark.parametrize("blocks", [1, 3])
def test_what_was_damaged_on_its_way_is_sent_again(blocks: int) -> None:
    server = TakesLists()
    courier, pile = courier_of(server, OPEN, *(block(seq) for seq in range(1, blocks + 1)))
    courier.turn()
    server.fail_next(Answer(400, {"error": "DamagedBlock", "detail": "What arrived is not what was sent."}))
    found = courier.turn()
    assert isinstance(found, Wait)
    assert found.seconds <= FIRST_WAIT
    assert (pile.acknowledged, pile.refused) == (0, [])
    turns(courier)
    assert sorted(steps(server)) == list(range(1, blocks + 1))


def test_a_server_that_forgot_the_run_gets_a_list_after_all() -> None:
    server = TakesLists()
    courier, pile = courier_of(server, OPEN, FRAMES, block(1))
    turns(courier)
    server.forget()
    pile.records = [block(2), block(3), block(4)]
    turns(courier)
    assert (steps(server), courier.delivered, pile.refused) == ([2, 3, 4], 4, [])


@pytest.mark.parametrize(
    ("server", "keys"), [(MemoryTransport, ["load{expert=0}", "load{expert=1}"]), (Newer, ["load"])]
)
def test_a_vector_reaches_every_server_in_the_form_it_knows(
    server: type[MemoryTransport], keys: list[str]
) -> None:
    specs = tuple(
        SeriesSpec("load", "experts", labels=(("expert", str(e)),), along="expert") for e in range(2)
    )
    (vector,), _ = FrameNumbers().of(FrameSpec(specs))
    row = Rows(1, np.array([1]), np.array([0.0]), np.array([[1.0, 2.0]], np.float32))
    told = {"attempt": 2, "writer": "r0-5f3c2a", "lost": {}, "cost": {}}
    first = pack_block(seq=1, frames=[vector.on_wire()], rows=[row], **told)
    second = pack_block(seq=2, frames=[], rows=[row], **told)
    transport = server()
    definitions = Record(Kind.FRAMES, pack_frames([vector.on_wire()]))
    records = definitions, Record(Kind.BLOCK, first, 1, 2), Record(Kind.BLOCK, second, 2, 2)
    courier, pile = courier_of(transport, OPEN, *records)
    courier.turn()
    courier.turn()
    transport.forget()  # and the second block needs the frame once more
    turns(courier)
    assert (transport.series(), pile.acknowledged, pile.refused) == (keys, 2, [])
    (kept,) = transport.blocks
    assert kept["rows"][0]["values"] == np.array([1.0, 2.0], "<f4").tobytes()


def test_a_frame_that_nobody_knows_any_more_is_refused_and_the_rest_goes_on(
    transport: MemoryTransport,
) -> None:
    courier, pile = courier_of(transport, OPEN, block(5), block(6, define=True))
    turns(courier)
    assert [seq for seq, _ in pile.refused] == [5]
    assert steps(transport) == [6]


@pytest.mark.parametrize("status", [413, 422])
def test_a_block_that_can_never_succeed_is_kept_counted_and_passed(
    transport: MemoryTransport, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    courier, pile = courier_of(transport, OPEN, block(1), block(2, define=True), block(3))
    courier.turn()
    transport.fail_next(
        Answer(status, {"error": "MalformedBlock", "detail": "steps go back", "field": "rows[0].steps"})
    )
    turns(courier)
    assert pile.refused == [
        (
            1,
            {
                "status": status,
                "error": "MalformedBlock",
                "detail": "steps go back",
                "field": "rows[0].steps",
            },
        )
    ]
    assert (steps(transport), courier.refused, courier.readings) == ([2, 3], 1, 2)
    assert sum("steps go back" in record.message for record in caplog.records) == 1


def test_what_belongs_to_a_deleted_run_is_let_go_of_and_said_once(
    transport: MemoryTransport, caplog: pytest.LogCaptureFixture
) -> None:
    courier, pile = courier_of(transport, OPEN, FRAMES, block(1), block(2), block(3), CLOSE)
    gone = Answer(410, {"error": "RunDeleted", "detail": "This run was deleted here"})
    transport.fail_next(*[gone] * 5)  # the opening, three blocks, the end
    found = turns(courier)
    assert not any(isinstance(one, Wait) for one in found), "nobody waits for a run that is gone"
    assert (courier.delivered, pile.acknowledged, pile.refused) == (3, 3, [])
    assert (courier.gone, courier.closed, courier.readings) == (True, True, 0)
    assert sum("deleted at the server" in record.message for record in caplog.records) == 1


def test_another_410_is_no_deleted_run(transport: MemoryTransport) -> None:
    courier, pile = courier_of(transport, OPEN, block(1))
    transport.fail_next(*[Answer(410, {})] * 2)
    assert isinstance(courier.turn(), Wait)
    assert not courier.gone
    assert pile.acknowledged == 0


@pytest.mark.parametrize(
    ("status", "words"), [(401, "wants another key"), (403, "does not let this key do that")]
)
def test_a_wrong_key_keeps_everything_and_is_said_once(
    transport: MemoryTransport, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    courier, pile = courier_of(transport, OPEN, block(1))
    transport.fail_next(*[Answer(status, {"error": "Unauthorized", "detail": "a key is needed"})] * 3)
    for _ in range(3):
        found = courier.turn()
        assert isinstance(found, Wait)
        assert found.seconds == RARELY
    assert pile.acknowledged == 0
    (said,) = [record.message for record in caplog.records if "FORESHOCK_API_KEY" in record.message]
    assert words in said
    assert "foreshock keys create" in said
    assert "Training goes on" in said
    turns(courier)
    assert steps(transport) == [1]


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(transport: MemoryTransport, status: int) -> None:
    courier, _ = courier_of(transport, OPEN)
    transport.fail_next(Answer(status, {}, retry_after=17.0), Answer(status, {}, retry_after=0.0))
    first, second = courier.turn(), courier.turn()
    assert isinstance(first, Wait)
    assert isinstance(second, Wait)
    assert (first.seconds, first.asked) == (17.0, True)
    assert 0 < second.seconds <= 2 * FIRST_WAIT, "at least its own backoff"


@pytest.mark.parametrize(
    "failure", [Answer(500), Answer(502), Answer(503), Undelivered("Connection refused")]
)
def test_backoff_doubles_with_jitter_and_begins_anew_after_success(
    transport: MemoryTransport, failure: Any
) -> None:
    courier, pile = courier_of(transport, OPEN, block(1))
    transport.fail_next(*[failure] * 12)
    waits = [found.seconds for found in (courier.turn() for _ in range(12)) if isinstance(found, Wait)]
    assert len(waits) == 12
    for tries, wait in enumerate(waits):
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2**tries)
        assert longest / 2 <= wait <= longest
    turns(courier)
    transport.fail_next(failure)
    pile.records = [block(2)]
    again = courier.turn()
    assert isinstance(again, Wait)
    assert again.seconds <= FIRST_WAIT


def test_a_200_that_is_not_of_the_contract_delivers_nothing(transport: MemoryTransport) -> None:
    courier, pile = courier_of(transport, OPEN, block(1))
    transport.fail_next(Answer(200, {}))
    assert isinstance(courier.turn(), Wait)
    courier.turn()
    transport.fail_next(Answer(200, {"hello": "this is a login page"}))
    assert isinstance(courier.turn(), Wait)
    assert pile.acknowledged == 0
    turns(courier)
    assert steps(transport) == [1]


def test_a_server_that_always_says_404_is_not_hammered(transport: MemoryTransport) -> None:
    courier, _ = courier_of(transport, OPEN, block(1))
    courier.turn()
    transport.fail_next(
        Answer(404, {"error": "UnknownRun"}),
        Answer(200, {"run": "run-1"}),
        Answer(404, {"error": "UnknownRun"}),
    )
    assert courier.turn() is Found.SENT
    assert courier.turn() is Found.SENT
    assert isinstance(courier.turn(), Wait)


def test_a_block_whose_answer_was_lost_is_stored_once(transport: MemoryTransport) -> None:
    class Lossy(MemoryTransport):
        lose = True

        def exchange(self, request: Request, seconds: float = 15.0) -> Answer:
            answer = super().exchange(request, seconds)
            if self.lose and request.method == "POST":
                self.lose = False
                raise Undelivered("Connection reset by peer")
            return answer

    lossy = Lossy()
    courier, _ = courier_of(lossy, OPEN, block(1), block(2))
    turns(courier)
    assert steps(lossy) == [1, 2]
    assert sum("floor=1" in request.path for request in lossy.requests) == 2


def test_the_server_can_ask_for_a_pause(transport: MemoryTransport) -> None:
    courier, pile = courier_of(transport, OPEN, block(1))
    courier.turn()
    transport.fail_next(Answer(200, {"ack": 1, "actions": [], "alerts": [], "retry_after": 4.0}))
    assert courier.turn() == Wait(4.0, "the server asks to slow down", asked=True)
    assert pile.acknowledged == 1


def test_what_was_delivered_before_is_not_sent_again(transport: MemoryTransport) -> None:
    courier, _ = courier_of(transport, OPEN, FRAMES, block(1), block(2), block(3), delivered=2)
    turns(courier)
    assert steps(transport) == [3]


def test_closing_waits_no_longer_than_its_deadline(transport: MemoryTransport) -> None:
    courier, _ = courier_of(transport, OPEN, block(1), CLOSE)
    transport.fail_next(Answer(200, {"run": "run-1"}), *[Undelivered("no")] * 1000)
    sender = Sender(courier)
    sender.start()
    started = time.monotonic()
    assert not sender.close(started + 1.0)
    assert 0.8 < time.monotonic() - started < 5


def test_a_server_that_never_answered_is_not_waited_for_to_the_end(transport: MemoryTransport) -> None:
    courier, _ = courier_of(transport, OPEN, block(1), CLOSE)
    transport.fail_next(*[Undelivered("Connection refused")] * 1000)
    sender = Sender(courier)
    sender.start()
    started = time.monotonic()
    assert not sender.close(started + 30.0)
    assert time.monotonic() - started < 15


def test_the_thread_sends_what_comes_and_ends_when_all_is_delivered(
    transport: MemoryTransport, eventually: Callable[..., None]
) -> None:
    courier, pile = courier_of(transport, OPEN)
    sender = Sender(courier)
    sender.start()
    for seq in range(1, 4):
        pile.records = [block(seq)]
        sender.wake()
        eventually(lambda: courier.delivered == seq)  # noqa: B023 (called before the next turn of the loop)
    pile.records = [CLOSE]
    sender.wake()
    assert sender.close(time.monotonic() + 10)
    assert transport.ended["run-1", 2]["state"] == "finished"


@pytest.mark.usefixtures("lenient")
def test_a_fault_of_ours_does_not_end_the_thread_nor_make_it_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(MemoryTransport):
        calls = 0

        def exchange(self, request: Request, seconds: float = 15.0) -> Answer:
            self.calls += 1
            raise ZeroDivisionError

    broken = Broken()
    sender = Sender(courier_of(broken, OPEN)[0])
    sender.start()
    time.sleep(0.2)
    assert broken.calls == 1
    sender.close(time.monotonic() + 0.5)
