"""`log_steps.py LOGGER FOLDER URL`: by turns logs some steps of some metrics and answers what each call cost the calling thread."""

import random
import sys
import time
from typing import Any

from loggers import LOGGERS
from pipe import serve

logger = LOGGERS[sys.argv[1]](sys.argv[2], sys.argv[3])
at = {"step": 0}
GIVE_UP = 10.0  # seconds without another point, after which the rest counts as lost


def handle(request: dict[str, Any]) -> Any:
    """{"do": "open", "run"} · {"do": "log", "metrics", "steps", "pause"} -> microseconds of each call · {"do": "store", "metrics",
    "steps"} -> seconds from the first call until the first and the last series can be read whole, and their share that can."""
    do = request["do"]
    if do == "open":
        logger.open(request["run"])
        at["step"] = 0
        return True
    names = [f"layer{i // 10}_number{i % 10}" for i in range(request["metrics"])]
    if do == "log":
        return log(names, request["steps"], request["pause"])
    began = time.perf_counter()
    log(names, request["steps"], 0.0)
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


def log(names: list[str], steps: int, pause: float) -> list[float]:
    """Random numbers under these names; microseconds of each call."""
    spent = []
    for _ in range(steps):
        numbers = {name: random.random() for name in names}
        began = time.perf_counter_ns()
        logger.log(numbers, at["step"])
        spent.append((time.perf_counter_ns() - began) / 1e3)
        at["step"] += 1
        if pause:
            time.sleep(pause)
    return spent


serve(handle)
