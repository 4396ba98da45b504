"""Matrices of the open step in; rows that a worker finishes with eigenvalues out. Bounded in bytes and in host time."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from foreshock.series import FrameSpec

from .collector import Collector
from .finish import StepRow, Unsolved
from .problems.problem import Problem
from .site import Clock

PACKET = (
    4096 * 4096 + 2 * 4096 + 4
)  # values per device and step: one matrix of 4096 columns, or many small ones
BACKLOG = 2 * PACKET  # values that wait for the worker; beyond it nothing new is sent
SHARE = 0.05  # of the wall time, that the worker may spend on eigenvalues where it has a core to itself
GRACE = 2.0  # seconds it may spend before that share is looked at


@dataclass(eq=False)
class Source:
    """A place whose matrices want finishing."""

    kind: str
    guest: bool = False  # has no turn: takes the room that is left when it is offered
    size: int = 0  # values of its last payload; 0 before the first
    served: int = -1  # the opened step in which it was last sent


@dataclass(frozen=True)
class _Offered:
    payload: Tensor
    problem: Problem
    frame: FrameSpec  # what finishing yields


@dataclass(frozen=True)
class _Note:
    step: int
    time: float
    parts: tuple[tuple[FrameSpec, Problem], ...]


@dataclass
class Spectra:
    """Which places may send their matrix in the open step: those that have waited longest, as many as fit."""

    clock: Clock
    new_collector: Callable[[torch.device], Collector[_Note]]
    now: Callable[[], float] = time.perf_counter
    skipped: int = 0  # matrices not sent for want of room
    wanted: bool = True  # False: this rank's rows are of the kind that another rank's are
    share: float = SHARE  # less, where the worker takes its time from the training
    _sources: list[Source] = field(default_factory=list)
    _chosen: set[Source] = field(default_factory=set)
    _room: int = PACKET
    _held: dict[Source, _Offered] = field(default_factory=dict)
    _collectors: dict[torch.device, Collector[_Note]] = field(default_factory=dict)
    _waiting: weakref.WeakSet[Unsolved] = field(default_factory=weakref.WeakSet)
    _spent: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.now()

    @property
    def dropped(self) -> int:
        """Readings lost on the way from the device."""
        return sum(collector.dropped for collector in self._collectors.values())

    def source(self, kind: str, *, guest: bool = False) -> Source:
        """A new place; it takes part from the open step on."""
        source = Source(kind, guest)
        if guest:
            return source
        self._sources.append(source)
        self._chosen.add(source)
        return source

    def offer(
        self,
        source: Source,
        problem: Problem,
        frame: FrameSpec,
        payload: Callable[[], Tensor],
        *,
        alone: bool = False,
    ) -> bool:
        """Keep the payload until the step closes, if it is this source's turn; it is not made where it is not.

        ``alone``: no other rank has such columns, so it is wanted of this one too.
        """
        if not (self.wanted or alone):
            return False
        source.size = problem.size
        turn = source.guest or source in self._chosen
        if source not in self._held and (not turn or problem.size > self._room):
            self.skipped += 1
            return False
        if source not in self._held:
            self._room -= problem.size
        source.served = self.clock.opened
        self._held[source] = _Offered(payload(), problem, frame)
        return True

    def close_step(self, step: int, at: float) -> None:
        """Send what was kept, one packet per device, and choose whose turn it is next; call once the clock has advanced."""
        by_device: dict[torch.device, list[_Offered]] = {}
        for offered in self._held.values():
            by_device.setdefault(offered.payload.device, []).append(offered)
        for device, together in by_device.items():
            if device not in self._collectors:
                self._collectors[device] = self.new_collector(device)
            parts = tuple((offered.frame, offered.problem) for offered in together)
            readings = sum(len(frame.series) for frame, _ in parts)
            payloads = [offered.payload for offered in together]
            self._collectors[device].send(payloads, _Note(step, at, parts), readings)
        self._held.clear()
        self._choose([source for source in self._sources if self.clock.due(source.kind)])

    def arrived(self) -> list[StepRow]:
        """Rows of the matrices that have reached the host, oldest first."""
        rows = []
        for collector in self._collectors.values():
            for note, values in collector.poll():
                start = 0
                for frame, problem in note.parts:
                    payload = values[start : start + problem.size]  # a view: the packet is ours alone
                    start += problem.size
                    unsolved = Unsolved(payload, problem, self._account)
                    self._waiting.add(unsolved)
                    empty = np.full(len(frame.series), np.nan, np.float32)
                    rows.append(StepRow(note.step, note.time, frame, empty, (unsolved,)))
        return rows

    def waiting(self) -> int:
        """Packets still under way."""
        return sum(collector.waiting() for collector in self._collectors.values())

    def _choose(self, due: list[Source]) -> None:
        if not self._sources:
            return
        backlog = sum(unsolved.payload.size for unsolved in self._waiting)
        grace = GRACE * self.share / SHARE
        behind = self._spent > grace + self.share * (self.now() - self._began)
        self._room = room = 0 if behind or backlog > BACKLOG else PACKET
        self._chosen.clear()
        for source in sorted(due, key=lambda source: source.served):
            if source.size <= room:
                self._chosen.add(source)
                room -= source.size
                self._sources.remove(
                    source
                )  # to the end of the queue: of equally old ones the first chosen goes first
                self._sources.append(source)

    def _account(self, seconds: float) -> None:
        self._spent += seconds
