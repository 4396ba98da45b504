"""A real server process and a real receiver for the tests that kill things."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from foreshock.demo.receiver import Receiver


class Server:
    """`foreshock serve` in a process that can be killed and started again on the same port and data."""

    def __init__(self, data_dir: Path, environment: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = data_dir
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "foreshock",
                    "serve",
                    "--port",
                    str(self.port),
                    "--data-dir",
                    str(self.data_dir),
                ],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return self
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.data_dir / "server.log").read_text())

    def kill(self) -> None:
        """As the kernel would: no goodbye."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(20)
        finally:
            self._process.kill()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def server(tmp_path: Path, receiver: Receiver) -> Iterator[Server]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    server = Server(
        data_dir, {"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret}
    )
    yield server.start()
    server.stop()
