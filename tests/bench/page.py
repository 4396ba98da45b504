"""The page: each figure's JSON from the server, and the time from asking for a run to its first chart in headless Chromium."""

from __future__ import annotations

import http.client
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import rivals
from tests.bench.report import OURS, Measure
from tests.bench.service import NotUp, Server, answering, free_port, series, serving
from tests.bench.turns import SCRIPTS, rival, turns

LAYERS = 12
OUR_CHART = ".js-plotly-plot .main-svg .trace"  # a trace that plotly.js has drawn
THEIR_CHART = "canvas.marks"  # what vega draws into


def run(folder: Path, quick: bool) -> list[Measure]:
    """One run of 2,000 steps for ours, one of the same size for the rival."""
    steps, figures, visits = (200, 2, 1) if quick else (2000, 20, 7)
    drawn = Measure(
        f"open a run of {steps} steps until its first chart is drawn, cold browser cache", "ms", "lower"
    )
    with serving(folder / "server") as server:
        count = _fill(server, steps)
        measures = _figures(server, steps, figures)
        with ExitStack() as stack:
            places = {OURS: (f"{server.url}/runs/page", OUR_CHART)}
            try:
                name, url = _trackio(stack, folder, count, steps)
                places[name] = (url, THEIR_CHART)
            except (rivals.Unavailable, NotUp, RuntimeError) as error:
                drawn.absent("trackio", str(error))
            try:
                _visits(places, visits, drawn)
            except Exception as error:  # Playwright's own, which exist only where it is installed
                for subject in places.keys() - drawn.runs.keys():
                    drawn.absent(subject, f"{type(error).__name__}: {error}")
    return [*measures, drawn]


def _fill(server: Server, steps: int) -> int:
    """A run whose policy entropy falls; the number of its series."""
    frame = [
        *(
            series(name, "policy entropy", "nat")
            for name in ("policy_entropy", "policy_varentropy", "policy_lse")
        ),
        *(series(f"policy_entropy_p{p:02d}", "policy entropy", "nat") for p in (5, 25, 50, 80, 95, 99)),
        *(
            series(name, "policy entropy")
            for name in ("policy_entropy_normalized", "policy_top1", "policy_top1_above_99")
        ),
        *(
            series(name, "RL signal")
            for name in ("policy_cov", "zero_variance_groups", "reward_mean", "reward_std")
        ),
        *(
            series(name, "representation", place=f"blocks.{layer}")
            for layer in range(LAYERS)
            for name in ("effective_rank_normalized", "embedding_std", "mean_cosine")
        ),
        *(
            series(name, "optimiser", place=f"blocks.{layer}")
            for layer in range(LAYERS)
            for name in ("gradient_norm", "update_ratio")
        ),
    ]
    noise = random.Random(0)
    server.open("page")
    for seq, first in enumerate(range(0, steps, 500), 1):
        rows = []
        for step in range(first, min(first + 500, steps)):
            fall = math.exp(-max(0, step - steps / 2) / (steps / 4))
            rows.append([fall * (1 + place / 100) * noise.uniform(0.9, 1.1) for place in range(len(frame))])
        server.block("page", seq, frame, first, rows)
    time.sleep(2.0)  # the rules have their say before anything is timed
    return len(frame)


def _figures(server: Server, steps: int, repeats: int) -> list[Measure]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    measures = []
    for figure in server.get("/runs/page/figures")["figures"]:
        measure = Measure(f"figure JSON of {steps} steps: {figure['name']}", "ms", "lower")
        for repeat in range(repeats + 1):
            began = time.perf_counter()
            connection.request("GET", f"/api/v1/runs/page/figures/{figure['name']}?theme=light")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                measure.absent(OURS, f"{answer.status}: {body[:200]!r}")
                break
            if repeat:  # the first one warms up
                measure.add(OURS, (time.perf_counter() - began) * 1e3)
        measures.append(measure)
    return measures


def _trackio(stack: ExitStack, folder: Path, metrics: int, steps: int) -> tuple[str, str]:
    """Trackio's dashboard over a run of the same size: what its rows call it, and its address."""
    failed = Measure("fill", "", "lower")
    with turns(failed) as taking:
        taking.enter(
            "trackio",
            partial(rival, "trackio", "log_steps.py", folder / "trackio"),
            {"do": "open", "run": "page"},
        )
        filled = list(taking.round({"do": "store", "metrics": metrics, "steps": steps}))
    if not filled:
        raise RuntimeError(failed.reasons.popitem()[1])
    port = free_port()
    command = [str(rivals.find("trackio").python), str(SCRIPTS / "trackio_server.py"), str(port)]
    environment = rivals.environment(TRACKIO_DIR=str(folder / "trackio" / "trackio"))
    stack.enter_context(
        answering(command, environment, f"http://127.0.0.1:{port}/", folder / "trackio-server.log")
    )
    return filled[0][0], f"http://127.0.0.1:{port}/?project=bench"


def _visits(places: dict[str, tuple[str, str]], visits: int, measure: Measure) -> None:
    """Opens each place in turn, in a fresh context: nothing cached, no connection open."""
    with chromium() as browser:
        for visit in range(visits + 1):
            for subject, (url, chart) in places.items():
                spent = visit_once(browser.new_context, url, chart)
                if visit:  # the first one warms up
                    measure.add(subject, spent)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright  # late: only what looks at pages needs it

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def visit_once(new_context: Callable[..., Any], url: str, chart: str) -> float:
    """Milliseconds from asking for the page until its first chart is drawn, nothing cached."""
    context = new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_selector(chart, state="attached", timeout=60_000)
        return (time.perf_counter() - began) * 1e3
    finally:
        context.close()
