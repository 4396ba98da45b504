"""With a hundred runs alive: from the end of the step that shows it, in a training process with the SDK, to the webhook in hand."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tests.bench.processes import usage
from tests.bench.report import OURS, Measure, quantile
from tests.bench.service import Server, serving
from tests.bench.typical import typical

import foreshock
from foreshock.demo.receiver import Receiver

RUNS, SERIES = 100, 500
WARM = 90.0  # seconds of steps before the first message, in which most windows of the rules fill
STEPS, PACE = 20, 0.05  # of a run that is measured, before the one that tells
PATIENCE = 30.0  # seconds after which a message counts as lost


class NoMessage(Exception):
    """The webhook did not come."""


def run(folder: Path, quick: bool) -> list[Measure]:
    """The runs are simulated (tests/load/trainers.py: a block a second each, of the series of a 12-layer transformer), what is measured trains by the SDK."""
    runs, warm, rounds, repeats = (4, 2.0, 1, 2) if quick else (RUNS, WARM, 3, 20)
    alive = f"{runs} runs of {SERIES} series alive"
    each = Measure(f"a step with a NaN loss ended, until its webhook has arrived; {alive}", "ms", "lower")
    late = Measure(f"the same, p95 of {repeats} messages; {alive}", "ms", "lower")
    busy = Measure(f"processor time of the server; {alive}", "cores", "lower")
    frame = folder / "frame.json"
    folder.mkdir(parents=True, exist_ok=True)
    told = typical(folder / "typical", SERIES)
    frame.write_text(json.dumps({"series": told.series, "levels": told.levels.tolist()}))
    receiver = Receiver()
    secrets = {"FORESHOCK_WEBHOOK_URL": receiver.url, "FORESHOCK_WEBHOOK_SECRET": receiver.secret}
    seconds = warm + rounds * repeats * (STEPS * PACE + 4.0) + 60.0
    try:
        with serving(folder / "server", **secrets) as server, tempfile.TemporaryFile("w+") as said:
            command = [
                sys.executable,
                "-m",
                "tests.load.trainers",
                server.url,
                str(runs),
                str(SERIES),
                str(seconds),
                str(frame),
            ]
            others = subprocess.Popen(command, stdout=said)
            try:
                time.sleep(warm)
                for turn in range(rounds):
                    before, began = usage(server.pid).cpu, time.monotonic()
                    spent = [
                        _latency(folder / f"spool-{turn}", receiver, server, f"alive-{turn}-{repeat}") for repeat in range(repeats)
                    ]  # fmt: skip
                    busy.add(OURS, (usage(server.pid).cpu - before) / (time.monotonic() - began))
                    each.add(OURS, spent)
                    late.add(OURS, quantile(spent, 0.95))
                if others.poll() is not None:
                    raise NoMessage("the other runs ended early")
            finally:
                others.kill()
                others.wait()
    finally:
        receiver.close()
    return [each, late, busy]


def _latency(spool: Path, receiver: Receiver, server: Server, name: str) -> float:
    """Milliseconds; the message must be signed as its receiver can check."""
    run = foreshock.init(project="bench", name=name, run=name, url=server.url, dir=spool)
    rng = np.random.default_rng(len(name))
    for step in range(STEPS):
        run.log(loss=2.0 - step / 100 + 0.01 * rng.standard_normal())
        run.step()
        time.sleep(PACE)
    run.log(loss=float("nan"))
    run.step()
    ended = time.time()
    until = time.monotonic() + PATIENCE
    while not receiver.about(name):
        if time.monotonic() > until:
            raise NoMessage(f"no webhook about {name} within {PATIENCE:g} s")
        time.sleep(0.005)
    run.finish()
    came = receiver.about(name)[0]
    if not came.verified:
        raise NoMessage(f"the webhook about {name} came with a signature that does not verify")
    return (came.at - ended) * 1e3
