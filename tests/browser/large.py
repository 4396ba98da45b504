"""A run as large as runs become, sealed: every statistic of the reference at as many places as it takes."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
from tests.bench.reading import database_at, seal

from foreshock_server.store.blocks import append
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, lock_run, open_run
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

TOGETHER = 500  # series of a frame, and of a writer
ROWS = 4096  # steps of a block
ALONE = (
    "policy entropy",
    "RL signal",
    "output logits",
    "numerics",
    "monitor",
    "diversity",
)  # of the whole model
RUN = "large"


def named(count: int) -> list[NewSeries]:
    """So many series: those of the whole model, then layer after layer those of a place."""
    told = json.loads((files("foreshock_server.reference") / "statistics.json").read_text())["statistics"]
    alone = [name for name, one in told.items() if one["family"] in ALONE]
    placed = [name for name, one in told.items() if one["family"] not in ALONE]
    found = [NewSeries(name, name, told[name]["family"], "", {}, told[name]["unit"], "f32") for name in alone]
    layer = 0
    while len(found) < count:
        place = f"model.layers.{layer}"
        found += [
            NewSeries(
                f"{name}{{place={place}}}", name, told[name]["family"], place, {"place": place}, told[name]["unit"], "f32"
            )
            for name in placed
        ]  # fmt: skip
        layer += 1
    return found[:count]


def fill(folder: Path, series: int, steps: int) -> None:
    """A database in `folder` as `serve --data-dir` wants it, with the run RUN in it, at rest."""
    folder.mkdir(parents=True)
    database = database_at(folder / "foreshock.db")
    random = np.random.default_rng(0)
    at, times = np.arange(steps, dtype=np.int64), 1.7e9 + 0.5 * np.arange(steps)
    every = named(series)
    # Eighths: as many numbers to read, and fewer bytes to write.
    noise = (np.round(8 * random.normal(8, 1, (steps, 50))) / 8).astype(np.float32)
    for start in range(0, series, TOGETHER):
        some, writer = every[start : start + TOGETHER], f"w{start}"
        table = np.tile(noise, (1, -(-len(some) // 50)))[:, : len(some)]
        with database.writing() as session:
            told = {
                "project": "p",
                "name": "grand-otter",
                "config": {"lr": 1e-5},
                "info": {},
                "started_at": 1.7e9,
                "now": 1.7e9,
            }
            open_run(session, RUN, attempt=1, writer=writer, **told)
            register_frames(session, RUN, 1, writer, [NewFrame(1, "f32", some)])
        for seq, first in enumerate(range(0, steps, ROWS), 1):
            part = slice(first, first + ROWS)
            with database.writing() as session:
                lock_run(session, RUN)
                row = ensure_writer(session, RUN, 1, writer, now=1.7e9)
                append(session, row, seq, [RowGroup(1, at[part], times[part], table[part], None)], 1.7e9)
        seal(database, RUN)
    database.engine.dispose()
