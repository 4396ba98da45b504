"""Sites that recorded in a step in; their readings as rows of a frame, once they have reached the host, out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foreshock.series import FrameSpec

from .collector import Collector, DeviceRing, HostCollector
from .finish import StepRow
from .site import Site

FRAMES = 64  # distinct sets of sites; beyond that a site is a frame of its own


@dataclass(frozen=True)
class _Note:
    step: int
    time: float
    frame: FrameSpec


class Assembly:
    """One row per device and step, and one FrameSpec per set of sites that recorded together."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, ...], FrameSpec] = {}
        self._collectors: dict[torch.device, Collector[_Note]] = {}

    @property
    def dropped(self) -> int:
        """Readings lost on the way from the device."""
        return sum(collector.dropped for collector in self._collectors.values())

    def send(self, recorded: Iterable[Site], step: int, time: float) -> None:
        """Copy what these sites hold and send it on its way; a device that is behind loses it."""
        by_device: dict[torch.device, list[Site]] = {}
        for site in sorted(recorded, key=lambda site: site.index):
            by_device.setdefault(site.row.device, []).append(site)
        for device, sites in by_device.items():
            if device not in self._collectors:
                self._collectors[device] = new_collector(device)
            for frame, together in self._framed(sites):
                note = _Note(step, time, frame)
                self._collectors[device].send([site.row for site in together], note, len(frame.series))

    def arrived(self) -> list[StepRow]:
        """The rows that have reached the host since the last call."""
        return [
            StepRow(note.step, note.time, note.frame, values)
            for collector in self._collectors.values()
            for note, values in collector.poll()
        ]

    def waiting(self) -> int:
        """How many rows are under way."""
        return sum(collector.waiting() for collector in self._collectors.values())

    def _framed(self, sites: Sequence[Site]) -> list[tuple[FrameSpec, Sequence[Site]]]:
        key = tuple(site.index for site in sites)
        frame = self._frames.get(key)
        if frame is None:
            if len(self._frames) >= FRAMES and len(sites) > 1:
                return [pair for site in sites for pair in self._framed([site])]
            frame = self._frames[key] = FrameSpec(tuple(spec for site in sites for spec in site.specs))
        return [(frame, sites)]


def new_collector(device: torch.device, slots: int = 4) -> Collector[Any]:
    """The collector for rows that are made on this device."""
    if device.type != "cuda":
        return HostCollector()
    from .cuda import CudaPrimitives  # needs a device to exist

    return DeviceRing(CudaPrimitives(device), slots)
