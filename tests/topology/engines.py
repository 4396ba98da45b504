"""A private PostgreSQL and a private Redis on their own ports: theirs to be killed, which the shared ones are not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
import redis

from .processes import Process, eventually, free_port


def postgres_binaries() -> Path | None:
    """The folder of the newest PostgreSQL that is installed; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


class Postgres(Process):
    """A cluster of its own. It does not wait for the disk, which a killed process, unlike a power cut, does not show."""

    def __init__(self) -> None:
        binaries = postgres_binaries()
        assert binaries is not None, "no PostgreSQL is installed"
        user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        self.home = Path(tempfile.mkdtemp(prefix="foreshock-postgres-"))
        self.port = free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._dsn = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2"
        if user:
            shutil.chown(self.home, user)
        subprocess.run(
            [
                binaries / "initdb",
                "-D",
                self.home / "data",
                "-U",
                "postgres",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
            ],
            user=user,
            cwd="/",
            check=True,
            capture_output=True,
        )
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.home}", "fsync=off")
        super().__init__(
            [
                *(str(binaries / "postgres"), "-D", str(self.home / "data"), "-p", str(self.port)),
                *(word for setting in settings for word in ("-c", setting)),
            ],
            self.home / "log",
            user=user,
        )

    def ready(self) -> bool:
        try:
            psycopg.connect(self._dsn).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """The postmaster and all of its children at once, so that nobody gets to tidy up."""
        family = [self.pid, *_children(self.pid)]
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # a connection that ended by itself
        self._waited()
        eventually(lambda: not any(_lives(pid) for pid in family))

    def stop(self, seconds: float = 20.0) -> int:
        if self.running:
            os.kill(self.pid, signal.SIGINT)  # its fast shutdown; SIGTERM would wait for its clients
        return super().stop(seconds)

    def remove(self) -> None:
        """Stop it and forget its data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)


class Redis(Process):
    """A server that keeps nothing on disk, as the hints in it need not last."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__(["redis-server", *words, "--dir", str(folder)], folder / "redis.log")

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
