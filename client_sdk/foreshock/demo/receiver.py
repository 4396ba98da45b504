"""A webhook receiver on loopback: what arrives -> a list of messages, each with its signature checked.

It shares no code with the server: whoever writes a receiver of their own can read how in `verified`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Received:
    """One message as it came in."""

    id: str
    at: float
    verified: bool
    body: dict[str, Any]


def verified(
    secret: str, headers: dict[str, str], body: bytes, *, now: float, tolerance: float = 300.0
) -> bool:
    """True when the message carries a fresh signature made with `secret` (Standard Webhooks: HMAC-SHA256 of id.timestamp.body)."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(now - int(timestamp)) > tolerance:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(signed).decode()
    return any(hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split())


class Receiver:
    """Listens until closed, on loopback unless told otherwise; `messages` grows as they arrive."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        self.messages: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                receiver._take({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
                """Stay quiet: the terminal belongs to the progress bars."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = self.url_from("127.0.0.1")
        threading.Thread(target=self._server.serve_forever, name="webhook-receiver", daemon=True).start()

    def url_from(self, host: str) -> str:
        """Its address for a sender that reaches this machine under this name."""
        return f"http://{host}:{self._server.server_address[1]}/alerts"

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        now = time.time()
        good = verified(self.secret, headers, body, now=now)
        try:
            content = json.loads(body)
        except ValueError:
            content = {}
        self.messages.append(Received(headers.get("webhook-id", ""), now, good, content))

    def about(self, run_id: str) -> list[Received]:
        """The messages that name this run."""
        return [message for message in self.messages if message.body.get("run", {}).get("id") == run_id]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
