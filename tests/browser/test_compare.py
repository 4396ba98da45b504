"""Runs beside each other in Chromium: the same series on one axis, by step, time or alert; seeds as one; what differs in their settings."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

LOOKS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
DRAWN = "section.compare-panel[data-drawn]"


def traces(panel):
    return panel.locator(".js-plotly-plot").evaluate("gd => gd._fullData.map((t) => t.name)")


def panel(page, key):
    found = page.locator("section.compare-panel", has=page.get_by_role("heading", name=key, exact=True))
    found.scroll_into_view_if_needed()
    expect(found).to_have_attribute("data-drawn", "true")
    return found


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_two_runs_are_laid_over_each_other(world, look, width, scheme):
    page, watch = look(f"{world.url}/compare?runs=run-a,run-b", width=width, scheme=scheme)
    expect(page.locator(".count")).to_contain_text("2 runs")
    assert {"brisk-otter", "calm-heron"} <= set(traces(panel(page, "policy_entropy")))
    expect(page.locator(".compared")).to_contain_text("Collapsing")
    expect(page.locator(".settings-diff")).to_contain_text("Configuration: nothing differs, 1 setting.")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert watch.errors == []
    assert watch.hosts() == {world.url.split("/")[2]}


def test_aligned_by_alert_the_alert_is_zero_and_who_has_none_is_named(world, look):
    page, _ = look(f"{world.url}/compare?runs=run-a,run-b")
    panel(page, "policy_entropy")
    page.get_by_label("Aligned by").select_option("alert")
    expect(page.locator(".left-out").first).to_contain_text("calm-heron (no alert of it fired)")
    fired = world.call("GET", "/runs/run-a/alerts")["transitions"][0]["step"]
    first = (
        panel(page, "policy_entropy")
        .locator(".js-plotly-plot")
        .evaluate("gd => Math.min(...gd._fullData[0].x)")
    )
    assert first == -fired
    assert "align=alert" in page.url
    page.get_by_label("Alert", exact=True).select_option("policy-entropy-collapse")
    assert "rule=policy-entropy-collapse" in page.url
    page.get_by_label("Aligned by").select_option("time")
    expect(page.locator(".left-out").first).to_be_hidden()


def test_side_by_side_each_run_has_its_plot_and_the_address_holds_it(world, look):
    page, _ = look(f"{world.url}/compare?runs=run-a,run-b&layout=side&key=loss")
    axes = (
        panel(page, "loss")
        .locator(".js-plotly-plot")
        .evaluate("gd => [...new Set(gd._fullData.map((t) => t.xaxis))]")
    )
    assert axes == ["x", "x2"]
    assert page.locator("section.compare-panel").count() == 1
    expect(page.get_by_label("Arrangement")).to_have_value("side")
    page.get_by_label("Add a series").fill("gradient_norm")
    page.keyboard.press("Tab")
    panel(page, "gradient_norm")
    assert "key=loss&key=gradient_norm" in page.url
    page.get_by_role("button", name="Take loss away").click()
    expect(page.locator("section.compare-panel")).to_have_count(1)


def test_seeds_become_a_mean_and_what_differs_is_listed(site, kit, look):
    for n, seed in enumerate((1, 2, 3)):
        trainer = kit.Trainer(
            site,
            f"run-{n}",
            f"finch-{n}",
            collapses=False,
            config={"lr": 1e-5 if n < 2 else 1e-4, "seed": seed},
        )
        trainer.send(120)
    page, watch = look(f"{site.url}/compare?runs=run-0,run-1,run-2&key=loss")
    panel(page, "loss")
    expect(page.locator(".count")).to_have_text("3 runs, 2 configurations beside the seeds")
    page.get_by_label("Seeds as mean and range").check()
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.some((t) => t.name === 'lr=1e-05: mean of 2')"
    )
    table = page.get_by_role("table")
    expect(table.get_by_role("row").filter(has_text=re.compile("^lr"))).to_contain_text("0.0001")
    expect(table.get_by_role("row").filter(has_text=re.compile("^seed"))).to_be_visible()
    page.get_by_role("button", name="Compare without finch-2").click()
    expect(page.locator(".count")).to_have_text("2 runs, 1 configuration beside the seeds")
    assert "runs=run-0,run-1&" in page.url
    site.call("PATCH", "/runs", {"runs": ["run-2"], "add_tags": ["healthy"]})
    page.get_by_label("Healthy range").check()
    page.wait_for_function(
        "() => document.querySelector('.js-plotly-plot')._fullData.some((t) => t.name.startsWith('1 healthy run'))"
    )
    assert watch.errors == []


def test_a_comparison_follows_runs_that_grow(site, kit, look):
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=False)
    trainer.send(30)
    page, watch = look(f"{site.url}/compare?runs=live&key=loss")
    panel(page, "loss")
    trainer.send(30)
    page.wait_for_function(
        "() => Math.max(...document.querySelector('.js-plotly-plot')._fullData[0].x) === 59"
    )
    assert watch.errors == []


def test_without_runs_it_says_where_to_choose_them(world, look):
    page, _ = look(f"{world.url}/compare")
    expect(page.get_by_text("Choose two or more runs")).to_be_visible()
    page.get_by_role("link", name="the list").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
