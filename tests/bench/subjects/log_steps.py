"""`log_steps.py LOGGER FOLDER URL`: by turns logs some steps of some metrics and answers what each call cost the calling thread."""

import random
import sys
import time
from typing import Any

from loggers import LOGGERS
from pipe import serve

logger = LOGGERS[sys.argv[1]](sys.argv[2], sys.argv[3])
at = {"step": 0}


def handle(request: dict[str, Any]) -> Any:
    """{"do": "open", "run"} · {"do": "log", "metrics", "steps", "pause"} -> microseconds of each call · {"do": "store", "metrics",
    "steps"} -> seconds from the first call until a whole series can be read · {"do": "read", "key"} -> milliseconds."""
    do = request["do"]
    if do == "open":
        logger.open(request["run"])
        at["step"] = 0
        return True
    if do == "read":
        began = time.perf_counter()
        logger.points(request["key"])
        return (time.perf_counter() - began) * 1e3
    names = [f"layer{i // 10}_number{i % 10}" for i in range(request["metrics"])]
    if do == "log":
        return log(names, request["steps"], request["pause"])
    began = time.perf_counter()
    log(names, request["steps"], 0.0)
    logger.finish()
    deadline = time.perf_counter() + 120
    while any(logger.points(key) < request["steps"] for key in (names[0], names[-1])):
        if time.perf_counter() > deadline:
            raise TimeoutError(
                f"{logger.points(names[0])} of {request['steps']} steps can be read after 120 s"
            )
        time.sleep(0.005)
    return time.perf_counter() - began


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
