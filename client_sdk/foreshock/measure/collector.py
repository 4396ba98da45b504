"""Rows on a device in, rows on the host out: no call waits, memory is bounded, what is lost is counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Note = TypeVar("Note")
Row = NDArray[np.float32]


class Collector(Protocol[Note]):
    """Carries the rows of one device; the note travels beside the row on the host."""

    dropped: int  # readings

    def send(self, parts: Sequence[Tensor], note: Note, readings: int) -> bool:
        """Copy the parts, in order, as one row; False when it, and so many readings, had to be dropped."""

    def poll(self) -> list[tuple[Note, Row]]:
        """The rows that have arrived since the last call, oldest first."""

    def waiting(self) -> int:
        """How many rows are still under way."""


class HostCollector(Generic[Note]):
    """The collector of the CPU: a row has arrived when it was sent."""

    def __init__(self, most: int = 1024) -> None:
        self.dropped = 0
        self._arrived: deque[tuple[Note, Row]] = deque()
        self._most = most

    def send(self, parts: Sequence[Tensor], note: Note, readings: int) -> bool:
        if len(self._arrived) >= self._most:
            self.dropped += readings
            return False
        row = torch.cat(_flat(parts))
        values = row.numpy()  # sync: none, the tensor lives on the host and is ours alone
        self._arrived.append((note, values))
        return True

    def poll(self) -> list[tuple[Note, Row]]:
        arrived = list(self._arrived)
        self._arrived.clear()
        return arrived

    def waiting(self) -> int:
        return len(self._arrived)


class Event(Protocol):
    """A mark on a stream, as `torch.cuda.Event`."""

    def record(self, stream: Any) -> None: ...

    def query(self) -> bool: ...


class Primitives(Protocol):
    """What the ring needs of an accelerator; the tests bring a twin that finishes copies when told to."""

    def device_buffer(self, size: int) -> Tensor: ...

    def host_buffer(self, size: int) -> Tensor: ...

    def event(self) -> Event: ...

    def main_stream(self) -> Any: ...

    def copy_after(self, ready: Event, pairs: Sequence[tuple[Tensor, Tensor]], done: Event) -> None:
        """On the side stream: wait for ``ready``, copy each (host, device) pair in order, record ``done``."""

    def capturing(self) -> bool: ...


class _Slot(Generic[Note]):
    """One persistent device buffer and its pinned mirror; the last value is the stamp, which lands last."""

    def __init__(self, primitives: Primitives) -> None:
        self.ready, self.done = primitives.event(), primitives.event()
        self.device = primitives.device_buffer(0)
        self.host = primitives.host_buffer(0)
        self.stamp_device = primitives.device_buffer(1)
        self.stamp_host = primitives.host_buffer(1)
        self.note: Note | None = None
        self.size = 0
        self.readings = 0
        self.stamp = 0.0


class DeviceRing(Generic[Note]):
    """The collector of an accelerator: a ring of persistent slots, copied on a side stream, found done by asking.

    The side stream touches nothing but the slots, so no tensor of the user's is ever kept for it (`record_stream`).
    A slot still on its way when its turn comes again means that the row is dropped and counted; nobody waits.
    """

    STAMPS = 1 << 20  # exact in float32

    def __init__(self, primitives: Primitives, slots: int = 4) -> None:
        self.dropped = 0
        self._primitives = primitives
        self._slots: list[_Slot[Note]] = [_Slot(primitives) for _ in range(slots)]
        self._flying: deque[_Slot[Note]] = deque()
        self._sent = 0

    def send(self, parts: Sequence[Tensor], note: Note, readings: int) -> bool:
        size = sum(part.numel() for part in parts)
        slot = self._slots[self._sent % len(self._slots)]
        if slot.note is not None or self._primitives.capturing():  # emptied by poll() alone
            self.dropped += readings
            return False
        if slot.device.numel() < size:
            self._grow(1 << (size - 1).bit_length())
        self._sent += 1
        slot.note, slot.size, slot.readings = note, size, readings
        slot.stamp = float(self._sent % self.STAMPS)
        torch.cat(_flat(parts), out=slot.device[:size])
        slot.stamp_device.fill_(slot.stamp)
        slot.ready.record(self._primitives.main_stream())
        pairs = [(slot.host[:size], slot.device[:size]), (slot.stamp_host, slot.stamp_device)]
        self._primitives.copy_after(slot.ready, pairs, slot.done)
        self._flying.append(slot)
        return True

    def _grow(self, size: int) -> None:
        # Only between two steps and never under a copy on its way; all that are free at once, since making a pinned
        # buffer may wait for the device.
        for slot in self._slots:
            if slot.note is None and slot.device.numel() < size:
                slot.device = self._primitives.device_buffer(size)
                slot.host = self._primitives.host_buffer(size)

    def poll(self) -> list[tuple[Note, Row]]:
        arrived: list[tuple[Note, Row]] = []
        if self._primitives.capturing():  # asking an event would break the user's capture
            return arrived
        while self._flying and self._flying[0].done.query():  # oldest first: steps never go back
            slot = self._flying.popleft()
            note, slot.note = slot.note, None
            mirror = slot.host[: slot.size].numpy()  # sync: none left, the copy's event is done
            if float(slot.stamp_host[0]) != slot.stamp:  # sync: none left, the same event covers the stamp
                self.dropped += slot.readings  # the event lied: better no number than a wrong one
                continue
            if note is not None:
                arrived.append((note, mirror.copy()))
        return arrived

    def waiting(self) -> int:
        return len(self._flying)


def _flat(parts: Sequence[Tensor]) -> list[Tensor]:
    """One-dimensional, which nearly all are already: reshaping would cost more than the copy."""
    return [part if part.dim() == 1 else part.reshape(-1) for part in parts]
