"""The service under check: where it answers, the key it wants, and how a user, a viewer and a person with curl reach it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

import foreshock
from foreshock.query.client import Client, ForeshockError, RunView

PATIENCE = 60.0  # seconds that anything may take on a busy machine


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any  # JSON where it was JSON, else bytes
    headers: Mapping[str, str]  # whatever the case of their names


@dataclass
class Subject:
    """One service. `receiver_host` is the name under which it reaches this machine."""

    url: str
    folder: Path
    api_key: str | None = None
    receiver_host: str = "127.0.0.1"
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        self.client = Client(self.url, self.api_key)
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(5.0, PATIENCE))

    def named(self, name: str) -> str:
        """An id that no other pass over the same service has used."""
        return f"{name}-{self.token}"

    def begin(self, name: str, **more: Any) -> foreshock.Run:
        """A run as a user begins it."""
        return foreshock.init(
            project=self.named("conformance"),
            name=name,
            run=self.named(name),
            url=self.url,
            api_key=self.api_key,
            dir=self.folder / "spool",
            flush_seconds=PATIENCE,
            **more,
        )

    def run(self, name: str) -> RunView:
        """What the service says of a run that `begin` began."""
        return self.client.run(self.named(name))

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        key: str | None = "",
    ) -> Answer:
        """One request below the service's address; `key` None leaves the key out, another replaces it."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        used = self.api_key if key == "" else key
        if used:
            sent["Authorization"] = f"Bearer {used}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        answer = self._pool.request(method, self.url + path, body=data, headers=sent, retries=False)
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = answer.data
        return Answer(answer.status, found, answer.headers)

    def has(self, path: str) -> bool:
        """Whether this release has the address, as its own description says."""
        return path in self.ask("GET", "/openapi.json").body["paths"]


class Viewer:
    """A page that looks on: the events of one live stream, as they come."""

    def __init__(self, subject: Subject, path: str) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []  # id, data
        parts = urlsplit(subject.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=PATIENCE)
        headers = {"Accept": "text/event-stream"}
        if subject.api_key:
            headers["Authorization"] = f"Bearer {subject.api_key}"
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.status
        assert self._answer.headers["Content-Type"].startswith("text/event-stream")
        threading.Thread(target=self._read, name="viewer", daemon=True).start()

    def _read(self) -> None:
        said: dict[str, str] = {}
        try:
            while line := self._answer.readline():
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name:
                    said[name] = value
                    continue
                if "data" in said:
                    self.events.append((said.get("id", ""), json.loads(said["data"])))
                said = {}
        except (OSError, http.client.HTTPException):
            pass  # closed while it was read

    def close(self) -> None:
        """Look away."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)


def soon(what: Callable[[], Any], says: str) -> Any:
    """The first true answer; an error of the service counts as "not yet"."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = what()
        except ForeshockError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not in time: {says}"
        time.sleep(0.1)
