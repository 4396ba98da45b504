"""What watching costs the training thread: a call of log(), and a training step, beside what else watches training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from tests.bench.report import OURS, Measure
from tests.bench.service import Server, free_port, serving
from tests.bench.turns import Subject, ours, rival, turns

LOGGING = ((20, 0.0, 400), (500, 0.0, 200), (20, 0.005, 200))  # metrics, pause after a step, steps of a turn
TURN = 5  # training steps of a turn that count: short, so that a change of the machine's mood meets every subject
BEFORE = 1  # and before them, for what fell due while the subject, and the server beside it, stood still
GROUP = 4  # turns that make one run, with two steps at our cadence of ten; five runs hold the one record of wandb.watch
SELDOM = 4  # of so many runs those many times dearer take part in one: what they cost shows at once
WARM = (
    100  # steps of ours before: the first records of all places are paid off by then, and their prices known
)
ALONE = "no server on these cores"


@dataclass(frozen=True)
class Shape:
    """A model, who trains it, and for how long; see subjects/models.py."""

    name: str
    about: str
    subjects: Mapping[str, str]  # what a row says -> the variant of subjects/training.py
    runs: int
    dear: tuple[str, ...] = ()  # beginnings of the names of subjects that take part seldom

    def asks(self, subject: str, run: int) -> bool:
        """Whether it takes part in this run."""
        return run % SELDOM == 0 or not subject.startswith(self.dear)

    def steps(self, subject: str, quick: bool) -> int:
        """Of a turn. Cockpit's take seconds each, and all of them cost alike."""
        return BEFORE + (1 if quick or subject.startswith("cockpit") else TURN)


SHAPES = (
    Shape(
        "transformer",
        "6-layer transformer, d=256, T=128, B=16, V=1000",
        {
            "bare": "bare",
            "bare again": "bare",  # what it differs by from the first is the error of the table
            "foreshock": "foreshock",
            f"foreshock, {ALONE}": "foreshock-alone",
            f"foreshock, every family, {ALONE}": "foreshock-every",
            "foreshock, every family, no budget": "foreshock-all",
            "wandb.watch every 100 steps": "wandb-100",
            "wandb.watch every step": "wandb-1",
            "cockpit economy": "cockpit-economy",
            "cockpit full": "cockpit-full",
            "effective rank by exact SVD, 6 blocks, each step": "svd",
        },
        runs=8,
        dear=(
            "foreshock, every family, no budget",
            "wandb.watch every step",
            "cockpit",
            "effective rank by exact SVD",
        ),
    ),
    Shape(
        "convolutional",
        "3c3d of DeepOBS, B=64",
        {
            "bare": "bare",
            "bare again": "bare",  # what it differs by from the first is the error of the table
            "foreshock": "foreshock",
            f"foreshock, {ALONE}": "foreshock-alone",
            f"foreshock, every family, {ALONE}": "foreshock-every",
            "foreshock, every family, no budget": "foreshock-all",
            "wandb.watch every 100 steps": "wandb-100",
            "wandb.watch every step": "wandb-1",
            "cockpit economy": "cockpit-economy",
            "cockpit full": "cockpit-full",
        },
        runs=8,
        dear=("foreshock, every family, no budget", "wandb.watch every step", "cockpit"),
    ),
)

ON_A_GPU = Shape(
    "gpt2",
    "GPT-2 small on a GPU, compiled, bfloat16, T=1024, B=8",
    {
        "bare": "bare",
        "bare again": "bare",
        f"foreshock, {ALONE}": "foreshock-alone",
        f"foreshock, every family, {ALONE}": "foreshock-every",
        "wandb.watch every 100 steps": "wandb-100",
        "wandb.watch every step": "wandb-1",
        "effective rank by exact SVD, 12 blocks, each step": "svd",
    },
    runs=8,
    dear=("wandb.watch every step", "effective rank by exact SVD"),
)


def run(folder: Path, quick: bool) -> list[Measure]:
    """Both halves against one server."""
    measures = []
    with serving(folder / "server") as server:
        for metrics, pause, steps in LOGGING:
            where = folder / f"log-{metrics}-{pause}"
            measures.append(
                log_calls(where, server, metrics, pause, steps // 20 if quick else steps, 1 if quick else 7)
            )
        for shape in (*SHAPES, *([ON_A_GPU] if torch.cuda.is_available() else [])):
            measures += _training_steps(folder / shape.name, server, quick, shape)
    return measures


def log_calls(folder: Path, server: Server, metrics: int, pause: float, steps: int, rounds: int) -> Measure:
    """What a call costs the thread that calls it, beside who else is called at each step."""
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


def _training_steps(folder: Path, server: Server, quick: bool, shape: Shape) -> list[Measure]:
    step = Measure(f"training step, {shape.about}", "ms", "lower")
    ratio = Measure(
        f"training step over the bare one, mean of {TURN * GROUP} steps, {shape.about}", "ratio", "lower"
    )
    whole = Measure(f"training step over the bare one, mean of all steps, {shape.about}", "ratio", "lower")
    watched = Measure(
        f"training step over the same process's own while paused, {shape.about}", "ratio", "lower"
    )
    cost = Measure(f"time taken from the training by its own account, {shape.about}", "%", "lower")
    threads = os.cpu_count() or 1
    with turns(step, ratio, whole) as taking:
        for name, variant in shape.subjects.items():
            where, first = folder / name.replace(", ", "-").replace(" ", "-"), f"{shape.name}:{variant}"
            if variant.startswith(("wandb", "cockpit")):
                start = partial(rival, variant.partition("-")[0], "training.py", where, first, name)
            else:
                beside = variant in (
                    "foreshock",
                    "foreshock-all",
                )  # the server, which takes its time from the same cores
                companion = server.pid if beside else None
                start = partial(ours, name, "training.py", first, server.url, where, companion)
            taking.enter(name, start)
        warm = {"steps": 1, "threads": threads}
        for _ in taking.round(warm):
            pass
        for _ in range(0 if quick else WARM // TURN):  # until every place has its price
            for _ in taking.round({"steps": TURN, "threads": threads}, lambda name: name.startswith(OURS)):
                pass
        total: dict[str, list[tuple[float, float]]] = {}  # of each run: its mean, and the bare one's
        for run in range(1 if quick else shape.runs):
            group: dict[str, list[float]] = {}
            for _ in range(1 if quick else GROUP):
                for subject, seconds in taking.round(
                    lambda name: {**warm, "steps": shape.steps(name, quick)},
                    partial(shape.asks, run=run),
                ):
                    group.setdefault(subject, []).extend(seconds[BEFORE:])
                taking.rotate()  # what one subject leaves to the next one meets all of them
            for subject, seconds in group.items():
                step.add(subject, (s * 1e3 for s in seconds))
                if subject != "bare" and "bare" in group:
                    total.setdefault(subject, []).append((fmean(seconds), fmean(group["bare"])))
                    ratio.add(subject, fmean(seconds) / fmean(group["bare"]))
        for subject, runs in total.items():
            whole.add(subject, sum(own for own, _ in runs) / sum(bare for _, bare in runs))
        for turn in range(1 if quick else 2 * shape.runs):
            pair: list[dict[str, float]] = [{}, {}]
            for paused in (turn % 2, 1 - turn % 2):  # either first, by turns
                request = {**warm, "steps": 2 if quick else 2 * TURN, "paused": bool(paused)}
                for subject, seconds in taking.round(request, lambda name: name.endswith(ALONE)):
                    pair[paused][subject] = fmean(seconds[1:])  # the first also finishes what the other began
            for subject in pair[0].keys() & pair[1].keys():
                watched.add(subject, pair[0][subject] / pair[1][subject])
        for subject, percent in taking.round({"cost": True}, lambda name: name.startswith(OURS)):
            cost.add(subject, percent)
    return [step, ratio, whole, watched, cost]
