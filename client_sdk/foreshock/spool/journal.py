"""Records -> the files of one writer's folder: append-only, bounded in bytes, delivered files removed, the oldest dropped when full."""

from __future__ import annotations

import os
from pathlib import Path

from foreshock.guard import say_once
from foreshock.losses import Losses

from .folder import Folder, readings_in
from .segment import MAGIC, Kind, Record

SEGMENT_BYTES = 8 * 2**20
_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | os.O_APPEND
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class Segment:
    """One file being written, or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.head = 0  # bytes of what describes the records
        self.last_seq = 0
        self._file: int | None = os.open(path, _FLAGS, 0o644)

    def put(self, data: bytes) -> None:
        """Append all of it, or nothing: no torn record where whole ones may follow."""
        if self._file is None:
            raise OSError("this file is closed")
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
        except OSError:
            self._undo()
            raise
        self.size += len(data)

    def _undo(self) -> None:
        try:
            os.truncate(self.path, self.size)
        except OSError:
            self.close()  # the tail stays torn; a reader skips it, and nothing is written after it

    @property
    def writable(self) -> bool:
        return self._file is not None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Journal:
    """Writes go to the operating system one by one and are not synced: they survive the process, not a power cut."""

    def __init__(self, folder: Folder, losses: Losses, max_bytes: int) -> None:
        self.folder = folder
        self.acknowledged = 0
        self._losses = losses
        self._max_bytes = max_bytes
        self._segment_bytes = max(2**13, min(SEGMENT_BYTES, max_bytes // 8))
        self._segments: list[Segment] = []  # oldest first; only the last is written
        self._number = 0
        self._open: Record | None = None
        self._frames: list[Record] = []

    @property
    def begun(self) -> bool:
        """Whether there is anything on the disk."""
        return bool(self._segments)

    def append(self, record: Record) -> None:
        """Write the record; raises OSError when the disk does not take it, and then nothing of it is there."""
        data = record.encoded
        current = self._current()
        self._make_room(len(data))
        current.put(data)
        if record.kind is Kind.BLOCK:
            current.last_seq = record.seq

    def describe(self, record: Record) -> None:
        """Remember what each file must begin with, so that it can be read when the older ones are gone."""
        if record.kind is Kind.OPEN:
            self._open = record
        elif record.kind is Kind.FRAMES:
            self._frames.append(record)

    def acknowledge(self, seq: int) -> None:
        """The server has everything up to this block; may raise OSError, and then it may be sent once more."""
        self.acknowledged = max(self.acknowledged, seq)
        if self.begun:
            self._drop_delivered()
            self.folder.acknowledge(self.acknowledged)

    def close(self) -> None:
        """Let go of the file."""
        if self._segments:
            self._segments[-1].close()

    def _current(self) -> Segment:
        if self._segments and self._segments[-1].writable:
            current = self._segments[-1]
            if current.size - current.head < self._segment_bytes:
                return current
        self.close()
        self.folder.path.mkdir(parents=True, exist_ok=True)
        if not self.folder.locked:
            self.folder.lock()
        self._number += 1
        segment = Segment(self.folder.path / f"{self._number:08}.seg")
        described = (*((self._open,) if self._open is not None else ()), *self._frames)
        try:
            segment.put(MAGIC + b"".join(record.encoded for record in described))
        except OSError:
            segment.close()
            segment.path.unlink()
            raise
        segment.head = segment.size
        self._segments.append(segment)
        return segment

    def _make_room(self, coming: int) -> None:
        if self._bytes + coming <= self._max_bytes:
            return
        self._drop_delivered()
        while len(self._segments) > 1 and self._bytes + coming > self._max_bytes:
            lost = readings_in(self._segments[0].path, self.acknowledged)
            self._drop_oldest()
            self._losses.add("spool full", lost)
            say_once(
                ("spool full", str(self.folder.path)),
                "the spool in %s is full (%d bytes): its oldest readings are dropped, and counted. "
                "FORESHOCK_SPOOL_MAX_BYTES sets the bound, `foreshock sync` empties it",
                self.folder.path,
                self._max_bytes,
            )

    @property
    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _drop_delivered(self) -> None:
        self.acknowledged = max(
            self.acknowledged, self.folder.acknowledged
        )  # `foreshock sync` may have been here
        while len(self._segments) > 1 and self._segments[0].last_seq <= self.acknowledged:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._segments.pop(0).path.unlink(missing_ok=True)
