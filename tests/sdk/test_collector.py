"""The ring: it never waits, its memory is bounded, what is lost is counted, and what arrives is what was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foreshock.measure.collector import DeviceRing, HostCollector

torch.set_num_threads(1)


@dataclass
class Copy:
    """A copy that the side stream was asked for, and that happens when the test says so."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    done: Mark
    landed: bool = False


@dataclass
class Mark:
    """An event on a stream: `query` is all that the ring may ask; there is no way to wait for it."""

    passed: bool = True
    asked: int = 0

    def record(self, stream: object) -> None:
        assert stream == "main"
        self.passed = True

    def query(self) -> bool:
        self.asked += 1
        return self.passed


@dataclass
class SlowDevice:
    """Primitives whose copies finish on demand, in any order; memory and questions are counted."""

    copies: list[Copy] = field(default_factory=list)
    values: int = 0
    buffers: int = 0
    is_capturing: bool = False

    def device_buffer(self, size: int) -> Tensor:
        self.values += size
        self.buffers += 1
        return torch.full((size,), -1.0)

    def host_buffer(self, size: int) -> Tensor:
        return self.device_buffer(size)

    def event(self) -> Mark:
        return Mark()

    def main_stream(self) -> str:
        return "main"

    def copy_after(self, ready: Mark, pairs: Sequence[tuple[Tensor, Tensor]], done: Mark) -> None:
        assert ready.passed
        done.passed = False
        self.copies.append(Copy(pairs, done))

    def capturing(self) -> bool:
        return self.is_capturing

    def finish(self, *which: int) -> None:
        """Let these copies land; all that are left when none is named."""
        for index in which or range(len(self.copies)):
            copy = self.copies[index]
            if not copy.landed:
                for host, device in copy.pairs:
                    host.copy_(device)
            copy.landed = copy.done.passed = True


def row(step: int, size: int = 3) -> list[Tensor]:
    return [torch.full((size - 1,), float(step)), torch.tensor([step + 0.5])]


def arrived(ring: DeviceRing[int]) -> dict[int, list[float]]:
    return {note: values.tolist() for note, values in ring.poll()}


def test_a_row_arrives_once_its_copy_is_done_and_not_before() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device)
    assert ring.send(row(7), 7, readings=3)
    assert arrived(ring) == {}
    assert ring.waiting() == 1
    device.finish()
    assert arrived(ring) == {7: [7.0, 7.0, 7.5]}
    assert (arrived(ring), ring.waiting(), ring.dropped) == ({}, 0, 0)


def test_parts_may_change_as_soon_as_they_are_sent() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device)
    parts = row(1)
    ring.send(parts, 1, readings=3)
    parts[0].fill_(99.0)
    device.finish()
    assert arrived(ring) == {1: [1.0, 1.0, 1.5]}


def test_a_full_ring_drops_the_new_row_and_counts_its_readings() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=4)
    kept = [ring.send(row(step), step, readings=3) for step in range(6)]
    assert kept == [True] * 4 + [False] * 2
    assert ring.dropped == 6
    device.finish()
    assert list(arrived(ring)) == [0, 1, 2, 3]
    assert ring.send(row(6), 6, readings=3)


def test_a_copy_that_never_completes_costs_drops_and_no_memory() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=4)
    for step in range(8):
        ring.send(row(step), step, readings=3)
        ring.poll()
    held = (device.values, device.buffers)
    for step in range(8, 1000):
        ring.send(row(step), step, readings=3)
        ring.poll()
    assert (device.values, device.buffers) == held
    assert len(device.copies) == 4
    assert ring.dropped == 3 * (1000 - 4)


def test_copies_that_complete_out_of_order_are_handed_on_in_order() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device)
    for step in range(3):
        ring.send(row(step), step, readings=3)
    device.finish(1, 2)
    assert arrived(ring) == {}
    device.finish(0)
    assert list(arrived(ring)) == [0, 1, 2]


def test_a_slot_is_never_written_while_its_copy_is_on_the_way() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=2)
    sent, got = [], {}
    for step in range(40):
        if ring.send(row(step), step, readings=3):
            sent.append(step)
        if step % 3 == 2:
            device.finish()
        got.update(arrived(ring))
    device.finish()
    got.update(arrived(ring))
    assert got == {step: [float(step), float(step), step + 0.5] for step in sent}
    assert ring.dropped == 3 * (40 - len(sent))
    assert 0 < len(sent) < 40


def test_rows_of_many_lengths_grow_the_slots_and_only_by_new_buffers() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=2)
    for step, size in enumerate((3, 2, 700, 5, 40, 700)):
        assert ring.send(row(step, size), step, readings=size)
        device.finish()
        assert {note: len(values) for note, values in arrived(ring).items()} == {step: size}
    assert device.values < 4 * 2 * 1024 + 100


def test_what_was_handed_on_does_not_change_when_its_slot_is_used_again() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=1)
    ring.send(row(1), 1, readings=3)
    device.finish()
    ((_, first),) = ring.poll()
    ring.send(row(2), 2, readings=3)
    device.finish()
    ring.poll()
    assert first.tolist() == [1.0, 1.0, 1.5]


def test_during_a_stream_capture_no_event_is_asked_and_nothing_is_sent() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device)
    ring.send(row(1), 1, readings=3)
    device.finish()
    device.is_capturing = True
    asked = sum(copy.done.asked for copy in device.copies)
    assert arrived(ring) == {}
    assert not ring.send(row(2), 2, readings=3)
    assert sum(copy.done.asked for copy in device.copies) == asked
    assert ring.dropped == 3
    device.is_capturing = False
    assert list(arrived(ring)) == [1]


def test_an_event_that_lies_costs_the_row_and_never_hands_on_a_wrong_one() -> None:
    device = SlowDevice()
    ring: DeviceRing[int] = DeviceRing(device, slots=1)
    ring.send(row(1), 1, readings=3)
    device.finish()
    ring.poll()
    ring.send(row(2), 2, readings=3)
    device.copies[-1].done.passed = True  # said to be done, but nothing has landed
    assert arrived(ring) == {}
    assert ring.dropped == 3


def test_the_host_collector_hands_on_at_once_what_it_copied() -> None:
    collector: HostCollector[int] = HostCollector(most=2)
    parts = row(1)
    assert collector.send(parts, 1, readings=3)
    parts[0].fill_(99.0)
    assert collector.send(row(2), 2, readings=3)
    assert not collector.send(row(3), 3, readings=3)
    assert {note: values.tolist() for note, values in collector.poll()} == {1: [1, 1, 1.5], 2: [2, 2, 2.5]}
    assert (collector.waiting(), collector.dropped) == (0, 3)
