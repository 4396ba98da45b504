"""A thousand large requests at once: most are told to come again, none is lost track of, and memory stays within its bound."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import msgpack
import numpy as np
import pytest
from tests.bench.service import serving

from foreshock_server.ingest.receiving import MOST_INCOMING

CLIENTS = 1000
RUNS = 50
SERIES, STEPS = 256, 500  # a megabyte of float64


def peak(pid: int) -> int:
    """The most that was resident, in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


async def send(url: str, run: str, body: bytes, begin: asyncio.Event) -> int:
    """The status of the answer; the body is sent when the server did not refuse it by its head."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /api/v1/runs/{run}/blocks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-foreshock-block\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
    await begin.wait()
    answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
    try:
        await asyncio.wait({answer}, timeout=8)
        for start in range(0, len(body), 2**16):
            if answer.done():
                break
            writer.write(body[start : start + 2**16])
            await writer.drain()
        return int((await answer).split()[1])
    finally:
        writer.close()


@pytest.mark.slow
def test_a_thousand_large_requests_at_once_stay_within_the_bound(wire, tmp_path):
    frame = wire.frame(1, [f"s{i}" for i in range(SERIES)], "f64")
    values = np.random.default_rng(0).random((STEPS, SERIES))
    rows = wire.rows(1, range(STEPS), values, dtype="f64")
    block = {"v": 1, "attempt": 1, "writer": "r0-a", "seq": 1, "frames": [frame], "rows": [rows]}
    body = msgpack.packb(block)
    with serving(
        tmp_path / "server"
    ) as server:  # its log goes to a file: a pipe that nobody reads would stop it
        for i in range(RUNS):
            opening = {"project": "p", "started_at": 1.0, "attempt": 1, "writer": "r0-a"}
            server.send("PUT", f"/runs/run-{i}", opening)
        before = peak(server.pid)

        async def all_of_them() -> Counter[int]:
            begin = asyncio.Event()
            tasks = [
                asyncio.ensure_future(send(server.url, f"run-{i % RUNS}", body, begin))
                for i in range(CLIENTS)
            ]
            await asyncio.sleep(1)
            begin.set()
            return Counter(await asyncio.gather(*tasks))

        told = asyncio.run(all_of_them())
        grown = peak(server.pid) - before
    assert set(told) <= {200, 429, 503}
    assert told[200] >= 1
    assert told[429] + told[503] >= CLIENTS / 2
    # what is held, once more while it is decoded, and once more while it is written; a thousand connections
    assert grown < 3 * MOST_INCOMING + 100 * 2**20, f"{grown / 2**20:.0f} MiB"
