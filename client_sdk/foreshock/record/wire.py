"""Rows <-> the bytes of a block, as the wire contract has them: the format and its version, nothing about HTTP or files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from foreshock.series import FrameSpec, SeriesSpec

VERSION = 1
MEDIA_TYPE = "application/x-foreshock-block"
MAX_SERIES_PER_FRAME = 4096

F64 = NDArray[np.float64]
Values = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Consecutive readings of one frame: n steps of k series."""

    frame: int
    steps: NDArray[np.int64]  # [n], never decreasing
    times: F64  # [n], seconds since the epoch
    values: Values  # [n, k]
    absent: NDArray[np.bool_] | None = None  # [n, k]; True: there is no reading here

    @property
    def readings(self) -> int:
        """Values that are there, NaN among them."""
        return self.values.size - (0 if self.absent is None else int(self.absent.sum()))

    def on_wire(self) -> dict[str, Any]:
        """Little-endian bytes; the bitmap's first bit is the least significant."""
        kind = "<f4" if self.values.dtype == np.float32 else "<f8"
        packed: dict[str, Any] = {
            "frame": self.frame,
            "steps": self.steps.astype("<i8", copy=False).tobytes(),
            "times": self.times.astype("<f8", copy=False).tobytes(),
            "values": self.values.astype(kind, copy=False).tobytes(),
        }
        if self.absent is not None and self.absent.any():
            packed["absent"] = np.packbits(self.absent.ravel(), bitorder="little").tobytes()
        return packed

    @classmethod
    def from_wire(cls, packed: Mapping[str, Any], dtype: str) -> Rows:
        """The inverse, for a frame of this dtype ("f32" or "f64")."""
        steps = np.frombuffer(packed["steps"], "<i8").astype(np.int64)
        flat: Values
        if dtype == "f32":
            flat = np.frombuffer(packed["values"], "<f4").astype(np.float32)
        else:
            flat = np.frombuffer(packed["values"], "<f8").astype(np.float64)
        values = flat.reshape(len(steps), -1)
        absent = None
        if packed.get("absent") is not None:
            bits = np.unpackbits(
                np.frombuffer(packed["absent"], np.uint8), count=values.size, bitorder="little"
            )
            absent = bits.astype(np.bool_).reshape(values.shape)
        times = np.frombuffer(packed["times"], "<f8").astype(np.float64)
        return cls(int(packed["frame"]), steps, times, values, absent)


@dataclass(frozen=True)
class FrameDefinition:
    """A frame with the number that its writer gave it."""

    number: int
    series: tuple[SeriesSpec, ...]

    def on_wire(self) -> dict[str, Any]:
        """What a block says the first time that it uses the frame."""
        return {"frame": self.number, "series": [series.on_wire() for series in self.series]}


class FrameNumbers:
    """FrameSpec -> the numbers under which one writer sends it: a frame wider than the contract allows is cut."""

    def __init__(self, widest: int = MAX_SERIES_PER_FRAME) -> None:
        self._widest = widest
        self._parts: dict[FrameSpec, tuple[FrameDefinition, ...]] = {}
        self._next = 1

    def of(self, spec: FrameSpec) -> tuple[tuple[FrameDefinition, ...], bool]:
        """The parts of the frame, left to right, and whether they are new."""
        known = self._parts.get(spec)
        if known is not None:
            return known, False
        parts = []
        for start in range(0, len(spec.series), self._widest):
            parts.append(FrameDefinition(self._next, spec.series[start : start + self._widest]))
            self._next += 1
        self._parts[spec] = tuple(parts)
        return self._parts[spec], True


def pack_block(
    *,
    attempt: int,
    writer: str,
    seq: int,
    frames: Iterable[Mapping[str, Any]],
    rows: Sequence[Rows],
    lost: Mapping[str, int],
    cost: Mapping[str, float],
) -> bytes:
    """The body of POST /runs/{run}/blocks."""
    block: dict[str, Any] = {
        "v": VERSION,
        "attempt": attempt,
        "writer": writer,
        "seq": seq,
        "frames": list(frames),
        "rows": [group.on_wire() for group in rows],
        "dropped": sum(lost.values()),
        "lost": dict(lost),
        "cost": dict(cost),
    }
    packed: bytes = msgpack.packb(block)
    return packed


def unpack_block(body: bytes) -> dict[str, Any]:
    """The block as a mapping, its arrays still bytes."""
    block = msgpack.unpackb(body)
    if not isinstance(block, dict):
        raise ValueError("a block is a msgpack map")
    return block


def pack_frames(frames: Iterable[Mapping[str, Any]]) -> bytes:
    """Frame definitions alone, as the spool keeps them at the head of each segment."""
    packed: bytes = msgpack.packb(list(frames))
    return packed


def unpack_frames(packed: bytes) -> dict[int, dict[str, Any]]:
    """Number -> definition."""
    return {int(frame["frame"]): frame for frame in msgpack.unpackb(packed)}


def with_all_frames(body: bytes, known: Mapping[int, Mapping[str, Any]]) -> bytes:
    """The same block, carrying the definition of every frame that its rows name, as far as they are known."""
    block = unpack_block(body)
    named = {group["frame"] for group in block["rows"]}
    inside = {frame["frame"]: frame for frame in block["frames"]}
    block["frames"] = [
        inside.get(number) or known[number] for number in sorted(named) if number in inside or number in known
    ]
    packed: bytes = msgpack.packb(block)
    return packed
