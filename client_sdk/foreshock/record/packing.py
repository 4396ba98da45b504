"""Rows -> the records of a block: frames numbered, what the monitor itself cost measured beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foreshock.guard import faults
from foreshock.losses import Losses
from foreshock.series import FrameSpec
from foreshock.spool.segment import Kind, Record

from . import monitor
from .blocks import Groups, HostFrames
from .wire import FrameNumbers, Values, pack_block, pack_frames

if TYPE_CHECKING:
    from foreshock.measure.finish import StepRow


class HostRow(NamedTuple):
    """One closed step as the training loop saw it."""

    step: int
    time: float
    logged: Mapping[str, Any]  # name -> a number of Python or numpy
    wall_seconds: float  # since the first step was closed
    training_seconds: float  # ours, on the training thread, in that time
    vectors: Mapping[str, NDArray[np.float64]] = {}  # name -> its entries; immutable by agreement


@dataclass(frozen=True)
class Writer:
    """Who records: one process of one attempt."""

    attempt: int
    name: str  # r<rank>-<random>
    labels: tuple[tuple[str, str], ...] = ()  # on every series of this process


class Packer:
    """Gathers rows until they are packed. Used by the recorder's thread alone."""

    def __init__(
        self,
        writer: Writer,
        losses: Losses,
        *,
        device_drops: Callable[[], int] = lambda: 0,
        other_seconds: Callable[[], float] = lambda: 0.0,
        gauges: Callable[[], monitor.Gauges] = monitor.Gauges,
        queued: Callable[[], int] = lambda: 0,
    ) -> None:
        self.seq = 0
        self.packed = 0  # readings in the blocks so far
        self._writer = writer
        self._losses = losses
        self._device_drops = device_drops
        self._device_drops_counted = 0
        self._other_seconds = other_seconds  # CPU time of our other threads and processes
        self._gauges = gauges
        self._queued = queued  # bytes that wait elsewhere in the process
        self._numbers = FrameNumbers()
        self._host_frames = HostFrames(losses, writer.labels)
        self._sparse: dict[
            FrameSpec, NDArray[np.bool_]
        ] = {}  # of each of the device's: where NaN is no reading
        self._relabelled: dict[FrameSpec, FrameSpec] = {}
        self._device, self._host, self._vectors, self._monitor = Groups(), Groups(), Groups(), Groups()
        self._definitions: list[Mapping[str, Any]] = []
        self._steps = 0
        self._last: HostRow | None = None  # of the block being gathered
        self._costs = monitor.Monitor()

    @property
    def bytes(self) -> int:
        """Size of what was gathered."""
        return self._device.bytes + self._host.bytes + self._vectors.bytes

    @property
    def readings(self) -> int:
        """How many were gathered."""
        return self._device.readings + self._host.readings + self._vectors.readings

    def add(self, row: HostRow | StepRow) -> None:
        """One row, its host work done."""
        if isinstance(row, HostRow):
            self._steps += 1
            self._last = row
            for frame, numbers, absent in self._host_frames.split(row.logged):
                self._add(self._host, frame, row, numbers, absent, alone=len(frame.series) == 1)
            for name, entries in row.vectors.items():
                lone = self._host_frames.vector(name, len(entries))
                if lone is not None:
                    self._add(self._vectors, lone, row, entries, None, alone=True)
            return
        frame = self._labelled(row.frame)
        sparse = self._sparse.get(frame)
        if sparse is None:
            self._host_frames.claim(frame)
            sparse = self._sparse[frame] = np.array([spec.sparse for spec in frame.series], np.bool_)
        absent = sparse & np.isnan(row.values)
        self._add(self._device, frame, row, row.values, absent if absent.any() else None, alone=False)

    def pack(self) -> list[Record]:
        """What was gathered, as a block, after the definitions that it uses for the first time."""
        drops = self._device_drops()
        self._losses.add("device behind", drops - self._device_drops_counted)
        self._device_drops_counted = drops
        if self._last is not None:
            self._add_monitor(self._last)
        self.seq += 1
        rows = self._device.take() + self._host.take() + self._vectors.take() + self._monitor.take()
        definitions, self._definitions = self._definitions, []
        payload = pack_block(
            attempt=self._writer.attempt,
            writer=self._writer.name,
            seq=self.seq,
            frames=definitions,
            rows=rows,
            lost=self._losses.by_reason(),
            cost={
                "steps": float(self._steps),
                "wall_seconds": self._costs.wall,
                "training_seconds": self._costs.training,
                "background_seconds": time.thread_time() + self._other_seconds(),
            },
        )
        block = Record(Kind.BLOCK, payload, self.seq, sum(group.readings for group in rows))
        self.packed += block.readings
        return [Record(Kind.FRAMES, pack_frames(definitions)), block] if definitions else [block]

    def _add(
        self,
        groups: Groups,
        frame: FrameSpec,
        row: HostRow | StepRow,
        values: Values,
        absent: NDArray[np.bool_] | None,
        *,
        alone: bool,
    ) -> None:
        parts, new = self._numbers.of(frame)
        if new:
            self._definitions.extend(part.on_wire() for part in parts)
        start = 0
        for part in parts:
            cut = slice(start, start + len(part.series))
            start = cut.stop
            groups.add(
                part.number,
                row.step,
                row.time,
                values[cut],
                None if absent is None else absent[cut],
                alone=alone,
            )

    def _labelled(self, frame: FrameSpec) -> FrameSpec:
        """The frame with this process's labels on each series."""
        if not self._writer.labels:
            return frame
        known = self._relabelled.get(frame)
        if known is None:
            series = (
                replace(one, labels=tuple(sorted({**dict(one.labels), **dict(self._writer.labels)}.items())))
                for one in frame.series
            )
            known = self._relabelled[frame] = FrameSpec(tuple(series))
        return known

    def _add_monitor(self, row: HostRow) -> None:
        """What we cost between the last step of the block before and the last step of this one."""
        self._last = None
        values, absent = self._costs.row(
            wall=row.wall_seconds,
            training=row.training_seconds,
            background=time.thread_time() + self._other_seconds(),
            dropped=self._losses.total,
            faults=sum(faults().values()),
            gauges=self._gauges(),
            queued=self._queued() + self.bytes,
        )
        self._add(self._monitor, self._labelled(monitor.FRAME), row, values, absent, alone=False)
