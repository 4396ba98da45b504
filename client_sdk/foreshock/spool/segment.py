"""Records <-> bytes of one append-only file: checksummed, so that whatever was damaged is skipped and the rest is read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"FSPOOL1\n"  # the first bytes of a file
MARK = b"\xf5\x0eFr"  # the first bytes of a record: where reading resumes after damage
LARGEST = 2**28  # a length beyond it is damage, not a record

_HEADER = struct.Struct("<4sBQIII")  # mark, kind, seq, readings, length, crc32
_CHECKED = struct.Struct("<BQII")


class Kind(IntEnum):
    """What a record holds."""

    OPEN = 1  # JSON: the body of PUT /runs/{run}, and the address of the server
    FRAMES = 2  # msgpack: frame definitions
    BLOCK = 3  # the body of POST /runs/{run}/blocks
    CLOSE = 4  # JSON: the body of the finish request


@dataclass(frozen=True)
class Record:
    """One thing to deliver; blocks are counted by seq, the rest have seq 0."""

    kind: Kind
    payload: bytes
    seq: int = 0
    readings: int = 0

    @property
    def encoded(self) -> bytes:
        """As it lies in the file."""
        header = _HEADER.pack(MARK, self.kind, self.seq, self.readings, len(self.payload), self._checksum)
        return header + self.payload

    @property
    def _checksum(self) -> int:
        checked = _CHECKED.pack(self.kind, self.seq, self.readings, len(self.payload))
        return zlib.crc32(self.payload, zlib.crc32(checked))


@dataclass(frozen=True)
class Parsed:
    """What could be read of a piece of a file."""

    records: tuple[Record, ...]
    end: int  # all before it is read or damaged; what follows may be the beginning of a record
    damaged: (
        int  # readings that could not be read: as the broken headers say, at least one per broken stretch
    )


def parse(data: bytes, *, complete: bool) -> Parsed:
    """Every intact record, in order.

    If the file may still grow (`complete` is False), an unfinished tail is left for the next time; otherwise it is damage.
    """
    records: list[Record] = []
    damaged = position = 0
    while position < len(data):
        record, size = _record_at(data, position)
        if record is not None:
            records.append(record)
            position += size
            continue
        following = _next_intact(data, position + 1)
        if following is None:
            if complete:
                damaged += _readings_at(data, position)
                position = len(data)
            break
        damaged += _readings_at(data, position)
        position = following
    return Parsed(tuple(records), position, damaged)


def _next_intact(data: bytes, start: int) -> int | None:
    """Where the next readable record begins."""
    found = data.find(MARK, start)
    while found >= 0:
        if _record_at(data, found)[0] is not None:
            return found
        found = data.find(MARK, found + 1)
    return None


def _record_at(data: bytes, position: int) -> tuple[Record | None, int]:
    if len(data) - position < _HEADER.size:
        return None, 0
    mark, kind, seq, readings, length, crc = _HEADER.unpack_from(data, position)
    start = position + _HEADER.size
    if mark != MARK or length > LARGEST or start + length > len(data) or kind not in _KINDS:
        return None, 0
    record = Record(_KINDS[kind], data[start : start + length], seq, readings)
    if record._checksum != crc:
        return None, 0
    return record, _HEADER.size + length


def _readings_at(data: bytes, position: int) -> int:
    """What a broken record says that it held, if its header still makes sense."""
    if len(data) - position < _HEADER.size:
        return 1
    mark, kind, _, readings, length, _ = _HEADER.unpack_from(data, position)
    sensible = mark == MARK and kind in _KINDS and length <= LARGEST and readings <= length
    return max(1, readings) if sensible else 1


_KINDS = {int(kind): kind for kind in Kind}


def readings_of(records: Iterable[Record], after_seq: int) -> int:
    """Readings in the blocks beyond a seq."""
    return sum(record.readings for record in records if record.kind is Kind.BLOCK and record.seq > after_seq)
