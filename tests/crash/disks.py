"""A disk that is full when a test says so: a small file system of its own where one may mount it, else a limit on a process."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

MEGABYTES = 48


class Disk(Protocol):
    """Where a process writes."""

    def fill(self, pid: int) -> None:
        """From now on this process can write nothing more."""

    def free(self, pid: int) -> None:
        """From now on it can."""


class SmallDisk:
    """A tmpfs: a full one says ENOSPC, as a real disk does."""

    def __init__(self, path: Path) -> None:
        self._ballast = path / "ballast"

    def fill(self, pid: int) -> None:
        piece = 2**16
        with self._ballast.open("wb", buffering=0) as file:
            while piece:
                try:
                    file.write(bytes(piece))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def free(self, pid: int) -> None:
        self._ballast.unlink()


class Quota:
    """A limit on the size of the process's files: whoever is over it is told EFBIG, and nobody needs to be root."""

    def fill(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk | None]:
    """A file system of its own at this path; None where this user may not mount one."""
    path.mkdir()
    if os.geteuid() != 0 or not _mounted(path):
        yield None
        return
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def _mounted(path: Path) -> bool:
    words = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(path)]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
