"""A real server on loopback in this process, and runs that are sent to it as the wire contract says."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import urllib3
import uvicorn

from foreshock_server import migrate
from foreshock_server.app import create_app
from foreshock_server.db import Database
from foreshock_server.rules.evaluator import Evaluator
from foreshock_server.settings import Settings

PLACES = ("model.layers.0", "model.layers.1", "model.layers.10")
STEPS = 3000


class Server:
    """The application on a free port, on a thread of its own."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        self.settings = Settings(data_dir=data_dir, port=0, workers=False, **settings)
        database = Database(self.settings.url)
        migrate.to_head(database)
        database.close()
        self.app = create_app(self.settings)
        self._server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_level="error", lifespan="on"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30.0
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def send(self, method: str, path: str, body: Any, **headers: str) -> Any:
        answer = urllib3.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers)
        assert answer.status == 200, answer.data
        return answer.json()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20.0)


def text(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def train(
    server: Server, run: str, *, name: str, project: str = "grpo-math", attempts: int = 1, nan: bool = True
) -> dict[str, np.ndarray]:
    """Sends a run as the wire contract says, in JSON; what it sent, by key."""
    random = np.random.default_rng(7)
    steps = np.arange(STEPS)
    entropy = np.exp(-steps / 900.0) + 0.01 * random.standard_normal(STEPS)
    if nan:
        entropy[[100, 2500]] = np.nan
        entropy[200], entropy[201] = np.inf, -np.inf
    ranks = {f"effective_rank{{place={place}}}": random.uniform(1, 64, STEPS) for place in PLACES}
    series = [
        {"key": "policy_entropy", "statistic": "policy_entropy", "family": "policy entropy", "place": "", "labels": {}, "unit": "nat"},
        *(
            {"key": key, "statistic": "effective_rank", "family": "representation", "place": place, "labels": {"place": place}, "unit": ""}
            for key, place in zip(ranks, PLACES, strict=True)
        ),
    ]  # fmt: skip
    values = np.stack([entropy, *ranks.values()], axis=1)
    for attempt in range(1, attempts + 1):
        opening = {
            "project": project, "name": name, "config": {"lr": 1e-5, "note": "<b>"}, "started_at": 1.79e9, "attempt": attempt,
            "writer": f"w{attempt}", "info": {"host": "n17"},
        }  # fmt: skip
        server.send("PUT", f"/runs/{run}", opening)
        group = {
            "frame": 1,
            "steps": steps.tolist(),
            "times": (1.79e9 + steps).tolist(),
            "values": list(map(text, values.ravel().tolist())),
        }
        block = {
            "v": 1, "attempt": attempt, "writer": f"w{attempt}", "seq": 1, "dropped": 0, "rows": [group],
            "frames": [{"frame": 1, "series": [{**one, "dtype": "f64"} for one in series]}],
        }  # fmt: skip
        assert server.send("POST", f"/runs/{run}/blocks", block)["ack"] == 1
    return {"policy_entropy": entropy, **ranks}


class Trainer:
    """A run that sends a few steps at a time."""

    SERIES = ("policy_entropy", "reward_mean")

    def __init__(
        self, server: Server, run: str, *, project: str = "live", name: str = "", attempt: int = 1
    ) -> None:
        self.server, self.run, self.attempt = server, run, attempt
        self.seq = 0
        opening = {"project": project, "name": name or run, "config": {}, "started_at": 1.79e9 + attempt, "attempt": attempt, "writer": f"w{attempt}", "info": {}}  # fmt: skip
        server.send("PUT", f"/runs/{run}", opening)

    def send(self, first: int, values: Any) -> None:
        """Readings of both series from step `first` on: values [steps, 2]."""
        self.seq += 1
        steps = list(range(first, first + len(values)))
        about = {"place": "", "labels": {}, "unit": "nat", "dtype": "f64"}
        families = ("policy entropy", "RL signal")
        series = [
            {"key": name, "statistic": name, "family": family, **about}
            for name, family in zip(self.SERIES, families, strict=True)
        ]
        flat = [text(float(one)) for one in np.asarray(values).ravel()]
        group = {"frame": 1, "steps": steps, "times": [1.79e9 + step for step in steps], "values": flat}
        block = {"v": 1, "attempt": self.attempt, "writer": f"w{self.attempt}", "seq": self.seq, "dropped": 0, "rows": [group], "frames": [{"frame": 1, "series": series}]}  # fmt: skip
        self.server.send("POST", f"/runs/{self.run}/blocks", block)

    def finish(self, state: str = "finished") -> None:
        """The attempt is over, and everything was sent."""
        body = {"state": state, "at": 1.79e9 + 1e6, "last_seq": {f"w{self.attempt}": self.seq}}
        self.server.send("POST", f"/runs/{self.run}/attempts/{self.attempt}/finish", body)


def judge(server: Server, *runs: str) -> None:
    """Let the rules look at these runs, until nothing is left to look at."""
    state = server.app.state
    alone = SimpleNamespace(mine=lambda run_id: run_id in runs)
    evaluator = Evaluator(state.database, state.rules, state.bus, state.settings, leases=alone)
    while evaluator.run_once():
        pass
