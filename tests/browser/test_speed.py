"""How fast a large run is seen, what a visit transfers, and what a live page costs. Printed; the bounds are wide, for machines differ.

FORESHOCK_TEST_FULL=1 takes a run of 5,000 series × 100,000 steps, which is made in some minutes; else one of 2,000 steps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.browser import large

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=60_000)

FULL = os.environ.get("FORESHOCK_TEST_FULL") == "1"
SERIES, STEPS = 5_000, 100_000 if FULL else 2_000
VISITS = 5
MOST_OF_BARE = 4  # until the first panel, as often as the time of plotly.js alone
MOST_ANSWERS = 60  # of which forty are the page's modules and styles
SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value }).observe({type: "layout-shift", buffered: true}) }"""


@pytest.fixture(scope="module")
def large_site(browser, kit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    large.fill(folder / "data", SERIES, STEPS)
    site = kit.Site(folder).start()
    yield site
    site.end()


MARKS = """JSON.stringify(Object.fromEntries(performance.getEntriesByType("mark").reverse().map((one) => [one.name, one.startTime])))"""
# What the browser cannot do without, on this machine as it is now: plotly.js, fetched and run.
BARE = """new Promise((resolve) => { const began = performance.now(), script = document.createElement("script");
  script.src = "%s/assets/plotly.js"; script.onload = () => resolve(JSON.stringify({bare: performance.now() - began}));
  document.head.append(script) })"""


class Unwatched:
    """Tabs without playwright in them: while it listens to a page, V8 reads plotly.js three more times for the sake of stack traces."""

    def __init__(self, browser) -> None:
        self.wire = browser.new_browser_cdp_session()
        self.answers: dict[int, Any] = {}
        self.asked = 0
        self.wire.on(
            "Target.receivedMessageFromTarget", lambda event: self._heard(json.loads(event["message"]))
        )

    def _heard(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self.answers[message["id"]] = message["result"]["result"]["value"]

    def ask(self, url: str, expression: str, done: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What the expression, evaluated in a browser that knows nothing, says at last of this address."""
        context = self.wire.send("Target.createBrowserContext")["browserContextId"]
        wish = {"url": url, "browserContextId": context, "width": 1440, "height": 900}
        target = self.wire.send("Target.createTarget", wish)["targetId"]
        session = self.wire.send("Target.attachToTarget", {"targetId": target, "flatten": False})["sessionId"]
        until = time.monotonic() + 60
        try:
            while time.monotonic() < until:
                self.asked += 1
                params = {"expression": expression, "awaitPromise": True, "returnByValue": True}
                message = json.dumps({"id": self.asked, "method": "Runtime.evaluate", "params": params})
                self.wire.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})
                while self.asked not in self.answers and time.monotonic() < until:
                    time.sleep(0.2)
                    self.wire.send("Browser.getVersion")  # answers come while something is asked
                found: dict[str, float] = json.loads(self.answers[self.asked])
                if done(found):
                    return found
            raise AssertionError(f"{url} did not come to its end")
        finally:
            self.wire.send("Target.disposeBrowserContext", {"browserContextId": context})


def transferred(browser, url: str) -> tuple[float, set[str], list[str]]:
    """Bytes that came to a browser that knows nothing, from which hosts, and what it asked of the API."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    came: list[float] = []
    asked: list[str] = []
    wire.on("Network.loadingFinished", lambda event: came.append(event["encodedDataLength"]))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url, wait_until="commit")
    page.wait_for_selector("figure-panel[data-drawn]", state="attached")
    page.wait_for_load_state("networkidle")
    context.close()
    return sum(came), {one.split("/")[2] for one in asked}, asked


def test_a_large_run_is_seen_soon(browser, large_site):
    tabs, url = Unwatched(browser), f"{large_site.url}/runs/{large.RUN}"
    tabs.ask(url, MARKS, lambda found: "panel" in found)  # the server's own first time
    bare, visits = [], []
    for _ in range(VISITS):
        bare.append(tabs.ask("about:blank", BARE % large_site.url, lambda _found: True)["bare"])
        visits.append(tabs.ask(url, MARKS, lambda found: "panel" in found))
    for name in ("verdict", "panel"):
        told = ", ".join(f"{one[name] / 1000:.2f}" for one in visits)
        print(f"{SERIES:,} series x {STEPS:,} steps: {name} after {told} s")
    print(f"plotly.js alone: {', '.join(f'{one / 1000:.2f}' for one in bare)} s")
    assert all(one["verdict"] < one["panel"] for one in visits)
    assert np.median([one["panel"] for one in visits]) < MOST_OF_BARE * np.median(bare)


def test_the_visit_is_small_and_asks_for_nothing_twice(browser, large_site):
    came, hosts, asked = transferred(browser, f"{large_site.url}/runs/{large.RUN}")
    print(f"transferred on a first visit: {came / 1e6:.2f} MB in {len(asked)} answers")
    assert came < 2e6
    assert len(hosts) == 1
    assert len(asked) == len(set(asked))
    assert len(asked) < MOST_ANSWERS


PANELS = 20
STATISTICS = (
    "policy_entropy", "policy_top1", "zero_variance_groups", "reward_mean", "kl_ref_k3", "effective_rank", "embedding_std",
    "gradient_norm", "nonfinite_count", "foreshock_overhead", "loss", "policy_lse", "policy_nucleus_size", "policy_fork_share",
    "advantage_std", "importance_ess", "importance_ratio_max", "mismatch_k3", "output_entropy", "output_lse", "output_margin",
    "participation_ratio", "stable_rank", "uniformity", "gradient_noise_scale",
)  # fmt: skip
BEFORE, UPDATES, MOST_UPDATES = 5_000, 20, 90
LONGEST = 20_000  # bytes of an answer that has no history of 5,000 steps in it


class Wide:
    """One writer of a run with a series of each of these statistics."""

    def __init__(self, site, run: str) -> None:
        self.site, self.run, self.seq, self.step = site, run, 0, 0
        self.random = np.random.default_rng(5)
        told = site.call("GET", "/reference")["statistics"]
        self.series = [
            {"key": name, "statistic": name, "family": told[name]["family"] if name in told else "training", "unit": "",
             "place": "", "labels": {}, "dtype": "f64"}
            for name in STATISTICS
        ]  # fmt: skip
        site.call("PUT", f"/runs/{run}", {"project": "p", "name": "wide-otter", "config": {}, "started_at": time.time(), "attempt": 1, "writer": "w", "info": {}})  # fmt: skip

    def send(self, steps: int) -> None:
        self.seq += 1
        values = self.random.normal(8, 0.1, (steps, len(STATISTICS)))
        values[:, STATISTICS.index("nonfinite_count")] = 0
        at = list(range(self.step, self.step + steps))
        rows = [{"frame": 1, "steps": at, "times": [time.time()] * steps, "values": values.ravel().tolist()}]
        body = {"v": 1, "attempt": 1, "writer": "w", "seq": self.seq, "frames": [{"frame": 1, "series": self.series}], "rows": rows, "dropped": 0}  # fmt: skip
        self.site.call("POST", f"/runs/{self.run}/blocks", body)
        self.step += steps


def renderer_seconds(session) -> float:
    """Processor time of all renderers so far."""
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return sum(one["cpuTime"] for one in processes if one["type"] == "renderer")


def test_twenty_live_panels_cost_little_move_nothing_and_fetch_no_history(browser, site):
    trainer = Wide(site, "wide")
    trainer.send(BEFORE)
    context = browser.new_context(viewport={"width": 1440, "height": 9000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{site.url}/runs/wide")
    expect(page.locator("figure-panel[data-drawn]").first).to_be_visible()
    page.locator("summary.family-head").evaluate_all(
        "all => all.slice(0, -2).forEach((one) => { one.parentElement.open = true })"
    )
    page.wait_for_function(f"() => document.querySelectorAll('figure-panel[data-drawn]').length >= {PANELS}")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2_000)
    sight = page.evaluate(
        "() => [...document.querySelectorAll('figure-panel')].filter((one) => one.inSight && one.dataset.drawn).length"
    )
    assert sight >= PANELS
    page.evaluate(SHIFTS)
    page.evaluate("() => { window.shift = 0 }")
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer) if "/figures/" in answer.url else None)
    wire = browser.new_browser_cdp_session()
    before, began = renderer_seconds(wire), time.perf_counter()
    for update in range(MOST_UPDATES):
        if update >= UPDATES and len(answers) >= 2 * sight:
            break
        trainer.send(1)
        page.wait_for_timeout(1_000)
    share = (renderer_seconds(wire) - before) / (time.perf_counter() - began)
    shift = page.evaluate("() => window.shift")
    page.wait_for_load_state("networkidle")
    figures = [(answer.url, len(answer.body())) for answer in answers]
    sizes = [size for _, size in figures]
    print(f"{sight} panels in sight, an update a second: {share:.0%} of a core in the renderer, {len(figures)} figures, "
          f"{np.median(sizes):,.0f} bytes each (median), {max(sizes):,} at most; layout shift {shift:.4f}")  # fmt: skip
    assert share < 0.6
    assert shift < 0.01
    assert max(sizes) < LONGEST, "history came again"
    assert len(figures) >= sight
    context.close()
