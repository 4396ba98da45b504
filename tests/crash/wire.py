"""Blocks as the SDK writes them, and what a bad line, a bad memory or a stranger makes of them."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3
from tests.crash.logged import row

from foreshock.losses import Losses
from foreshock.record.packing import HostRow, Packer, Writer
from foreshock.record.wire import MEDIA_TYPE
from foreshock.spool.segment import Kind

Damage = Callable[[random.Random, bytes], bytes]


def recorded(blocks: int, steps: int) -> list[bytes]:
    """So many blocks of so many steps each, as the SDK's packer makes them for the writer r0-a."""
    packer = Packer(Writer(1, "r0-a"), Losses())
    found = []
    for block in range(blocks):
        for step in range(block * steps, (block + 1) * steps):
            packer.add(HostRow(step, 1.79e9 + step, row(step), 0.01 * step, 1e-4 * step))
        found += [record.payload for record in packer.pack() if record.kind is Kind.BLOCK]
    return found


def flipped(rng: random.Random, body: bytes) -> bytes:
    """One to three bits of it turned over."""
    damaged = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        damaged[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncated(rng: random.Random, body: bytes) -> bytes:
    """Its beginning."""
    return body[: rng.randrange(len(body))]


def spliced(rng: random.Random, body: bytes) -> bytes:
    """A stretch of it repeated over another one."""
    start, to, size = rng.randrange(len(body)), rng.randrange(len(body)), rng.randint(1, 64)
    return body[:to] + body[start : start + size] + body[to + size :]


class Line:
    """One kept connection to the blocks of a run."""

    def __init__(self, url: str, run_id: str) -> None:
        self.run_id = run_id
        self._url = f"{url}/api/v1/runs/{run_id}"
        self._parts = urlsplit(url)
        self._pool = urllib3.PoolManager(timeout=60.0)

    def open(self, writer: str) -> None:
        """Begin the run."""
        body = {"project": "crash", "name": self.run_id, "started_at": 1.79e9, "attempt": 1, "writer": writer}
        answer = self._pool.request("PUT", self._url, json=body, retries=False)
        assert answer.status == 200, answer.data

    def post(self, body: bytes, **headers: str) -> tuple[int, Any]:
        """The status and what was said."""
        answer = self._pool.request(
            "POST",
            f"{self._url}/blocks",
            body=body,
            headers={"Content-Type": MEDIA_TYPE, **headers},
            retries=False,
        )
        return answer.status, answer.json()

    def cut(self, body: bytes, at: int) -> None:
        """Promise all of it, send its beginning, and hang up."""
        assert self._parts.hostname is not None
        with socket.create_connection((self._parts.hostname, self._parts.port or 80), timeout=10) as line:
            head = (
                f"POST {urlsplit(self._url).path}/blocks HTTP/1.1\r\nHost: {self._parts.netloc}\r\n"
                f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            line.sendall(head.encode() + body[:at])

    def get(self, path: str) -> int:
        """The status of a question about the run."""
        return self._pool.request("GET", self._url + path, retries=False).status


def shuffled(rng: random.Random, blocks: Sequence[bytes]) -> list[bytes]:
    """Each block once to three times, in any order."""
    sent = [block for block in blocks for _ in range(rng.randint(1, 3))]
    rng.shuffle(sent)
    return sent
