"""Our server as a process on a free loopback port, and the few requests that an area makes of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class NotUp(Exception):
    """The server's process ended, or stayed silent."""


class Server:
    """The address of a running server, and JSON to and from it."""

    def __init__(self, url: str, data_dir: Path, pid: int) -> None:
        self.url, self.data_dir, self.pid = url, data_dir, pid  # the pid is also the id of its process group

    def get(self, path: str) -> Any:
        """The JSON under /api/v1."""
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=60) as answer:
            return json.load(answer)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """A JSON request under /api/v1, and its answer."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}", json.dumps(body).encode(), headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def open(self, run: str) -> None:
        """Opens a run as an SDK does."""
        body = {
            "project": "bench",
            "name": run,
            "config": {},
            "started_at": time.time(),
            "attempt": 1,
            "writer": "r0-bench",
        }
        self.send("PUT", f"/runs/{run}", {**body, "info": {"world_size": 1}})

    def block(
        self,
        run: str,
        seq: int,
        series: Sequence[Mapping[str, Any]],
        first: int,
        values: Sequence[Sequence[float | str]],
    ) -> None:
        """One block of consecutive steps; the first block of a run also defines the frame."""
        steps = list(range(first, first + len(values)))
        rows = {
            "frame": 1,
            "steps": steps,
            "times": [time.time()] * len(steps),
            "values": [v for row in values for v in row],
        }
        frames = [{"frame": 1, "series": series}] if seq == 1 else []
        body = {
            "v": 1,
            "attempt": 1,
            "writer": "r0-bench",
            "seq": seq,
            "frames": frames,
            "rows": [rows],
            "dropped": 0,
        }
        self.send("POST", f"/runs/{run}/blocks?floor=1", body)


def series(
    statistic: str, family: str, unit: str = "", place: str = "", dtype: str = "f32"
) -> dict[str, Any]:
    """A series of the wire contract; its labels are its place."""
    labels = {"place": place} if place else {}
    key = f"{statistic}{{place={place}}}" if place else statistic
    return {
        "key": key,
        "statistic": statistic,
        "family": family,
        "place": place,
        "labels": labels,
        "unit": unit,
        "dtype": dtype,
    }


@contextmanager
def serving(data_dir: Path, *, again: bool = False, **environment: str) -> Iterator[Server]:
    """`foreshock serve` over an empty folder, or `again` over one it served before, ended afterwards; its log is beside the data."""
    data_dir.mkdir(parents=True, exist_ok=again)
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        sys.executable,
        "-m",
        "foreshock_server",
        "serve",
        "--port",
        url.rpartition(":")[2],
        "--data-dir",
        str(data_dir),
    ]
    log = data_dir.parent / f"{data_dir.name}.log"
    with answering(command, {**os.environ, **environment}, f"{url}/readyz", log) as pid:
        _wait_for_stages(url)
        yield Server(url, data_dir, pid)


@contextmanager
def answering(command: Sequence[str], environment: Mapping[str, str], url: str, log: Path) -> Iterator[int]:
    """A server process that answers at this URL, ours or a rival's; the id of its process group."""
    with log.open("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise NotUp(f"{command[0]} … does not answer at {url}: {said.read()[-600:]}")
                time.sleep(0.05)
            yield process.pid
        finally:
            process.send_signal(signal.SIGCONT)  # where its last turn left it standing still
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_stages(url: str) -> None:
    """Until each stage has had a round: what starting takes is nobody's reading."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        rounds = [
            line.rpartition(" ")[2] for line in lines if line.startswith("foreshock_stage_rounds_total{")
        ]
        if all(float(number) > 0 for number in rounds):
            return
        time.sleep(0.05)
    raise NotUp(f"the stages of {url} do nothing")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on; for an address where no server is, just as well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
