"""Columns of readings <-> the bytes of `Clock.data` and `Segment.data`, bit for bit: NaN payloads, -0.0 and infinities included. Pure.

A clock holds, for rows in the order of their recording, step and time, and which row group of which block brought them. A
segment holds the values of one series at the rows where it has one.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

_VERSION = 1
_CLOCK = struct.Struct("<BxxxII")  # version, row groups, rows
_VALUES = struct.Struct(
    "<BBBxII"
)  # version, bytes of a value, flags, bytes of the bitmap, entries of a vector (0: a number)
_PACKED, _SOME = 1, 2  # the values are shuffled and compressed; a bitmap says which rows have a reading

_ours = (
    threading.local()
)  # (de)compressors must not be shared between threads, and cost more to make than to use


@dataclass(frozen=True)
class Clock:
    """When rows of one frame were recorded. Row groups in the order of (seq, place); `lengths` sum up to the rows."""

    seqs: NDArray[np.int64]  # of each row group: the block that brought it
    places: NDArray[np.int64]  # of each row group: the how-manieth of its block, over all frames
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]

    @cached_property
    def row_seqs(self) -> NDArray[np.int64]:
        """The block of each row."""
        return np.repeat(self.seqs, self.lengths)

    @cached_property
    def row_places(self) -> NDArray[np.int64]:
        """The row group of each row, within its block."""
        return np.repeat(self.places, self.lengths)


def encode_clock(clock: Clock) -> bytes:
    """What rests in `Clock.data`: differences, byte planes apart, compressed."""
    columns = (
        _differences(clock.seqs),
        clock.places.astype("<i8"),
        clock.lengths.astype("<i8"),
        _differences(clock.steps),
        _differences(np.ascontiguousarray(clock.times, "<f8").view("<i8")),
    )
    body = b"".join(_shuffled(column) for column in columns)
    return _CLOCK.pack(_VERSION, len(clock.seqs), len(clock.steps)) + compress(body)


def decode_clock(data: bytes) -> Clock:
    """The clock that was encoded; ValueError for bytes of another version."""
    version, groups, rows = _CLOCK.unpack_from(data)
    _known(version)
    body = decompress(data[_CLOCK.size :])
    columns, at = [], 0
    for size in (groups, groups, groups, rows, rows):
        columns.append(_unshuffled(body[at : at + 8 * size], np.dtype("<i8")))
        at += 8 * size
    seqs, places, lengths, steps, times = columns
    return Clock(np.cumsum(seqs), places, lengths, np.cumsum(steps), np.cumsum(times).view("<f8"))


def encode_values(values: NDArray[np.floating[Any]], there: NDArray[np.bool_] | None = None) -> bytes:
    """What rests in `Segment.data`: values [n], of a vector [n, entries]; `there` says which rows of the clock they belong to (None: all)."""
    width = 0 if values.ndim == 1 else values.shape[1]
    values = np.ascontiguousarray(values)
    raw = values.tobytes()
    packed = compress(_shuffled(values.reshape(-1)))
    flags, body = (_PACKED, packed) if len(packed) < len(raw) else (0, raw)
    bitmap = b""
    if there is not None and not there.all():
        flags |= _SOME
        bitmap = compress(np.packbits(there, bitorder="little").tobytes())
    return _VALUES.pack(_VERSION, values.itemsize, flags, len(bitmap), width) + bitmap + body


def decode_values(data: bytes, rows: int) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_] | None]:
    """Values [n], of a vector [n, entries], and which of the clock's rows they belong to (None: all)."""
    version, itemsize, flags, bitmap, width = _VALUES.unpack_from(data)
    _known(version)
    dtype = np.dtype(f"<f{itemsize}")
    body = data[_VALUES.size + bitmap :]
    values = _unshuffled(decompress(body), dtype) if flags & _PACKED else np.frombuffer(body, dtype)
    there = None
    if flags & _SOME:
        bits = np.frombuffer(decompress(data[_VALUES.size : _VALUES.size + bitmap]), np.uint8)
        there = np.unpackbits(bits, count=rows, bitorder="little").view(np.bool_)
    return (values.reshape(-1, width) if width else values), there


def _known(version: int) -> None:
    if version != _VERSION:
        raise ValueError(f"a segment of version {version}; this release reads version {_VERSION}")


def _differences(column: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first entry and the steps to each next one; they wrap around, and so does the sum that undoes it."""
    found = np.ascontiguousarray(column, "<i8").copy()
    found[1:] -= column[:-1]
    return found


def _shuffled(column: NDArray[Any]) -> bytes:
    """All first bytes, then all second ones…: exponents lie together, and compress."""
    return column.view(np.uint8).reshape(-1, column.itemsize).T.tobytes()


def _unshuffled(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype)


def compress(data: bytes) -> bytes:
    """Fast rather than small."""
    if not hasattr(_ours, "packer"):
        _ours.packer = zstandard.ZstdCompressor(level=1)
    packed: bytes = _ours.packer.compress(data)
    return packed


def decompress(data: bytes) -> bytes:
    """What `compress` was given."""
    if not hasattr(_ours, "unpacker"):
        _ours.unpacker = zstandard.ZstdDecompressor()
    raw: bytes = _ours.unpacker.decompress(data)
    return raw
