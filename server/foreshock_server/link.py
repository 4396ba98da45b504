"""A server and its worker process hear each other's hints over a pair of sockets, and the server how the worker's stages fare."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from foreshock_server.bus import LocalBus

log = logging.getLogger(__name__)

_TOGETHER = 0.02  # seconds between two messages: hints about one run within them are one
_MOST_WAITING = 10_000  # runs with a hint that has not left yet
_PATIENCE = 5.0  # seconds that the other side may take to read; what it misses are hints

Report = dict[str, Any]


class Link(LocalBus):
    """A bus between two processes, each with its end. Without another end it is one within this process.

    Ends may come and go (`join`): hints of the time between are lost, as hints may be.
    """

    def __init__(self, ended: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._ended = ended
        self._told: Callable[[Report], None] = lambda report: None
        self._end: socket.socket | None = None
        self._guard = threading.Lock()
        self._speaking = threading.Lock()
        self._waiting: dict[str, None] = {}  # runs, in the order of their first hint
        self._some = threading.Event()
        self._closing = threading.Event()
        self._sender = threading.Thread(target=self._send_hints, name="foreshock-link-send", daemon=True)
        self._sender.start()

    def join(self, end: socket.socket) -> None:
        """Talk to whoever has the other end of this, and to nobody else any more."""
        end.settimeout(None)
        with self._guard:
            self._leave()
            self._end = end
        threading.Thread(
            target=self._receive, args=(end,), name="foreshock-link-receive", daemon=True
        ).start()

    def publish(self, run_id: str) -> None:
        super().publish(run_id)
        with self._guard:
            if self._end is None or len(self._waiting) >= _MOST_WAITING:
                return  # whoever listens looks by itself before long
            self._waiting[run_id] = None
        self._some.set()

    def on_report(self, listener: Callable[[Report], None]) -> None:
        """Call it with whatever the other side reports."""
        self._told = listener

    def report(self, report: Report) -> None:
        """Tell the other side how things stand here."""
        self._send({"report": report})

    def close(self) -> None:
        self._closing.set()
        self._some.set()
        with self._guard:
            self._leave()
        self._sender.join(_PATIENCE)
        super().close()

    def _leave(self) -> None:
        if self._end is not None:
            end, self._end = self._end, None
            try:
                end.shutdown(socket.SHUT_RDWR)  # or whoever waits in recv waits on
            except OSError:
                pass
            end.close()

    def _send_hints(self) -> None:
        while not self._closing.is_set():
            self._some.wait()
            self._some.clear()
            with self._guard:
                runs, self._waiting = list(self._waiting), {}
            if runs:
                self._send({"runs": runs})
            self._closing.wait(_TOGETHER)

    def _send(self, message: dict[str, Any]) -> None:
        end = self._end
        if end is None:
            return
        try:
            with self._speaking:  # at most as long as the socket's own clock says, see `pair`
                end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            log.debug("the other end of a link does not read", exc_info=True)

    def _receive(self, end: socket.socket) -> None:
        try:
            with end.makefile("rb") as lines:
                for line in lines:
                    self._hear(line)
        except (OSError, ValueError):
            pass  # closed meanwhile
        with self._guard:
            current = self._end is end
            if current:
                self._leave()
        if current and not self._closing.is_set():
            self._ended()

    def _hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return  # cut off by the end of a process
        for run_id in message.get("runs", ()):
            super().publish(run_id)
        if "report" in message:
            self._told(message["report"])


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends. What is sent to an end that nobody reads fails after a few seconds."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(_PATIENCE), 0))
    return ends
