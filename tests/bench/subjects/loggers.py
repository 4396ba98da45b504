"""One small class per tool: open(run) -> log(numbers, step) -> finish() -> points(key). Each runs in that tool's own environment."""

import importlib
import json
import os
import sqlite3
import urllib.parse
import urllib.request
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


class Trackio:
    """Local mode: a thread writes to SQLite in the same process."""

    def __init__(self, folder: str, url: str) -> None:
        os.environ["TRACKIO_DIR"] = f"{folder}/trackio"
        self.trackio = importlib.import_module("trackio")

    def open(self, name: str) -> None:
        self.name = name
        self.trackio.init(project="bench", name=name, embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.trackio.log(numbers, step=step)

    def finish(self) -> None:
        self.trackio.finish()

    def points(self, key: str) -> int:
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


LOGGERS: dict[str, Any] = {"foreshock": Foreshock, "trackio": Trackio, "wandb": Wandb, "sqlite": Sqlite}
