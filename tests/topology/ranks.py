"""Ranks of one job as processes that report to a server, and what the server has merged of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tests.topology.processes import ROOT, Server

from foreshock.query.client import Client


def train(module: str, kind: str, world: int, server: Server, folder: Path, *more: str) -> None:
    """All ranks of a module of the zoo, to their end."""
    ranks = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", module, kind, str(rank), str(world)),
                *(str(folder / f"{kind}-store"), server.url, str(folder / "spool"), *more),
            ],
            cwd=ROOT,
            env={**os.environ, "FORESHOCK_STRICT": "1"},
        )
        for rank in range(world)
    ]
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0] * world
    finally:
        for rank in ranks:
            rank.kill()


def columns(server: Server, run: str, until: str, last_step: int) -> dict[str, np.ndarray]:
    """Every series of a run by key, once the series `until` has this step; of a run of one process at once."""
    view = Client(server.url).run(run)
    deadline = time.monotonic() + 60
    while True:
        listed = view.refresh().series_list()
        reached = [one["last_step"] for one in listed if one["key"] == until]
        if run == "alone" or reached == [last_step]:
            names = dict.fromkeys(one["key"].split("{")[0] for one in listed)
            found = {one.keys[0]: one.values for name in names for one in view.series(name)}
            rest = [one["key"] for one in listed if one["key"] not in found]  # of a name that is also a key
            return found | {key: view.series(key).values for key in rest}
        assert time.monotonic() < deadline, "the ranks were not merged"
        time.sleep(0.2)


def apart(key: str) -> str:
    """The key of the same statistic without a rank."""
    name, _, labels = key.partition("{")
    rest = [label for label in labels.rstrip("}").split(",") if label and not label.startswith("rank=")]
    return f"{name}{{{','.join(rest)}}}" if rest else name
