"""Sites that recorded in a step in; their readings as rows of frames, once they have reached the host, out.

Every frame is described to the server once, series by series, and under a budget hardly a step records what another did: so the
sites of one turn are a frame, and a set of several turns becomes one only when it has come again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foreshock.series import FrameSpec

from .collector import Collector, DeviceRing, HostCollector
from .finish import StepRow
from .site import Site
from .turns import Turn

AGAIN = 3  # a set of several turns is a frame from this showing on
FRAMES = 256  # distinct sets of sites; beyond that a site is a frame of its own
SERIES = 50_000  # described in frames of several sites; beyond that the same
SETS = 4096  # that may be waiting to come again


@dataclass(frozen=True)
class _Note:
    step: int
    time: float
    frames: tuple[FrameSpec, ...]  # in the order of the values


class Assembly:
    """One copy per device and step, and one FrameSpec per set of sites that records together."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, ...], tuple[FrameSpec, ...]] = {}
        self._described = 0  # series in them
        self._shown: Counter[tuple[int, ...]] = Counter()  # sets of several turns that are no frame yet
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
        for device, some in by_device.items():
            if device not in self._collectors:
                self._collectors[device] = new_collector(device)
            turns = _by_turn(some)
            sites = [site for one in turns for site in one]
            frames = self._framed(sites, turns)
            readings = sum(len(frame.series) for frame in frames)
            self._collectors[device].send([site.row for site in sites], _Note(step, time, frames), readings)

    def arrived(self) -> list[StepRow]:
        """The rows that have reached the host since the last call."""
        rows = []
        for collector in self._collectors.values():
            for note, values in collector.poll():
                start = 0
                for frame in note.frames:
                    end = start + len(frame.series)
                    rows.append(StepRow(note.step, note.time, frame, values[start:end]))
                    start = end
        return rows

    def waiting(self) -> int:
        """How many copies are under way."""
        return sum(collector.waiting() for collector in self._collectors.values())

    def _framed(self, sites: Sequence[Site], turns: Sequence[Sequence[Site]]) -> tuple[FrameSpec, ...]:
        """The frame of these sites; else those of their turns, or of each."""
        key = tuple(site.index for site in sites)
        frames = self._frames.get(key)
        if frames is None:
            if not self._worth(key, len(turns)):
                parts = turns if len(turns) > 1 else [[site] for site in sites]
                return tuple(frame for part in parts for frame in self._framed(part, [part]))
            frames = self._frames[key] = tuple(
                FrameSpec(tuple(spec for site in some for spec in site.specs)) for some in _apart(sites)
            )
            self._described += sum(len(frame.series) for frame in frames)
        return frames

    def _worth(self, key: tuple[int, ...], turns: int) -> bool:
        """Counts this showing; True when the set is to be a frame."""
        if len(key) == 1:
            return True
        if len(self._frames) >= FRAMES or self._described >= SERIES:
            return False
        if turns == 1:
            return True
        if len(self._shown) >= SETS:
            self._shown.clear()
        self._shown[key] += 1
        return self._shown[key] >= AGAIN


def _by_turn(sites: Sequence[Site]) -> list[list[Site]]:
    """The sites of each turn together, in the order of their first ones."""
    turns: dict[Turn, list[Site]] = {}
    for site in sites:
        turns.setdefault(site.turn, []).append(site)
    return list(turns.values())


def _apart(sites: Sequence[Site]) -> list[list[Site]]:
    """The sites in their order, in as few groups as keep each name once: a frame that names one twice is refused as a whole."""
    groups: list[list[Site]] = []
    seen: set[str] = set()
    for site in sites:
        own = {spec.key for spec in site.specs}
        if not groups or own & seen:
            groups.append([])
            seen = set()
        groups[-1].append(site)
        seen |= own
    return groups


def new_collector(device: torch.device, slots: int = 4) -> Collector[Any]:
    """The collector for rows that are made on this device."""
    if device.type != "cuda":
        return HostCollector()
    from .cuda import CudaPrimitives  # needs a device to exist

    return DeviceRing(CudaPrimitives(device), slots)
