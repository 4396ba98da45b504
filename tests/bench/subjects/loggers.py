"""One small class per tool: open(run) -> log(numbers, step) -> finish() -> points(key). Each runs in that tool's own environment."""

import importlib
import json
import os
import sqlite3
import time
import urllib.parse
import urllib.request
from array import array
from pathlib import Path
from typing import Any


class Foreshock:
    """Ours: numbers go to the spool, a thread ships them; the step is closed by `step()`."""

    def __init__(self, folder: str, url: str) -> None:
        self.foreshock = importlib.import_module("foreshock")
        self.folder, self.url = folder, url

    def open(self, name: str) -> None:
        self.name = name
        self.run: Any = self.foreshock.init(
            project="bench", run=name, url=self.url, dir=Path(self.folder) / "spool", flush_seconds=60.0
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.run.log(numbers)
        self.run.step()

    def finish(self) -> None:
        self.run.finish()

    def points(self, key: str) -> int:
        question = urllib.parse.urlencode({"key": key, "points": 0})
        with urllib.request.urlopen(
            f"{self.url}/api/v1/runs/{self.name}/data?{question}", timeout=60
        ) as answer:
            return sum(len(series["steps"]) for series in json.load(answer)["series"])


class Frames(Foreshock):
    """Ours without an SDK: float32 statistics of 128 steps as one block, posted and waited for in the loop."""

    def open(self, name: str) -> None:
        self.name = name
        self.wire = importlib.import_module("foreshock.record.wire")
        self.transport = importlib.import_module("foreshock.send.transport")
        self.to = self.transport.HttpTransport(self.url)
        self.seq, self.steps, self.rows = 0, array("q"), array("f")
        opening = {
            "project": "bench",
            "name": name,
            "started_at": time.time(),
            "attempt": 1,
            "writer": "r0-bench",
        }
        self.send("PUT", f"/api/v1/runs/{name}", json.dumps(opening).encode(), "application/json")

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.keys = list(numbers)
        self.steps.append(step)
        self.rows.extend(numbers.values())
        if len(self.steps) == 128:
            self.flush()

    def flush(self) -> None:
        times = array("d", [time.time()] * len(self.steps))
        rows = {
            "frame": 1,
            "steps": self.steps.tobytes(),
            "times": times.tobytes(),
            "values": self.rows.tobytes(),
        }
        self.seq += 1
        named = {"family": "bench", "place": "", "labels": {}, "unit": "", "dtype": "f32"}
        series = [{"key": key, "statistic": key, **named} for key in self.keys]
        frames = [{"frame": 1, "series": series}] if self.seq == 1 else []
        block = {
            "v": 1,
            "attempt": 1,
            "writer": "r0-bench",
            "seq": self.seq,
            "frames": frames,
            "rows": [rows],
        }
        body = importlib.import_module("msgpack").packb({**block, "dropped": 0})
        self.send("POST", f"/api/v1/runs/{self.name}/blocks?floor={self.seq}", body, self.wire.MEDIA_TYPE)
        self.steps, self.rows = array("q"), array("f")

    def send(self, method: str, path: str, body: bytes, media_type: str) -> None:
        answer = self.to.exchange(self.transport.Request(method, path, body, media_type))
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer}")

    def finish(self) -> None:
        if len(self.steps):
            self.flush()
        closing = {"state": "finished", "at": time.time(), "last_seq": {"r0-bench": self.seq}}
        self.send(
            "POST",
            f"/api/v1/runs/{self.name}/attempts/1/finish",
            json.dumps(closing).encode(),
            "application/json",
        )


class Trackio:
    """Local mode: a thread writes to SQLite in the same process. With an address: its own server there."""

    def __init__(self, folder: str, url: str) -> None:
        self.url = url
        os.environ["TRACKIO_DIR"] = f"{folder}/trackio"
        self.trackio = importlib.import_module("trackio")

    def open(self, name: str) -> None:
        self.name = name
        more = {"server_url": self.url} if self.url else {}
        self.trackio.init(
            project="bench", name=name, embed=False, auto_log_gpu=False, auto_log_cpu=False, **more
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.trackio.log(numbers, step=step)

    def finish(self) -> None:
        self.trackio.finish()

    def points(self, key: str) -> int:
        if self.url:
            question = json.dumps({"project": "bench", "run": self.name, "metric_name": key}).encode()
            asked = urllib.request.Request(
                f"{self.url.partition('/?')[0]}/api/get_metric_values",
                question,
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=60) as answer:
                found = json.load(answer)
            return len(found["data"] if isinstance(found, dict) else found)
        storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
        return len(storage.get_metric_values("bench", self.name, key))


class Wandb:
    """Offline mode: a side process writes a file; system statistics, git and console capture are off."""

    def __init__(self, folder: str, url: str) -> None:
        places = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
        os.environ.update(
            dict.fromkeys(places, folder),
            WANDB_MODE="offline",
            WANDB_SILENT="true",
            WANDB_ERROR_REPORTING="false",
        )
        self.wandb = importlib.import_module("wandb")
        self.folder = folder

    def open(self, name: str) -> None:
        quiet = self.wandb.Settings(
            x_disable_stats=True, x_disable_meta=True, disable_git=True, disable_code=True, console="off"
        )
        self.run: Any = self.wandb.init(
            project="bench", name=name, dir=self.folder, mode="offline", settings=quiet
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.run.log(numbers, step=step)

    def finish(self) -> None:
        self.run.finish()


class Sqlite:
    """The floor: a row per point, one transaction per step, WAL, synchronous=NORMAL."""

    def __init__(self, folder: str, url: str) -> None:
        self.folder = folder

    def open(self, name: str) -> None:
        self.name = name
        self.db = sqlite3.connect(f"{self.folder}/{name}.db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute(
            "CREATE TABLE point (key INTEGER, step INTEGER, value REAL, PRIMARY KEY (key, step)) WITHOUT ROWID"
        )
        self.keys: dict[str, int] = {}

    def log(self, numbers: dict[str, float], step: int) -> None:
        keys = self.keys
        rows = [(keys.setdefault(key, len(keys)), step, value) for key, value in numbers.items()]
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO point VALUES (?, ?, ?)", rows)
        self.db.execute("COMMIT")

    def finish(self) -> None:
        self.db.close()

    def points(self, key: str) -> int:
        db = sqlite3.connect(f"{self.folder}/{self.name}.db")
        try:
            return len(
                db.execute(
                    "SELECT step, value FROM point WHERE key = ? ORDER BY step", (self.keys[key],)
                ).fetchall()
            )
        finally:
            db.close()


LOGGERS: dict[str, Any] = {
    "foreshock": Foreshock,
    "frames": Frames,
    "trackio": Trackio,
    "wandb": Wandb,
    "sqlite": Sqlite,
}
