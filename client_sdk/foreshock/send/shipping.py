"""A spool left by any process, living or dead -> the server: what `foreshock sync` does, one folder at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foreshock.guard import say_once
from foreshock.record.wire import MEDIA_TYPE, pack_block, unpack_block
from foreshock.spool.folder import Folder, Reader
from foreshock.spool.segment import Kind, Record, readings_of

from .courier import Courier, Found, Wait
from .transport import Request, Transport, Undelivered


@dataclass(frozen=True)
class Shipment:
    """What became of one folder."""

    run: str
    writer: str  # attempt-writer
    blocks: int  # sent now
    readings: int  # in them
    left: int  # readings that still wait
    refused: int  # blocks in rejected/, now or from before
    damaged: int  # readings that could not be read
    note: str  # for people: why something is left, or how the writer stands

    @property
    def complete(self) -> bool:
        """Nothing waits and nothing was refused."""
        return self.left == 0 and self.refused == 0


class FolderSource:
    """A folder as the courier wants it. What was delivered is written down beside the records."""

    def __init__(self, folder: Folder, *, complete: bool) -> None:
        self._folder = folder
        self._reader = Reader(folder)
        self._complete = complete
        self.last: Record | None = None  # the newest block

    @property
    def damaged(self) -> int:
        """Readings that could not be read."""
        return self._reader.damaged

    def read(self) -> list[Record]:
        records = self._reader.read(complete=self._complete)
        self.last = next((record for record in reversed(records) if record.kind is Kind.BLOCK), self.last)
        return records

    def acknowledge(self, seq: int) -> None:
        try:
            self._folder.acknowledge(seq)
        except OSError as error:
            say_once(
                "acknowledge", "what was delivered cannot be written down (%s); it may be sent again", error
            )

    def refuse(self, record: Record, reason: Mapping[str, Any]) -> str:
        return str(self._folder.refuse(record, reason))


def ship(
    folder: Folder,
    transport: Transport,
    *,
    patience: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Shipment:
    """Send everything that waits, giving up after so many seconds without progress; remove what is delivered and done with."""
    abandoned = folder.lock()  # nobody holds it: the process that wrote here is gone
    try:
        source = FolderSource(folder, complete=abandoned)
        run, writer = folder.label
        courier = Courier(run, source, transport, delivered=folder.acknowledged)
        stuck = _send_all(courier, patience, sleep, clock)
        left = _left(folder, courier.delivered, abandoned) if stuck else 0
        if abandoned and not stuck:
            _account_for(source, run, transport)
        note = stuck or (
            "deleted at the server"
            if courier.gone
            else ""
            if courier.closed
            else "ended without finish"
            if abandoned
            else "still running"
        )
        if (abandoned or courier.closed) and not stuck:
            try:
                folder.discard()
            except OSError as error:
                note = f"delivered; its files cannot be removed ({error.strerror})"
        return Shipment(
            run, writer, courier.blocks, courier.readings, left, len(folder.refused()), source.damaged, note
        )
    finally:
        folder.unlock()


def meant_for(folder: Folder) -> str | None:
    """The address of the server that the run was begun with."""
    reader = Reader(folder)
    while records := reader.read(complete=True):
        for record in records:
            if record.kind is Kind.OPEN:
                return str(json.loads(record.payload)["url"])
    return None


def _send_all(
    courier: Courier, patience: float, sleep: Callable[[float], None], clock: Callable[[], float]
) -> str:
    """Turn the courier until it has nothing more; why it stopped before, or an empty string."""
    moved_at = clock()
    while True:
        found = courier.turn()
        if isinstance(found, Wait):
            if clock() - moved_at + found.seconds > patience:
                return found.reason
            sleep(found.seconds)
        elif found is Found.SENT:
            moved_at = clock()
        else:
            return ""


def _left(folder: Folder, delivered: int, complete: bool) -> int:
    """Readings beyond what was delivered."""
    reader, left = Reader(folder), 0
    while records := reader.read(complete=complete):
        left += readings_of(records, delivered)
    return left


def _account_for(source: FolderSource, run: str, transport: Transport) -> None:
    """Tell the server what was damaged: the process that would have said so with its next block is gone."""
    if source.damaged == 0 or source.last is None:
        return
    newest = unpack_block(source.last.payload)
    lost = dict(newest.get("lost") or {})
    lost["spool damaged"] = lost.get("spool damaged", 0) + source.damaged
    body = pack_block(
        attempt=newest["attempt"],
        writer=newest["writer"],
        seq=newest["seq"] + 1,
        frames=[],
        rows=[],
        lost=lost,
        cost=newest.get("cost") or {},
    )
    path = f"/api/v1/runs/{run}/blocks?floor={newest['seq'] + 1}"
    try:
        transport.exchange(Request("POST", path, body, MEDIA_TYPE))
    except Undelivered as error:
        say_once("account", "the server was not told of %d damaged readings (%s)", source.damaged, error)
