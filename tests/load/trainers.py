"""`python -m tests.load.trainers URL RUNS SERIES SECONDS [FRAME]`: that many runs, one step a second each -> JSON of what was sent and how long answers took.

One process and cheap clients, a block of one step in each request: what a server sees of a team, without the cost of its SDKs.
FRAME: a file with the series of each run and the levels of their readings, {"series": […], "levels": […]}; else they are made up.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgpack
import numpy as np

BUSY = (429, 503)
KINDS = (
    ("effective_rank", {"centered": "true"}, "representation"),
    ("nonfinite_count", {"tensor": "gradient"}, "numerics"),
    ("grad_norm", {}, "gradients"),
    ("attention_entropy", {}, "attention"),
    ("dead_fraction", {}, "plasticity"),
)


@dataclass
class Told:
    """What all runs together saw."""

    sent: int = 0  # blocks acknowledged
    refused: int = 0  # answers 429 and 503, sent again
    failures: list[str] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)  # when, milliseconds
    behind: float = 0.0  # seconds, the most that a step was sent after its time


def series(number: int) -> list[dict[str, Any]]:
    """So many series of the wire contract: a loss and statistics that rules watch, of as many places as that takes."""
    found = [_series("loss", {}, "training"), _series("policy_entropy", {}, "policy entropy")]
    place = 0
    while len(found) < number:
        for statistic, labels, family in KINDS:
            found.append(_series(statistic, {**labels, "place": f"layers.{place}"}, family))
        place += 1
    return found[:number]


def _series(statistic: str, labels: dict[str, str], family: str) -> dict[str, Any]:
    inside = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    key = f"{statistic}{{{inside}}}" if labels else statistic
    place = labels.get("place", "")
    return {"key": key, "statistic": statistic, "family": family, "place": place, "labels": labels, "unit": "", "dtype": "f32"}  # fmt: skip


class Connection:
    """HTTP/1.1, kept open, just as much of it as the answers of our server need."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, media_type: str, body: bytes) -> tuple[int, bytes]:
        """Status and body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answer.partition("content-length:")[2].split()[0])
        return int(answer.split()[1]), await reader.readexactly(length)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Frame(NamedTuple):
    """What each run sends a step."""

    series: list[dict[str, Any]]
    levels: list[float] | None = None  # None: each run has its own
    spread: float = 0.1  # of a reading about its level


async def train(url: str, run: str, frame: Frame, first: float, until: float, told: Told, seed: int) -> None:
    """One run: opened, a block a second from `first` to `until`, closed."""
    rng = np.random.default_rng(seed)
    about, number = frame.series, len(frame.series)
    # healthy runs: a count of what is not finite is 0, the rest is noise about a level
    level = np.array(
        frame.levels
        or [0.0 if one["statistic"] == "nonfinite_count" else rng.uniform(0.5, 5.0) for one in about]
    )
    connection = Connection(url)
    opening = {"project": "load", "name": run, "started_at": time.time(), "attempt": 1, "writer": "r0-load"}
    await _deliver(
        connection, "PUT", f"/api/v1/runs/{run}", "application/json", json.dumps(opening).encode(), told
    )
    step = 0
    while (due := first + step) < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        told.behind = max(told.behind, time.monotonic() - due)
        values = level * (1 + frame.spread * rng.standard_normal(number))
        rows = {
            "frame": 1,
            "steps": np.array([step], "<i8").tobytes(),
            "times": np.array([time.time()], "<f8").tobytes(),
            "values": values.astype("<f4").tobytes(),
        }
        frames = [{"frame": 1, "series": about}] if step == 0 else []
        block = {"v": 1, "attempt": 1, "writer": "r0-load", "seq": step + 1, "frames": frames, "rows": [rows], "dropped": 0}  # fmt: skip
        path = f"/api/v1/runs/{run}/blocks?floor={step + 1}"
        began = time.monotonic()
        await _deliver(connection, "POST", path, "application/x-foreshock-block", msgpack.packb(block), told)
        told.latencies.append((began, (time.monotonic() - began) * 1e3))
        told.sent += 1
        step += 1
    closing = json.dumps({"state": "finished", "at": time.time(), "last_seq": {"r0-load": step}}).encode()
    await _deliver(
        connection, "POST", f"/api/v1/runs/{run}/attempts/1/finish", "application/json", closing, told
    )
    connection.close()


async def _deliver(
    connection: Connection, method: str, path: str, media_type: str, body: bytes, told: Told
) -> None:
    """Until it is taken, as an SDK does it."""
    while True:
        try:
            status, answer = await connection.ask(method, path, media_type, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            told.failures.append(f"{type(error).__name__}: {error}")
            connection.close()
            await asyncio.sleep(1)
            continue
        if status == 200:
            return
        if status not in BUSY:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        told.refused += 1
        await asyncio.sleep(1)


async def main(url: str, runs: int, frame: Frame, seconds: float) -> dict[str, Any]:
    """All runs, begun over one second so that their steps are spread."""
    told = Told()
    start = time.monotonic() + 2
    trains = (
        train(url, f"load-{i:04}", frame, start + i / runs, start + i / runs + seconds, told, i)
        for i in range(runs)
    )
    await asyncio.gather(*trains)
    return {
        "sent": told.sent,
        "refused": told.refused,
        "failures": told.failures[:20],
        "behind": told.behind,
        "latencies": [(at - start, spent) for at, spent in told.latencies],
    }


if __name__ == "__main__":
    chosen = Frame(series(int(sys.argv[3])))
    if len(sys.argv) > 5:
        written = json.loads(Path(sys.argv[5]).read_text())
        chosen = Frame(written["series"], written["levels"], 0.02)
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), chosen, float(sys.argv[4])))))
