"""From the link in an alert to five answers: which layer, since when, which experts or tokens, did the last run do it too, peace until tomorrow.

Each is walked as a person does who has never been there; its clicks are counted, three are the most, and the seconds until the
answer stands on the screen are printed: those of the page, for whoever reads and moves a hand needs some of their own.
"""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

MOST = 3
EXPERTS, STEPS, DIES_AT = 8, 600, 200
DEAD = (5, 6, 7)  # of the second layer
PLACES = ("moe.0", "moe.3")
CELLS = [("high", "positive"), ("high", "negative"), ("low", "positive"), ("low", "negative")]


class Person:
    """Somebody who followed the link of an alert, and the clicks that were made since."""

    def __init__(self, page: Any, told: Any, began: float) -> None:
        self.page = page
        self.told = told
        self.clicks = 0
        self.began = began

    def click(self, name: str, role: str = "link") -> None:
        self.clicks += 1
        assert self.clicks <= MOST
        self.page.get_by_role(role, name=name).click()

    def answered(self, task: str, clicks: int) -> None:
        """The answer stands there."""
        print(f"{task}: {self.clicks} clicks, {time.perf_counter() - self.began:.1f} s")
        assert self.clicks == clicks

    def fact(self, label: str) -> Any:
        """What stands beside a word in the head of the incident."""
        row = self.page.locator(".incident-head .facts > div", has=self.page.get_by_text(label, exact=True))
        return row.locator("dd")


def about(statistic: str, family: str, unit: str = "", axis: Any = None, **labels: str) -> dict[str, Any]:
    text = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    one = {"key": f"{statistic}{{{text}}}" if labels else statistic, "statistic": statistic, "family": family}
    one |= {"place": labels.get("place", ""), "labels": labels, "unit": unit, "dtype": "f64"}
    return one | ({"axis": axis} if axis else {})


def mixture(site: Any, run: str, name: str) -> None:
    """A run of two routed layers; from step 200 on three experts of the second get nothing, and the policy's entropy falls."""
    opening = {"project": "moe", "name": name, "config": {}, "started_at": time.time() - 60, "attempt": 1}
    site.call("PUT", f"/runs/{run}", {**opening, "writer": "w", "info": {}})
    random = np.random.default_rng(5)
    steps = np.arange(STEPS)
    load = np.exp(random.normal(0, 0.1, (STEPS, 2, EXPERTS)))
    load[DIES_AT:, 1, DEAD] = 0
    load /= load.sum(-1, keepdims=True)
    dead = (load == 0).mean(-1)
    left = np.exp(-np.maximum(steps - 150, 0) / 60)
    entropy = 0.8 * left * np.exp(random.normal(0, 0.03, STEPS))
    cells = random.normal(-0.001, 0.0005, (STEPS, len(CELLS)))
    axis = {"name": "expert", "size": EXPERTS}
    series = [about("expert_load", "experts", "share", axis, place=place) for place in PLACES]
    series += [about("expert_dead", "experts", "share", place=place) for place in PLACES]
    series += [about("policy_entropy", "policy entropy", "nat")]
    series += [about("entropy_change_cell", "RL signal", "nat", probability=p, advantage=a) for p, a in CELLS]
    values = np.concatenate([load.reshape(STEPS, -1), dead, entropy[:, None], cells], axis=1)
    rows = {
        "frame": 1,
        "steps": steps.tolist(),
        "times": [time.time()] * STEPS,
        "values": values.ravel().tolist(),
    }
    block = {"v": 1, "attempt": 1, "writer": "w", "seq": 1, "dropped": 0, "rows": [rows]}
    site.call("POST", f"/runs/{run}/blocks", {**block, "frames": [{"frame": 1, "series": series}]})


@pytest.fixture
def told(site: Any, kit: Any) -> Any:
    """A run whose experts died and whose entropy fell, a run before it in which the entropy fell too, and a channel that heard of them."""
    receiver = kit.Receiver()
    site.call("POST", "/channels", {"kind": "webhook", "name": "ops", "url": receiver.url})
    before = kit.Trainer(site, "before", "calm-heron", collapses=True, project="moe")
    before.send(400)
    mixture(site, "now", "brisk-otter")
    heard = site.heard = {}
    until = time.monotonic() + 120
    while not ({"experts-dead", "policy-entropy-collapse"} <= set(heard) and before.firing()):
        assert time.monotonic() < until, f"only {set(heard)} was told"
        heard |= {one["alert"]["rule"]: one for one in receiver.bodies if one["run"]["id"] == "now"}
        time.sleep(0.2)
    return site


@pytest.fixture
def arrive(look: Any, told: Any) -> Any:
    """Rule -> somebody who followed the link of its message, and chose its incident there."""

    def arrive(rule: str, family: str) -> Person:
        began = time.perf_counter()
        page, _ = look(told.heard[rule]["link"])
        person = Person(page, told.heard[rule], began)
        person.click(f"Acknowledge or silence: {family}")
        expect(page).to_have_url(re.compile(r"/incidents/now/\d+$"))
        return person

    return arrive


def test_which_layer(arrive):
    person = arrive("experts-dead", "Experts")
    expect(person.fact("where")).to_have_text("moe.3")
    person.answered("which layer", 1)


def test_since_when(arrive):
    person = arrive("experts-dead", "Experts")
    since = person.told["alert"]["since_step"]
    assert DIES_AT <= since <= DIES_AT + 20  # the rule compares a median of nine
    expect(person.fact("since step")).to_have_text(f"{since:,}")
    person.answered("since when", 1)


def test_which_experts(arrive):
    person = arrive("experts-dead", "Experts")
    panel = person.page.locator(".which figure-panel").first
    expect(panel).to_contain_text("by expert")
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-drawn", "true")
    rows = panel.locator(".js-plotly-plot").evaluate(
        "gd => { const map = gd._fullData.find(t => t.type === 'heatmap' && t.name.includes('moe.3')); return Array.from(map.z, row => row[row.length - 1]) }"
    )
    assert [number for number, share in enumerate(rows) if share == 0] == list(DEAD)
    person.answered("which experts", 1)


def test_which_tokens(arrive):
    person = arrive("policy-entropy-collapse", "Policy entropy")
    panel = person.page.locator(".which figure-panel").first
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-drawn", "true")
    names = panel.locator(".js-plotly-plot").evaluate("gd => gd._fullData.map(t => t.name)")
    # which tokens: by their probability, and whether their answer was better than the others
    words = {"high": "likely", "low": "unlikely", "positive": "A > 0", "negative": "A &lt; 0"}  # as markup
    assert [name for name in names if ", A " in name] == [
        f"{words[probability]}, {words[advantage]}" for probability, advantage in CELLS
    ]
    person.answered("which tokens", 1)


def test_did_it_happen_in_the_previous_run(arrive):
    person = arrive("policy-entropy-collapse", "Policy entropy")
    earlier = person.page.locator(".earlier li").first
    expect(earlier).to_contain_text("also in the previous run, calm-heron, step")
    expect(earlier).to_contain_text("It fired in 1 of the last 1 run")
    earlier.get_by_role("link").first.click()
    person.clicks += 1
    expect(person.page).to_have_url(re.compile(r"/incidents/before/\d+$"))
    person.answered("in the previous run", 2)


def test_and_one_that_did_not_is_said_not_to_have(arrive):
    person = arrive("experts-dead", "Experts")
    expect(person.page.locator(".earlier li").first).to_contain_text("not in the previous run, calm-heron")
    expect(person.page.locator(".earlier li").first).to_contain_text("It fired in 0 of the last 1 run")


def test_silence_it_until_tomorrow(arrive, told):
    person = arrive("experts-dead", "Experts")
    person.click("Until tomorrow, 8:00", "button")
    expect(person.page.locator(".silence")).to_contain_text("run now")
    (silence,) = told.call("GET", "/silences")["silences"]
    assert time.localtime(silence["ends_at"]).tm_hour == 8
    assert silence["ends_at"] > time.time()
    person.answered("silence it until tomorrow", 2)
