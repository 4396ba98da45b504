"""The page in Chromium over a real server: what it shows, how it lives, and that it asks nobody else."""

from __future__ import annotations

import base64
import re
import signal
import time

import numpy as np
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)  # a slow machine is no fault of the page

DRAWN = "figure-panel[data-drawn]"


def plot(page, title: str):
    """The Plotly element of the panel with this title, drawn."""
    panel = page.locator("figure-panel", has=page.get_by_role("heading", name=title, exact=True))
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-drawn", "true")
    return panel.locator(".js-plotly-plot")


def test_the_list_shows_every_run_with_verdict_step_state_and_line(world, look):
    page, watch = look(world.url)
    row = page.get_by_role("row").filter(has_text="brisk-otter")
    expect(row).to_contain_text("Collapsing")
    expect(row).to_contain_text("399")
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("policy entropy")
    expect(row.locator("svg.spark path.spark-line")).to_have_attribute(
        "d", re.compile(r"^M[\d.]+ [\d.]+(L[\d.]+ [\d.]+)+")
    )
    calm = page.get_by_role("row").filter(has_text="calm-heron")
    expect(calm).to_contain_text("Fine")
    expect(calm).to_contain_text("Finished")
    assert page.title() == "Runs · Foreshock"
    assert watch.errors == []
    assert watch.hosts() == {world.url.split("/")[2]}


def test_the_list_is_searched_and_keeps_the_search_in_its_address(world, look):
    page, _ = look(world.url)
    page.get_by_label("Search runs").fill("heron")
    expect(page.get_by_role("row").filter(has_text="brisk-otter")).to_have_count(0)
    assert page.url.endswith("?q=heron")
    page.reload()
    expect(page.get_by_role("row").filter(has_text="calm-heron")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="brisk-otter")).to_have_count(0)


def test_a_run_tells_its_verdict_first_and_proves_it(world, look):
    page, watch = look(f"{world.url}/runs/run-a")
    headline = page.locator(".headline")
    expect(headline).to_contain_text("Policy entropy is collapsing since step")
    assert page.title().startswith("Collapsing: grpo-math/brisk-otter")
    row = page.get_by_role("row").filter(has_text="policy entropy")
    expect(row).to_contain_text("Collapsing")
    expect(row.locator(".cell-collapsing")).not_to_have_count(0)
    expect(page.locator("section.family").first.get_by_role("heading", level=3)).to_have_text(
        "Policy entropy"
    )

    gd = plot(page, "Policy entropy")
    shapes = gd.evaluate(
        "gd => gd.layout.shapes.map(s => ({name: s.name, type: s.type, y0: s.y0, x0: s.x0, x1: s.x1}))"
    )
    alert = next(
        one
        for one in world.call("GET", "/runs/run-a/alerts")["alerts"]
        if one["rule"] == "policy-entropy-collapse"
    )
    drawn = {shape["name"]: shape["y0"] for shape in shapes if shape["type"] == "line"}
    assert drawn["critical policy-entropy-collapse"] == alert["threshold"]
    assert drawn["baseline policy-entropy-collapse"] == alert["baseline"]
    shaded = [shape for shape in shapes if shape["type"] == "rect"]
    assert shaded
    assert min(shape["x0"] for shape in shaded) == alert["since_step"]
    assert max(shape["x1"] for shape in shaded) == 399
    assert gd.evaluate("gd => gd._fullLayout.xaxis._length") > 200
    assert watch.errors == []
    assert watch.hosts() == {world.url.split("/")[2]}


def test_quiet_families_are_folded_and_open_at_a_press(world, look):
    page, _ = look(f"{world.url}/runs/run-a")
    section = page.locator("#family-optimiser")
    expect(section.locator("figure-panel")).to_be_hidden()
    section.locator("summary").click()
    plot(page, "Gradients, weights, updates")


def test_a_healthy_run_says_that_nothing_is_wrong(world, look):
    page, _ = look(f"{world.url}/runs/run-b")
    expect(page.locator(".headline")).to_have_text("Nothing is wrong up to step 399.")
    expect(page.locator(".banner .chip")).to_have_text("Fine")


def test_any_series_can_be_drawn(world, look):
    page, watch = look(f"{world.url}/runs/run-b")
    page.get_by_text("Every series").click()
    page.get_by_label("Search series").fill("gradient")
    page.get_by_role("button", name=re.compile("gradient_norm")).click()
    gd = plot(page, "gradient_norm")
    assert gd.evaluate("gd => gd._fullData[0].x.length") > 300
    assert watch.errors == []


def test_a_new_block_is_drawn_without_a_reload_and_without_losing_a_zoom(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=False)
    trainer.send(50)
    page, watch = look(f"{site.url}/runs/live")
    gd = plot(page, "Policy entropy")
    page.evaluate("() => { window.kept = true }")
    gd.evaluate("gd => Plotly.relayout(gd, {'xaxis.range': [10, 40]})")
    trainer.send(30)
    expect(page.locator(".run-facts")).to_contain_text("79")
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.some(t => t.name === 'mean' && Math.max(...t.x) === 79)"
    )
    assert gd.evaluate("gd => gd.layout.xaxis.range") == [10, 40]
    assert page.evaluate("() => window.kept")
    assert watch.errors == []


def test_an_alert_arrives_on_an_open_page_and_nothing_jumps(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=True)
    trainer.send(140)
    page, watch = look(f"{site.url}/runs/live")
    plot(page, "Policy entropy")
    page.evaluate("() => window.scrollTo(0, 0)")
    page.evaluate(
        """() => { window.shift = 0; new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.shift += entry.value }).observe({type: "layout-shift"}) }"""
    )
    for _ in range(3):
        trainer.send(10)
        page.wait_for_timeout(1500)
    quiet = page.evaluate("() => window.shift")
    assert quiet < 0.01, "readings alone moved something"
    for _ in range(10):
        trainer.send(25)
    expect(page.locator(".banner")).to_have_attribute("data-verdict", "collapsing")
    expect(page.locator(".alert-message").first).to_contain_text("Policy entropy is collapsing")
    assert page.title().startswith("Collapsing: ")
    assert watch.errors == []


def test_the_list_lives_too(site, kit, look):
    kit.Trainer(site, "old", "late-owl", collapses=False).send(20)
    page, watch = look(site.url)
    trainer = kit.Trainer(site, "first", "early-bird", collapses=False)
    trainer.send(20)
    row = page.get_by_role("row").filter(has_text="early-bird")
    expect(row).to_contain_text("19")
    trainer.send(20)
    expect(row).to_contain_text("39")
    assert watch.errors == []


def test_a_nan_is_seen_in_the_list_and_on_the_chart(site, kit, look):
    trainer = kit.Trainer(site, "odd", "amber-finch", collapses=False)

    def spoil(values):
        values[30, 0] = np.nan

    trainer.send(60, spoil)
    page, _ = look(site.url)
    expect(page.locator("path.spark-odd")).to_have_count(1)
    page.get_by_role("link", name="amber-finch").click()
    gd = plot(page, "Policy entropy")
    assert gd.evaluate("gd => Array.from(gd._fullData.find(t => t.name.startsWith('NaN')).x)") == [30]


def test_the_page_survives_a_killed_server(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=False)
    trainer.send(50)
    page, _ = look(f"{site.url}/runs/live")
    plot(page, "Policy entropy")
    page.evaluate("() => { window.kept = true }")
    site.end(signal.SIGKILL)
    expect(page.locator("#notice")).to_contain_text("Reconnecting")
    expect(page.locator(".run-facts")).to_contain_text("49")
    site.start()
    trainer.send(25)
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator(".run-facts")).to_contain_text("74")
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.some(t => t.name === 'mean' && Math.max(...t.x) === 74)"
    )
    assert page.evaluate("() => window.kept")


LINES = """() => Object.fromEntries([...document.querySelectorAll('figure-panel[data-drawn] .js-plotly-plot')].map((gd) =>
  [gd.closest('figure-panel').querySelector('h4').textContent, gd._fullData.map((t) => [t.name, Array.from(t.x), Array.from(t.y, String)])]))"""


def test_a_killed_server_leaves_no_gap_in_any_line(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=False)
    trainer.send(300)
    page, _ = look(f"{site.url}/runs/live")
    plot(page, "Policy entropy")
    for turn in range(2):
        trainer.send(7)
        site.end(signal.SIGKILL)
        expect(page.locator("#notice")).to_contain_text("Reconnecting")
        site.start()
        trainer.send(25)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator(".run-facts")).to_contain_text(str(300 + 32 * (turn + 1) - 1))
    last = 300 + 2 * 32 - 1
    newcomer, _ = look(f"{site.url}/runs/live")
    plot(newcomer, "Policy entropy")
    fresh, until = newcomer.evaluate(LINES), time.monotonic() + 30
    while (seen := page.evaluate(LINES))["Policy entropy"] != fresh["Policy entropy"]:
        assert time.monotonic() < until, "a line differs from what somebody sees who comes now"
        page.wait_for_timeout(250)
    raw = next(xs for name, xs, _ in seen["Policy entropy"] if name == "mean" and len(xs) > 200)
    assert raw == list(range(last + 1))


def test_a_live_update_carries_only_what_is_new(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=False)
    trainer.send(1500)
    page, watch = look(f"{site.url}/runs/live")
    plot(page, "Policy entropy")
    page.wait_for_load_state("networkidle")
    asked = []
    page.on("response", lambda response: asked.append(response) if "/figures/" in response.url else None)
    trainer.send(10)
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.some(t => Math.max(...t.x) === 1509)"
    )
    page.wait_for_timeout(1000)
    live = [response for response in asked if not response.url.endswith("since=0")]
    assert any("/figures/policy-entropy?" in response.url for response in live)
    for figure in (response.json() for response in live):
        kept = figure["layout"]["meta"]["kept"]
        points = [len(base64.b64decode(trace["x"]["bdata"])) // np.dtype(trace["x"]["dtype"]).itemsize for trace in figure["data"]]  # fmt: skip
        assert max(kept) > 1000
        assert max(points) <= 200, "history came again"
    assert watch.errors == []


def test_a_page_opened_while_the_server_is_away_comes_by_itself(site, kit, look):
    kit.Trainer(site, "live", "quick-finch", collapses=False).send(20)
    page, _ = look(site.url)
    expect(page.get_by_role("row").filter(has_text="quick-finch")).to_be_visible()
    site.end(signal.SIGKILL)
    page.get_by_role("link", name="quick-finch").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The server does not answer.")
    site.start()
    expect(page.get_by_role("heading", level=1)).to_have_text("quick-finch")


def test_the_theme_is_the_systems_until_chosen_and_then_remembered(world, look):
    page, watch = look(f"{world.url}/runs/run-a", scheme="dark")
    gd = plot(page, "Policy entropy")
    dark = gd.evaluate("gd => gd._fullLayout.font.color")
    night = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Use the light theme").click()
    page.wait_for_function(
        "before => document.querySelector('.js-plotly-plot')._fullLayout.font.color !== before", arg=dark
    )
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != night
    page.reload()
    expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()
    assert watch.errors == []


def test_the_page_is_walked_with_the_keyboard_alone(world, look):
    page, _ = look(world.url)
    expect(page.get_by_role("link", name="brisk-otter")).to_be_visible()

    def reach(name: str, most: int = 40) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            text = page.evaluate(
                "() => document.activeElement.innerText || document.activeElement.getAttribute('aria-label') || ''"
            )
            if name in text:
                return
        pytest.fail(f"{name!r} is not reached by Tab")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    reach("brisk-otter")  # the box that chooses it …
    reach("brisk-otter")  # … and the link to it
    assert page.evaluate("() => getComputedStyle(document.activeElement, '::after').outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="brisk-otter")).to_be_focused()
    reach("Policy entropy")
    reach("Policy entropy is collapsing")
    page.keyboard.press("Enter")
    expect(page.locator(".alert[open] .runbook").first).to_contain_text("Try")
    reach("RL signal", 80)
    page.keyboard.press("Enter")


@pytest.mark.parametrize(
    "path", ["/", "/runs/run-a", "/incidents", "/incidents/run-a/1", "/rules", "/reference", "/settings"]
)
@pytest.mark.parametrize("width", [390, 768])
def test_no_view_scrolls_sideways_on_a_phone_or_a_tablet(world, look, path, width):
    page, watch = look(f"{world.url}{path}", width=width, has_touch=True)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if path.startswith("/runs/"):
        expect(page.locator("figure-panel")).not_to_have_count(0)
        page.locator("summary.family-head").evaluate_all(
            "all => all.forEach(one => { one.parentElement.open = true })"
        )
        panels = page.locator("figure-panel").all()
        assert len(panels) >= 7
        for panel in panels:
            panel.scroll_into_view_if_needed()
            expect(panel).to_have_attribute("data-drawn", "true")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert watch.errors == []


def test_names_are_text_whatever_they_contain(site, kit, look):
    name = '<img src=x onerror="window.hurt=1"><b>bold</b>'
    trainer = kit.Trainer(site, "evil", name, collapses=False, project="<script>window.hurt=1</script>")
    trainer.send(20)
    page, watch = look(site.url)
    expect(page.get_by_role("link", name="<b>bold</b>")).to_be_visible()
    page.get_by_role("link", name="<b>bold</b>").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    plot(page, "Policy entropy")
    assert page.evaluate("() => window.hurt") is None
    assert watch.errors == []


def test_a_channel_is_added_tried_disabled_and_deleted(site, kit, look):
    receiver = kit.Receiver()
    page, watch = look(f"{site.url}/settings")
    page.get_by_label("Kind").select_option("webhook")
    page.locator(".channel-form").first.get_by_label("Name").fill("ops")
    page.get_by_label("URL").fill(receiver.url)
    page.get_by_role("button", name="Add channel").click()
    expect(page.locator("pre")).to_contain_text("whsec_")
    channel = page.locator(".channel").filter(has_text="ops")
    channel.get_by_role("button", name="Send a test").click()
    expect(channel.locator(".channel-result")).to_contain_text("Delivered")
    assert len(receiver.bodies) == 1
    channel.get_by_role("button", name="Disable").click()
    expect(channel).to_contain_text("disabled")
    channel.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".channel")).to_have_count(0)
    assert watch.errors == []


def test_an_alert_that_was_sent_says_so_on_the_page(site, kit, look):
    receiver = kit.Receiver()
    site.call("POST", "/channels", {"kind": "webhook", "name": "ops", "url": receiver.url})
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=True)
    trainer.send(400)
    trainer.wait_for_alert()
    page, _ = look(f"{site.url}/runs/live")
    until = time.monotonic() + 20
    while not receiver.bodies:
        assert time.monotonic() < until, "nothing was sent"
        page.wait_for_timeout(100)
    page.reload()
    expect(page.locator(".deliveries")).to_contain_text(re.compile(r"\d messages? sent to 1 channel\."))


def test_a_server_with_a_key_asks_for_it(browser, kit, look, tmp_path):
    site = kit.Site(tmp_path, FORESHOCK_API_KEY="correct-horse").start()
    try:
        kit.Trainer(site, "locked", "shy-newt", collapses=False, key="correct-horse").send(20)
        page, _ = look(f"{site.url}/runs/locked")
        page.get_by_label("Key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not a key of this server")
        page.get_by_label("Key").fill("correct-horse")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("shy-newt")
        plot(page, "Policy entropy")
    finally:
        site.end()


def test_the_rules_are_there_to_read(world, look):
    page, watch = look(f"{world.url}/rules")
    rule = page.locator("details.rule").filter(has_text="Policy entropy collapse")
    rule.locator("summary").click()
    expect(rule).to_contain_text("policy_entropy")
    expect(rule).to_contain_text("Cui et al. 2025")
    expect(rule).to_contain_text("critical_share")
    assert watch.errors == []


def test_an_unknown_run_says_so(world, look):
    page, _ = look(f"{world.url}/runs/nothing-here")
    expect(page.get_by_role("heading", level=1)).to_contain_text("No run has this id")


def test_the_reference_explains_what_a_panel_shows(world, look):
    page, watch = look(f"{world.url}/runs/run-a")
    plot(page, "Policy entropy")
    panel = page.locator("figure-panel", has=page.get_by_role("heading", name="Policy entropy", exact=True))
    panel.get_by_role("link", name="What this means").click()
    expect(page).to_have_url(re.compile(r"/reference/policy_entropy$"))
    card = page.locator("details#policy_entropy")
    expect(card).to_have_attribute("open", "")
    told = world.call("GET", "/reference/policy_entropy")
    for text in (told["formula"], told["healthy"], told["collapsed"], told["source"]):
        expect(card).to_contain_text(text)

    page.get_by_label("Search the reference").fill("participation")
    expect(card).to_be_hidden()
    expect(page.locator("details#participation_ratio")).to_be_visible()
    page.get_by_label("Search the reference").fill("no such word")
    expect(page.get_by_text("Nothing here says that")).to_be_visible()
    assert watch.errors == []
    assert watch.hosts() == {world.url.split("/")[2]}


def test_the_reference_of_something_else_says_so(world, look):
    page, _ = look(f"{world.url}/reference/loss")
    expect(page.get_by_role("heading", level=1)).to_have_text("No statistic is called loss")
    page.get_by_role("link", name="All statistics").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Reference")
