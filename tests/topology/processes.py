"""A command line -> a process that can be killed as the kernel would and started again, its words kept in a log."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORDINARY = "foreshock_server"
HASTY = "tests.topology.hasty"  # the same, counting and sealing each block at once
READY_SECONDS = 60.0  # the longest that a start may take on a busy machine


def free_port() -> int:
    """A port of the loopback address on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(
    what: Callable[[], bool], seconds: float = 60.0, says: Callable[[], object] = lambda: ""
) -> None:
    """Return once it is so; AssertionError, with what `says` says, when it is not in time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"it did not happen in time. {says()}"
        time.sleep(0.05)


class Process:
    """One command. `start` returns when `ready` says so."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        user: str | None = None,
    ) -> None:
        self.command = command
        self.log = log
        self.environment = dict(environment or {})
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def ready(self) -> bool:
        """Whether it does its work by now."""
        return True

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def words(self) -> str:
        """The end of what it said so far."""
        return self.log.read_text(errors="replace")[-8000:]

    def start(self) -> None:
        """Start it, also again."""
        assert not self.running, "it runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*with_us(), *self.command],
                cwd=ROOT,
                env={**os.environ, "FORESHOCK_PRIVATE_TARGETS": "all", **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
            )
        eventually(lambda: not self.running or self.ready(), READY_SECONDS, lambda: self.words)
        assert self.running, self.words

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        os.kill(self.pid, signal.SIGKILL)
        self._waited()

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit status. Killed when it takes longer."""
        if self._process is None:
            return 0
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(seconds)
        finally:
            self._process.kill()
            self._process.wait()

    def _waited(self) -> None:
        assert self._process is not None
        self._process.wait()


class Server(Process):
    """`foreshock serve` on a port and a data folder of its own that survive the process."""

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "server",
        module: str = ORDINARY,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        words = ["serve", "--port", str(self.port), "--data-dir", str(data_dir)]
        super().__init__(foreshock(*words, module=module), data_dir.parent / f"{name}.log", environment)

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return True
        except OSError:
            return False


class Worker(Process):
    """`foreshock worker` beside servers that start none."""

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        *,
        name: str = "worker",
        module: str = ORDINARY,
    ) -> None:
        words = ["worker", "--data-dir", str(data_dir)]
        super().__init__(
            foreshock(*words, module=module),
            data_dir.parent / f"{name}.log",
            {"PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self._said = 0

    def start(self) -> None:
        self._said = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def ready(self) -> bool:
        return b"Foreshock worker" in self.log.read_bytes()[self._said :]


def with_us() -> list[str]:
    """Words before a command that let it die with this process, where the system knows how; its id is the command's."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def foreshock(*words: str, module: str = ORDINARY) -> list[str]:
    """The command line of one word of this checkout's server, with this interpreter."""
    return [sys.executable, "-m", module, *words]
