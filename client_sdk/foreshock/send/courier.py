"""Records -> requests, in order, once each as far as anyone can see; every answer of the contract has its consequence here."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Protocol

from foreshock.guard import log, say_once
from foreshock.record.wire import MEDIA_TYPE, pack_list, unpack_frames, with_all_frames, without_axes
from foreshock.spool.segment import Kind, Record

from .transport import REQUEST_SECONDS, Answer, Request, Transport, Undelivered

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
RARELY = 60.0  # between tries when a person must act first
LONGEST_RETRY_AFTER = 3600.0
MOST_BLOCKS = 64  # in one request, as the contract has it
BATCH_BYTES = (
    2**20
)  # of several blocks in one request: beyond it a request costs the server no less per block


class Source(Protocol):
    """Where records come from."""

    def read(self) -> list[Record]:
        """Records that were not read before, oldest first."""

    def acknowledge(self, seq: int) -> None:
        """The server has this block and all before it."""

    def refuse(self, record: Record, reason: Mapping[str, Any]) -> str:
        """The server will never take this block; returns where it is kept."""


class Backoff:
    """Doubling waits with jitter, so that a thousand trainers do not return in the same second."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # its own: the training's generators are not ours to advance
        self._tries = 0

    def wait(self) -> float:
        """Seconds until the next try."""
        longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2**self._tries)
        self._tries = min(self._tries + 1, 10)
        return longest * self._rng.uniform(0.5, 1.0)

    def succeeded(self) -> None:
        """The next failure waits briefly again."""
        self._tries = 0


class Found(Enum):
    """What a turn of the courier came to."""

    SENT = "sent"  # there may be more at once
    NOTHING = "nothing"  # all that was recorded is delivered
    CLOSED = "closed"  # and nothing more will come


@dataclass(frozen=True)
class Wait:
    """Nothing was delivered; try again after these seconds."""

    seconds: float
    reason: str
    asked: bool = False  # the server named the time


class Courier:
    """Takes record after record to the server, several blocks at a time when more wait. No thread and no sleeping here: it says how
    long to wait."""

    def __init__(
        self,
        run: str,
        source: Source,
        transport: Transport,
        *,
        on_answer: Callable[[Mapping[str, Any]], None] = lambda body: None,
        delivered: int = 0,
        backoff: Backoff | None = None,
    ) -> None:
        self.run = run
        self.delivered = delivered  # highest seq that the server has, or that is lost
        self.blocks = 0
        self.readings = 0
        self.refused = 0
        self.answered = False  # did the server ever answer?
        self.page: str | None = None  # where people see the run
        self.hushed = False  # the run has ended: whoever ended it says how things stand
        self._source = source
        self._transport = transport
        self._on_answer = on_answer
        self._backoff = backoff or Backoff()
        self._waiting: deque[Record] = deque()
        self._frames: dict[int, dict[str, Any]] = {}
        self._opening: bytes | None = None  # what to tell the server about the run; None: it was told
        self._vectors = False  # does the server know vectors? It says so when the run is opened
        self._lists = False  # does it take several blocks in one request?
        self._singly = 0  # up to this block one at a time: a list with them was not taken
        self._open: bytes | None = None
        self._close: bytes | None = None
        self.closed = False  # everything arrived and the attempt is closed
        self.gone = False  # somebody deleted the run at the server
        self._reopened = 0  # the block for which the run was opened again
        self._silent = False

    def turn(self, seconds: float = REQUEST_SECONDS) -> Found | Wait:
        """Deliver at most one thing, waiting for its answer at most these seconds."""
        block = self._next_block()
        try:
            if self._opening is not None:
                return self._settle(self._send_open(self._opening, seconds), None)
            if block is not None:
                blocks = self._batch(block)
                if len(blocks) > 1:
                    return self._settle_batch(self._send_batch(blocks, seconds), blocks)
                return self._settle(self._send_block(block, block.payload, seconds), block)
            if self._close is not None and not self.closed:
                return self._settle(self._send_close(self._close, seconds), None)
        except Undelivered as error:
            return self._no_answer(str(error))
        return Found.CLOSED if self.closed else Found.NOTHING

    # -- what comes next ----------------------------------------------------------------------------------------

    def _next_block(self) -> Record | None:
        """The next block to send; what describes blocks is taken in on the way."""
        while True:
            if not self._waiting:
                self._waiting.extend(self._source.read())
                if not self._waiting:
                    return None
            record = self._waiting[0]
            if record.kind is Kind.BLOCK and record.seq > self.delivered:
                return record
            self._waiting.popleft()
            if record.kind is Kind.OPEN and record.payload != self._open:
                self._open = self._opening = record.payload
            elif record.kind is Kind.FRAMES:
                self._frames.update(unpack_frames(record.payload))
            elif record.kind is Kind.CLOSE:
                self._close = record.payload

    def _batch(self, first: Record) -> list[Record]:
        """The next block and those behind it that fit into one request; `first` is where `_waiting` begins."""
        blocks, size = [first], len(first.payload)
        if not (self._lists and self._vectors) or first.seq <= self._singly:
            return blocks
        for record in islice(self._waiting, 1, None):
            if record.kind is Kind.FRAMES:
                continue  # taken in when its turn comes; the block that needs them carries them
            size += len(record.payload)
            if record.kind is not Kind.BLOCK or size > BATCH_BYTES or len(blocks) == MOST_BLOCKS:
                break
            blocks.append(record)
        return blocks

    def _send_open(self, opening: bytes, seconds: float) -> Answer:
        body = json.dumps(json.loads(opening)["body"]).encode()
        answer = self._transport.exchange(Request("PUT", f"/api/v1/runs/{self.run}", body), seconds)
        if answer.status == 200 and "run" in answer.body:
            self._opening = None
            self.page = str(answer.body.get("url") or "") or None
            understands = answer.body.get("understands") or ()
            self._vectors, self._lists = "axis" in understands, "lists" in understands
        return answer

    def _send_block(self, block: Record, payload: bytes, seconds: float) -> Answer:
        # Blocks go in order, one at a time: nothing below this one will come again, and the server may know it.
        path = f"/api/v1/runs/{self.run}/blocks?floor={block.seq}"
        if not self._vectors:
            payload = without_axes(payload)
        return self._transport.exchange(Request("POST", path, payload, MEDIA_TYPE, checked=True), seconds)

    def _send_batch(self, blocks: Sequence[Record], seconds: float) -> Answer:
        path = f"/api/v1/runs/{self.run}/blocks?floor={blocks[0].seq}"
        payload = pack_list([block.payload for block in blocks])
        return self._transport.exchange(Request("POST", path, payload, MEDIA_TYPE, checked=True), seconds)

    def _send_close(self, close: bytes, seconds: float) -> Answer:
        told = json.loads(close)
        path = f"/api/v1/runs/{self.run}/attempts/{told['attempt']}/finish"
        answer = self._transport.exchange(Request("POST", path, json.dumps(told["body"]).encode()), seconds)
        self.closed = answer.status == 200 and "run" in answer.body
        return answer

    # -- what the answer means ----------------------------------------------------------------------------------

    def _settle(self, answer: Answer, block: Record | None) -> Found | Wait:
        status = answer.status
        self.answered = True
        if answer.body.get("error") == "UnknownRun" and self._may_reopen(block):
            self._opening = self._open  # a server that never heard of the run, or lost it
            return Found.SENT
        if status == 410 and answer.body.get("error") == "RunDeleted":
            return self._unwanted(block)
        if status == 409 and block is not None and answer.body.get("error") == "UnknownFrame":
            whole = with_all_frames(block.payload, self._frames)
            answer = self._send_block(block, whole, REQUEST_SECONDS)
            status = (
                422 if answer.status == 409 else answer.status
            )  # with its frames and still unknown: it never will be
        if status == 200 and ("ack" if block else "run") in answer.body:
            return self._sent(answer, block)
        if block is not None and status in (413, 422):
            return self._refuse(block, answer)
        return self._later(answer)

    def _settle_batch(self, answer: Answer, blocks: Sequence[Record]) -> Found | Wait:
        self.answered = True
        if answer.status == 200 and "ack" in answer.body:
            for block in blocks[:-1]:
                self._count(block)
            return self._sent(answer, blocks[-1])
        if _passes(answer):
            return self._later(answer)
        self._singly = blocks[-1].seq  # one of them is bad, or all are: each is answered for itself
        return Found.SENT

    def _may_reopen(self, block: Record | None) -> bool:
        seq = block.seq if block is not None else self.delivered + 1
        if self._open is None or self._opening is not None or self._reopened == seq:
            return False
        self._reopened = seq
        return True

    def _sent(self, answer: Answer, block: Record | None) -> Found | Wait:
        self._backoff.succeeded()
        if self._silent:
            self._silent = False
            log.info("foreshock: the server answers again; what waited is being delivered")
        if block is not None:
            self._forget(block)
            self._count(block)
            self._on_answer(answer.body)
            pause = answer.body.get("retry_after")
            if isinstance(pause, (int, float)) and pause > 0:
                return Wait(
                    min(float(pause), LONGEST_RETRY_AFTER), "the server asks to slow down", asked=True
                )
        return Found.SENT

    def _unwanted(self, block: Record | None) -> Found:
        """Somebody deleted the run: nothing of it is kept any more, neither there nor, filling the disk, here."""
        self.gone = True
        self._say(
            ("gone", self.run),
            "run %s was deleted at the server. Training goes on; from here on its readings are kept nowhere",
            self.run,
        )
        if block is not None and self._opening is None:
            self._forget(block)
        elif self._opening is not None:
            self._opening = None
        else:
            self.closed = True
        return Found.SENT

    def _count(self, block: Record) -> None:
        self.blocks += 1
        self.readings += block.readings

    def _forget(self, block: Record) -> None:
        """Done with this block, and with the blocks before it that went along."""
        while (record := self._waiting.popleft()) is not block:
            if record.kind is Kind.FRAMES:
                self._frames.update(unpack_frames(record.payload))
        self.delivered = block.seq
        self._source.acknowledge(block.seq)

    def _refuse(self, block: Record, answer: Answer) -> Found:
        where = self._source.refuse(block, {"status": answer.status, **answer.body})
        self.refused += 1
        self._forget(block)
        self._say(
            ("refused", self.run, answer.status),
            "the server refused a block (%d %s); it is kept in %s, and the readings count as lost",
            answer.status,
            answer.body.get("detail") or answer.body.get("error") or "without a reason",
            where,
        )
        return Found.SENT

    def _later(self, answer: Answer) -> Wait:
        status, said = (
            answer.status,
            answer.body.get("detail") or answer.body.get("error") or "no reason given",
        )
        if _passes(answer):
            wait = max(self._backoff.wait(), min(answer.retry_after or 0.0, LONGEST_RETRY_AFTER))
            return self._quiet(
                wait, f"the server answers {status} ({said})", asked=answer.retry_after is not None
            )
        if status in (401, 403):
            wants = "wants another key" if status == 401 else "does not let this key do that"
            reason = (
                f"the server {wants} ({status}, {said}): set FORESHOCK_API_KEY to a key with the scope ingest for the"
                " project of this run (whoever runs the server makes one with `foreshock keys create`); a run that has"
                " begun keeps its key, so start it again, or run `foreshock sync` with the new one"
            )
        else:
            reason = (
                f"the server answers {status} ({said}): is FORESHOCK_URL the address of a Foreshock server?"
            )
        self._say(("act", self.run, status), "%s. Training goes on, readings wait in the spool", reason)
        return Wait(max(RARELY, answer.retry_after or 0.0), reason)

    def _say(self, subject: object, sentence: str, *values: object) -> None:
        if not self.hushed:
            say_once(subject, sentence, *values)

    def _no_answer(self, reason: str) -> Wait:
        return self._quiet(self._backoff.wait(), f"the server does not answer ({reason})")

    def _quiet(self, seconds: float, reason: str, *, asked: bool = False) -> Wait:
        self._silent = True
        self._say(
            ("silent", self.run),
            "%s. Training goes on; readings wait in the spool and are sent when it is back",
            reason,
        )
        return Wait(seconds, reason, asked)


def _passes(answer: Answer) -> bool:
    """Whether the same again may be taken later: the server is busy or broken, or what arrived was not what was sent."""
    busy = answer.status in (429, 503) or answer.status >= 500
    return busy or answer.body.get("error") == "DamagedBlock"
