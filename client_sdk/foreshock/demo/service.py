"""The embedded server as a process of its own: arguments -> an address that answers, or a sentence that says why not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

PREFERRED_PORT = 8642


class NotStarted(RuntimeError):
    """The server did not come up."""


class Service:
    """`foreshock serve` on loopback; ends with us unless told to stay."""

    def __init__(self, data_dir: Path, *, port: int | None, environment: dict[str, str]) -> None:
        self.port = port or _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        data_dir.mkdir(parents=True, exist_ok=True)
        self.log = data_dir / "server.log"
        command = [
            sys.executable,
            "-m",
            "foreshock",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(data_dir)],
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C goes to us first; we end the server after the runs have finished
            )

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Return when /readyz answers; raise NotStarted with the end of the log when it does not."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-2000:]
        self.stop()
        raise NotStarted(f"the server did not answer at {self.url}; the end of {self.log}:\n{tail}")

    def wait(self) -> None:
        """Return when the server ends by itself."""
        self._process.wait()

    def stop(self) -> None:
        """End it kindly, then firmly."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _free_port() -> int:
    """The usual port when nobody has it, else one that the system picks."""
    for port in (PREFERRED_PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise NotStarted("no free port on 127.0.0.1")
