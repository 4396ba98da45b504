"""What watching costs the training thread: a call of log(), and a training step with everything at its default cadence."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench.report import Measure
from tests.bench.service import Server, free_port, serving
from tests.bench.turns import Subject, ours, rival, turns

LOGGING = ((20, 0.0, 400), (500, 0.0, 200), (20, 0.005, 200))  # metrics, pause after a step, steps of a turn
TURN = 5  # training steps of a turn: short, so that a change of the machine's mood meets every subject
GROUP = 4  # turns that make one run, with two steps at our cadence of ten; five runs hold the one record of wandb.watch


def run(folder: Path, quick: bool) -> list[Measure]:
    """Both halves against one server."""
    measures = []
    with serving(folder / "server") as server:
        for metrics, pause, steps in LOGGING:
            where = folder / f"log-{metrics}-{pause}"
            measures.append(
                _log_calls(where, server, metrics, pause, steps // 20 if quick else steps, 1 if quick else 7)
            )
        measures += _training_steps(folder / "training", server, quick)
    return measures


def _log_calls(folder: Path, server: Server, metrics: int, pause: float, steps: int, rounds: int) -> Measure:
    pace = f"{pause * 1e3:g} ms between steps" if pause else "back to back"
    measure = Measure(f"log {metrics} metrics, {pace}, training thread", "us", "lower")
    script, absent = "log_steps.py", f"http://127.0.0.1:{free_port()}"
    starts: dict[str, Callable[[], Subject]] = {
        "foreshock": partial(ours, "foreshock", script, "foreshock", server.url, folder / "up", server.pid),
        "foreshock, server absent": partial(
            ours, "foreshock, server absent", script, "foreshock", absent, folder / "absent"
        ),
        "trackio": partial(rival, "trackio", script, folder / "trackio"),
        "wandb": partial(rival, "wandb", script, folder / "wandb"),
        "SQLite, a row per point": partial(
            ours, "SQLite, a row per point", script, "sqlite", "", folder / "sqlite"
        ),
    }
    with turns(measure) as taking:
        for name, start in starts.items():
            taking.enter(name, start, {"do": "open", "run": f"log-{metrics}-{pause}"})
        for turn in range(rounds + 1):
            for subject, spent in taking.round(
                {"do": "log", "metrics": metrics, "steps": steps, "pause": pause}
            ):
                if turn:  # the first one warms up
                    measure.add(subject, spent)
    return measure


def _training_steps(folder: Path, server: Server, quick: bool) -> list[Measure]:
    shape = "6-layer transformer, d=256, T=128, B=16, V=1000"
    step = Measure(f"training step, {shape}", "ms", "lower")
    ratio = Measure(
        f"training step over the bare one, mean of {TURN * GROUP} steps, {shape}", "ratio", "lower"
    )
    whole = Measure(ratio.what.replace(f"{TURN * GROUP} steps", "all steps"), "ratio", "lower")
    script, runs = "training.py", 1 if quick else 5
    names = {
        "bare": "bare",
        "foreshock": "foreshock",
        "svd": "effective rank by exact SVD, 6 blocks, each step",
    }
    with turns(step, ratio, whole) as taking:
        for variant, name in names.items():
            companion = server.pid if variant == "foreshock" else None
            taking.enter(name, partial(ours, name, script, variant, server.url, folder / variant, companion))
        taking.enter("wandb", partial(rival, "wandb", script, folder / "wandb"))
        request = {"steps": 1 if quick else TURN, "threads": os.cpu_count() or 1}
        for _ in taking.round(request):  # warms up
            pass
        total: dict[str, float] = {}
        for _ in range(runs):
            group: dict[str, list[float]] = {}
            for _ in range(1 if quick else GROUP):
                for subject, seconds in taking.round(request):
                    group.setdefault(subject, []).extend(seconds)
            bare = sum(group.get("bare", ()))
            for subject, seconds in group.items():
                step.add(subject, (s * 1e3 for s in seconds))
                total[subject] = total.get(subject, 0.0) + sum(seconds)
                if subject != "bare" and bare:
                    ratio.add(subject, sum(seconds) / bare)
        for subject in total.keys() - {"bare"}:
            whole.add(subject, total[subject] / total["bare"])
    return [step, ratio, whole]
