"""The folder of one writer's spool: its files, its lock, what of it was delivered, and reading it in order.

<root>/<run>/<attempt>-<writer>/00000001.seg …   records, oldest file first
                                acknowledged     the highest seq that the server has
                                lock             held while the writing process lives
                                rejected/        blocks that the server refused, with its reason
<root>/<run>/<attempt>-<writer>.done             all that is left of a folder that was delivered
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .segment import MAGIC, Record, parse, readings_of

try:
    import fcntl
except ImportError:  # Windows: a folder is never known to be abandoned there, so only a closed one is removed
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"(?P<attempt>\d+)-(?P<writer>r(?P<rank>\d+)-[0-9a-f]+)(?P<done>\.done)?")


class Folder:
    """Paths and small files; the records are written by Spool."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @classmethod
    def of(cls, root: Path, run: str, attempt: int, writer: str) -> Folder:
        """Where this writer's records go."""
        return cls(root / run / f"{attempt}-{writer}")

    @property
    def label(self) -> tuple[str, str]:
        """(run, attempt-writer), for people."""
        return self.path.parent.name, self.path.name

    def segments(self) -> list[Path]:
        """The files of records, oldest first."""
        return sorted(self.path.glob("*.seg"))

    def lock(self) -> bool:
        """Claim the folder; False when another process holds it, or when this file system has no locks."""
        if fcntl is None:
            return False
        descriptor = -1
        try:
            descriptor = os.open(
                self.path / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    @property
    def locked(self) -> bool:
        """True while this process holds the lock."""
        return self._lock is not None

    def unlock(self) -> None:
        """Give it back; a fork's child closes its copy this way and leaves the parent's lock alone."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None

    @property
    def acknowledged(self) -> int:
        """The highest seq that some sender of this folder has delivered."""
        try:
            return int(json.loads((self.path / "acknowledged").read_text())["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def acknowledge(self, seq: int) -> None:
        """Remember it; a reader sees the old number or the new one, never half. May raise OSError: then it is sent twice."""
        beside = self.path / f"acknowledged.{os.getpid()}"
        beside.write_text(json.dumps({"seq": seq}))
        beside.replace(self.path / "acknowledged")

    def refuse(self, record: Record, reason: Mapping[str, Any]) -> Path:
        """Keep what the server will never take, and what it said."""
        kept = self.path / "rejected"
        kept.mkdir(exist_ok=True)
        (kept / f"{record.seq:010}.block").write_bytes(record.payload)
        (kept / f"{record.seq:010}.json").write_text(json.dumps(dict(reason), indent=1))
        return kept

    def refused(self) -> list[Path]:
        """Blocks that the server refused."""
        return sorted(self.path.glob("rejected/*.block"))

    def discard(self) -> None:
        """Everything was delivered: leave a tombstone, so that attempts are still counted, and what was refused."""
        for path in self.segments():
            path.unlink(missing_ok=True)
        if not self.refused():
            self.path.with_name(self.path.name + ".done").touch()
            for name in ("acknowledged", "lock"):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                (self.path / "rejected").rmdir()
            with contextlib.suppress(OSError):
                self.path.rmdir()
        self.unlock()


def folders_below(root: Path) -> Iterator[Folder]:
    """Every spool folder in or under a directory, runs in order of name."""
    found = {path.parent for path in root.rglob("*.seg")} | {
        path.parent.parent for path in root.rglob("rejected/*.block")
    }
    for path in sorted(found):
        if _NAME.fullmatch(path.name):
            yield Folder(path)


def highest_attempt(root: Path, run: str, rank: int) -> int:
    """The last attempt of this rank that left a trace in the spool; 0 when there is none."""
    try:
        names = [entry.name for entry in os.scandir(root / run)]
    except OSError:
        return 0
    matches = (_NAME.fullmatch(name) for name in names)
    return max(
        (int(match["attempt"]) for match in matches if match and int(match["rank"]) == rank), default=0
    )


class Reader:
    """Records of a folder, each once, in order, from wherever the last read ended; the folder may still grow."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._at: tuple[str, int] = ("", 0)  # file, offset
        self.damaged = 0  # readings that could not be read

    def read(self, *, complete: bool) -> list[Record]:
        """The next file's worth of records; empty when there is nothing more. `complete`: nobody writes here any more."""
        segments = self._folder.segments()
        for index, path in enumerate(segments):
            name, offset = self._at
            if path.name < name:
                continue
            start = offset if path.name == name else 0
            finished = complete or index + 1 < len(segments)
            records, end = self._read_file(path, start, finished)
            self._at = (path.name, end)
            if records:
                return records
        return []

    def _read_file(self, path: Path, start: int, finished: bool) -> tuple[list[Record], int]:
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
        except FileNotFoundError:  # dropped or delivered meanwhile
            return [], start
        skip = 0
        if start == 0:
            if data[: len(MAGIC)] == MAGIC:
                skip = len(MAGIC)
            elif not finished and MAGIC.startswith(data):
                return [], 0  # just being created
        parsed = parse(data[skip:], complete=finished)
        self.damaged += parsed.damaged
        return list(parsed.records), start + skip + parsed.end


def readings_in(path: Path, after_seq: int) -> int:
    """Readings of one file beyond a seq: what is lost when it is dropped."""
    try:
        data = path.read_bytes()
    except OSError:
        return 0
    parsed = parse(data[len(MAGIC) :], complete=True)
    return readings_of(parsed.records, after_seq) + parsed.damaged
