"""A training process as the server sees it, written from the wire contract alone, without the SDK."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgpack
import numpy as np
import pytest
from fastapi.testclient import TestClient

MSGPACK = "application/x-foreshock-block"


def series(name: str, dtype: str = "f32", **more: Any) -> dict[str, Any]:
    """A series on the wire."""
    return {
        "key": name,
        "statistic": name,
        "family": "training",
        "place": "",
        "labels": {},
        "unit": "",
        "dtype": dtype,
        **more,
    }


def frame(number: int, names: Sequence[str], dtype: str = "f32") -> dict[str, Any]:
    """A frame on the wire."""
    return {"frame": number, "series": [series(name, dtype) for name in names]}


def rows(
    number: int,
    steps: Sequence[int],
    values: Any,
    *,
    dtype: str = "f32",
    times: Sequence[float] | None = None,
    absent: Any = None,
) -> dict[str, Any]:
    """A row group on the wire, as msgpack carries it."""
    group = {
        "frame": number,
        "steps": np.asarray(steps, "<i8").tobytes(),
        "times": np.asarray([1e9 + step for step in steps] if times is None else times, "<f8").tobytes(),
        "values": np.asarray(values, {"f32": "<f4", "f64": "<f8"}[dtype]).tobytes(),
    }
    if absent is not None:
        group["absent"] = np.packbits(np.asarray(absent, bool).ravel(), bitorder="little").tobytes()
    return group


class Trainer:
    """One writer of one run."""

    def __init__(
        self, client: TestClient, run: str = "run-1", attempt: int = 1, writer: str = "r0-aaaa"
    ) -> None:
        self.client = client
        self.run = run
        self.attempt = attempt
        self.writer = writer

    def open(self, **more: Any) -> Any:
        body = {
            "project": "p",
            "name": "brisk-otter",
            "config": {"lr": 1e-5},
            "started_at": 1.79e9,
            "attempt": self.attempt,
            "writer": self.writer,
            "info": {"host": "n17"},
            **more,
        }
        return self.client.put(f"/api/v1/runs/{self.run}", json=body)

    def block(
        self, seq: int, groups: Sequence[Any] = (), frames: Sequence[Any] = (), **more: Any
    ) -> dict[str, Any]:
        return {
            "v": 1,
            "attempt": self.attempt,
            "writer": self.writer,
            "seq": seq,
            "frames": list(frames),
            "rows": list(groups),
            "dropped": 0,
            **more,
        }

    def post(self, block: dict[str, Any], floor: int | None = None, **headers: str) -> Any:
        return self.post_bytes(msgpack.packb(block), MSGPACK, floor, **headers)

    def post_json(self, block: dict[str, Any], floor: int | None = None) -> Any:
        return self.post_bytes(json.dumps(block).encode(), "application/json", floor)

    def post_bytes(self, body: bytes, media_type: str, floor: int | None = None, **headers: str) -> Any:
        return self.client.post(
            f"/api/v1/runs/{self.run}/blocks",
            params={} if floor is None else {"floor": floor},
            content=body,
            headers={"Content-Type": media_type, **headers},
        )

    def send(self, seq: int, groups: Sequence[Any] = (), frames: Sequence[Any] = (), **more: Any) -> int:
        """Post a good block; the acknowledgement."""
        answer = self.post(self.block(seq, groups, frames, **more))
        assert answer.status_code == 200, answer.text
        ack: int = answer.json()["ack"]
        return ack

    def get(self, path: str = "", **params: Any) -> Any:
        answer = self.client.get(f"/api/v1/runs/{self.run}{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


class Served:
    """`foreshock serve` as a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment
        self.url = ""
        self.http: Any = None
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> Served:
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        words = ["serve", "--data-dir", str(self.folder / "data"), "--ready-file", str(ready), *arguments]
        self.process = command(*words, **self.environment)
        until = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < until, "the server did not get ready"
            time.sleep(0.02)
        self.url = ready.read_text()
        self.http = httpx2.Client(base_url=self.url, timeout=30, trust_env=False)
        return self

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Its exit status."""
        assert self.process is not None
        if self.http is not None:
            self.http.close()
        self.process.send_signal(how)
        status = self.process.wait(20)
        self.output = self.process.communicate()
        return status


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    """`foreshock WORD …` as the installed command runs it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FORESHOCK_")}
    return subprocess.Popen(
        [sys.executable, "-m", "foreshock_server", *words],
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A running server on a free port, with an embedded database of its own."""
    served = Served(tmp_path).start("--port", "0")
    yield served
    if served.process is not None and served.process.poll() is None:
        served.stop()


class Wire:
    """The functions above, for tests (which cannot import a conftest)."""

    series = staticmethod(series)
    frame = staticmethod(frame)
    rows = staticmethod(rows)
    Trainer = Trainer
    Served = Served
    command = staticmethod(command)
    MSGPACK = MSGPACK


@pytest.fixture(scope="session")
def wire() -> type[Wire]:
    return Wire


@pytest.fixture
def trainer(client: TestClient) -> Trainer:
    """A training process whose run is open."""
    trainer = Trainer(client)
    assert trainer.open().status_code == 200
    return trainer
