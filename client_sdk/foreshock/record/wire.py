"""Rows <-> the bytes of a block, as the wire contract has them: the format and its version, nothing about HTTP or files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from foreshock.series import FrameSpec, SeriesSpec, described, gathered, key_of

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
        return {"frame": self.number, "series": [described(some) for some in gathered(self.series)]}


class FrameNumbers:
    """FrameSpec -> the numbers under which one writer sends it: a frame wider than the contract allows is cut, never through a vector."""

    def __init__(self, widest: int = MAX_SERIES_PER_FRAME) -> None:
        self._widest = widest
        self._parts: dict[FrameSpec, tuple[FrameDefinition, ...]] = {}
        self._next = 1

    def of(self, spec: FrameSpec) -> tuple[tuple[FrameDefinition, ...], bool]:
        """The parts of the frame, left to right, and whether they are new."""
        known = self._parts.get(spec)
        if known is not None:
            return known, False
        parts: list[list[SeriesSpec]] = []
        for some in gathered(spec.series):
            if not parts or len(parts[-1]) + len(some) > self._widest:
                parts.append([])
            parts[-1].extend(some)
        first, self._next = self._next, self._next + len(parts)
        self._parts[spec] = tuple(
            FrameDefinition(number, tuple(part)) for number, part in enumerate(parts, first)
        )
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


def pack_list(blocks: Sequence[bytes]) -> bytes:
    """Several packed blocks, 65,535 at most, as the body that holds them all."""
    return b"".join((b"\xdc", len(blocks).to_bytes(2, "big"), *blocks))


def unpack_block(body: bytes) -> dict[str, Any]:
    """The block as a mapping, its arrays still bytes."""
    block = msgpack.unpackb(body)
    if not isinstance(block, dict):
        raise ValueError("a block is a msgpack map")
    return block


def without_axes(body: bytes) -> bytes:
    """The same block for a server that knows no vectors: each entry is a series of its own. Its values lie where they lay."""
    if _AXIS not in body:
        return body
    block = unpack_block(body)
    for frame in block["frames"]:
        frame["series"] = [entry for series in frame["series"] for entry in _entries(series)]
    packed: bytes = msgpack.packb(block)
    return packed


_AXIS = msgpack.packb("axis")  # as any block with a vector has it


def _entries(series: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    axis = series.get("axis")
    if axis is None:
        yield series
        return
    plain = {name: value for name, value in series.items() if name != "axis"}
    for tick in axis.get("ticks") or range(axis["size"]):
        labels = dict(sorted({**series["labels"], axis["name"]: str(tick)}.items()))
        yield {**plain, "key": key_of(series["statistic"], labels), "labels": labels}


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
