"""How fast a large run is seen, what a visit transfers, and what a live page costs. Printed; the bounds are wide, for machines differ.

FORESHOCK_TEST_FULL=1 takes a run of 5,000 series × 100,000 steps, which is made in some minutes; else one of 2,000 steps.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from tests.browser import large

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=60_000)

FULL = os.environ.get("FORESHOCK_TEST_FULL") == "1"
SERIES, STEPS = 5_000, 100_000 if FULL else 2_000
VISITS = 3
SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value }).observe({type: "layout-shift", buffered: true}) }"""


@pytest.fixture(scope="module")
def large_site(browser, kit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    large.fill(folder / "data", SERIES, STEPS)
    site = kit.Site(folder).start()
    yield site
    site.end()


def visit(browser, url: str) -> dict[str, float]:
    """Seconds until the verdict and until the first panel, and the bytes that came, of a browser that knows nothing."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    came: list[float] = []
    hosts: set[str] = set()
    wire.on("Network.loadingFinished", lambda event: came.append(event["encodedDataLength"]))
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => document.querySelector('.headline')?.textContent")
    verdict = time.perf_counter() - began
    page.wait_for_selector("figure-panel[data-drawn]", state="attached")
    panel = time.perf_counter() - began
    page.wait_for_load_state("networkidle")
    found = {"verdict": verdict, "panel": panel, "bytes": sum(came), "hosts": len(hosts)}
    context.close()
    return found


def test_a_large_run_is_seen_soon_and_the_visit_is_small(browser, large_site):
    visits = [visit(browser, f"{large_site.url}/runs/{large.RUN}") for _ in range(VISITS)]
    for name in ("verdict", "panel"):
        print(
            f"{SERIES:,} series x {STEPS:,} steps: {name} after {', '.join(f'{one[name]:.2f}' for one in visits)} s"
        )
    print(f"transferred on a first visit: {max(one['bytes'] for one in visits) / 1e6:.2f} MB")
    assert min(one["panel"] for one in visits) < 8
    assert max(one["bytes"] for one in visits) < 2e6
    assert {one["hosts"] for one in visits} == {1}


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
