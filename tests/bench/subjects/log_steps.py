"""`log_steps.py LOGGER FOLDER URL`: by turns logs some steps of some metrics and answers what each call cost the calling thread."""

import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from loggers import LOGGERS
from pipe import serve

logger = LOGGERS[sys.argv[1]](sys.argv[2], sys.argv[3])
at = {"step": 0}
made: list[dict[str, float]] = []  # what is to be stored: the trainer's work, not the logger's
GIVE_UP = 10.0  # seconds without another point, after which the rest counts as lost


def handle(request: dict[str, Any]) -> Any:
    """{"do": "open", "run"} · {"do": "log", "metrics", "steps", "pause"} -> microseconds of each call · {"do": "make", "metrics", "steps"}, then {"do": "store", "metrics",
    "steps"} -> seconds from the first call until the first and the last series can be read whole, and their share that can · {"do": "rest",
    "seconds"} -> nothing, after so long."""
    do = request["do"]
    if do == "open":
        logger.open(request["run"])
        at["step"] = 0
        return True
    if do == "rest":
        time.sleep(request["seconds"])
        return True
    names = [f"layer{i // 10}_number{i % 10}" for i in range(request["metrics"])]
    if do == "log":
        return log(random_numbers(names), request["steps"], request["pause"])
    if do == "make":
        made[:] = islice(random_numbers(names), request["steps"])
        return True
    began = time.perf_counter()
    log(iter(made), request["steps"], 0.0)
    logger.finish()
    return until_readable((names[0], names[-1]), request["steps"], began)


def until_readable(keys: tuple[str, str], steps: int, began: float) -> dict[str, float]:
    """Seconds until all of both series can be read, or until no more of them comes; and the share that came."""
    readable, came_at = -1, time.perf_counter()
    while readable < steps and time.perf_counter() - came_at < GIVE_UP:
        now = min(logger.points(key) for key in keys)
        if now > readable:
            readable, came_at = now, time.perf_counter()
        else:
            time.sleep(0.02)
    return {"seconds": came_at - began, "share": readable / steps}


def random_numbers(names: list[str]) -> Iterator[dict[str, float]]:
    """What a step has to log, step after step."""
    while True:
        yield {name: random.random() for name in names}


def log(steps_numbers: Iterator[dict[str, float]], steps: int, pause: float) -> list[float]:
    """So many of these steps; microseconds of each call."""
    spent = []
    for _ in range(steps):
        numbers = next(steps_numbers)
        began = time.perf_counter_ns()
        logger.log(numbers, at["step"])
        spent.append((time.perf_counter_ns() - began) / 1e3)
        at["step"] += 1
        if pause:
            time.sleep(pause)
    return spent


serve(handle)
