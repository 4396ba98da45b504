"""Records in, records out in the same order: on disk first, in memory while the disk takes nothing, bounded in both."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foreshock.guard import say_once
from foreshock.losses import Losses

from .folder import Folder, Reader
from .journal import Journal
from .segment import Kind, Record

MEMORY_BYTES = 32 * 2**20  # what is kept while the disk takes nothing
RETRY_DISK_SECONDS = 10.0


class Spool:
    """The spool of one writer: the recorder appends, the sender reads and acknowledges. Without a folder it is in memory only."""

    def __init__(
        self,
        folder: Folder | None,
        losses: Losses,
        *,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._losses = losses
        self._max_memory = min(MEMORY_BYTES, max_bytes)
        self._clock = clock
        self._mutex = threading.Lock()
        self._journal = None if folder is None else Journal(folder, losses, max_bytes)
        self._reader = None if folder is None else Reader(folder)
        self._disk_at = 0.0  # when the disk may be tried
        self._memory: deque[Record] = deque()
        self._memory_bytes = 0
        self._memory_read = 0  # of these, how many the sender has read
        self._read_seq = 0  # highest seq that the sender has read
        self._damage_counted = 0

    @property
    def memory_bytes(self) -> int:
        """What is kept in memory alone."""
        return self._memory_bytes

    # -- the recorder's side ------------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """Keep the record; never raises for a disk that does not take it."""
        with self._mutex:
            if self._journal is not None and self._clock() >= self._disk_at:
                try:
                    while self._memory:  # what gathered while the disk was away goes first
                        self._journal.append(self._memory[0])
                        self._forget_oldest()
                    self._journal.append(record)
                except OSError as error:
                    self._disk_away(self._journal, error)
                else:
                    self._journal.describe(record)
                    return
            if self._journal is not None:
                self._journal.describe(record)
            self._memory.append(record)
            self._memory_bytes += len(record.payload)
            while self._memory_bytes > self._max_memory and len(self._memory) > 1:
                oldest = self._forget_oldest()
                if oldest.kind is Kind.BLOCK:
                    self._losses.add("no disk, memory full", oldest.readings)

    def _disk_away(self, journal: Journal, error: OSError) -> None:
        journal.close()
        self._disk_at = self._clock() + RETRY_DISK_SECONDS
        say_once(
            ("disk", str(journal.folder.path)),
            "the spool in %s cannot be written (%s): readings are kept in memory, up to %d MiB, and the disk is tried again",
            journal.folder.path,
            errno.errorcode.get(error.errno or 0, str(error)),
            self._max_memory // 2**20,
        )

    def _forget_oldest(self) -> Record:
        oldest = self._memory.popleft()
        self._memory_bytes -= len(oldest.payload)
        self._memory_read = max(0, self._memory_read - 1)
        return oldest

    # -- the sender's side --------------------------------------------------------------------------------------

    def read(self) -> list[Record]:
        """Records that were not read before, oldest first, blocks in order of seq; what describes them may be repeated."""
        with self._mutex:
            records = self._read_disk()
            if records is None:
                return []
            if not records:
                records = list(self._memory)[self._memory_read :]
                self._memory_read = len(self._memory)
            fresh = [
                record for record in records if record.kind is not Kind.BLOCK or record.seq > self._read_seq
            ]
            self._read_seq = max(self._read_seq, *(record.seq for record in fresh), 0)
            return fresh

    def _read_disk(self) -> list[Record] | None:
        """None: what lies there cannot be read now, and nothing behind it may overtake it."""
        if self._reader is None:
            return []
        try:
            records = self._reader.read(complete=False)
        except OSError as error:
            say_once("spool unreadable", "the spool cannot be read (%s); it is tried again", error)
            return None
        self._losses.add("spool damaged", self._reader.damaged - self._damage_counted)
        self._damage_counted = self._reader.damaged
        return records

    def acknowledge(self, seq: int) -> None:
        """The server has everything up to this block."""
        with self._mutex:
            kept = [
                (index, one)
                for index, one in enumerate(self._memory)
                if one.kind is not Kind.BLOCK or one.seq > seq
            ]
            self._memory_read = sum(index < self._memory_read for index, _ in kept)
            self._memory = deque(one for _, one in kept)
            self._memory_bytes = sum(len(one.payload) for one in self._memory)
            if self._journal is not None:
                try:
                    self._journal.acknowledge(seq)
                except OSError:
                    pass  # a full disk: the block may be sent twice, and is stored once

    def refuse(self, record: Record, reason: Mapping[str, Any]) -> str:
        """Keep a block that the server will never take, and count it; where it is, for people."""
        self._losses.add("refused by the server", record.readings)
        if self._journal is None:
            return "no file: this run has no spool folder"
        try:
            return str(self._journal.folder.refuse(record, reason))
        except OSError as error:
            return f"no file: {error}"

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def where(self) -> Path | None:
        """The folder, if anything was written there."""
        return self._journal.folder.path if self._journal is not None and self._journal.begun else None

    def give_up(self) -> int:
        """Count what is in memory alone as lost, as it is when the process ends now; how many readings that are."""
        if not self._mutex.acquire(timeout=1.0):  # the disk hangs, and with it whoever writes to it
            return 0
        try:
            lost = sum(record.readings for record in self._memory)
            self._memory.clear()
        finally:
            self._mutex.release()
        self._losses.add("never left memory", lost)
        return lost

    def discard(self) -> None:
        """Everything was delivered and nothing more will come: remove it."""
        with self._mutex:
            self._disk_at = float("inf")
            if self._journal is not None and self._journal.begun:
                self._journal.close()
                try:
                    self._journal.folder.discard()
                except OSError as error:
                    say_once(
                        "undiscarded", "what was delivered could not be removed from the spool: %s", error
                    )

    def release(self) -> None:
        """Close the file and give the lock back; what was not delivered stays."""
        if self._mutex.acquire(
            timeout=1.0
        ):  # else the disk hangs, and closing under a write could hit another file
            try:
                self.abandon()
            finally:
                self._mutex.release()

    def abandon(self) -> None:
        """The same without asking for the mutex: for a fork's child, where its holder does not exist."""
        self._disk_at = float("inf")
        if self._journal is not None:
            self._journal.close()
            self._journal.folder.unlock()
