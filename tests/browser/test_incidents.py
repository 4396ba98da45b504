"""Incidents in Chromium: from the run's alert to what happened, who was told, and how to have peace until tomorrow."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)


@pytest.fixture
def told(site, kit):
    """A run with an incident that a channel was told about."""
    receiver = kit.Receiver()
    site.call("POST", "/channels", {"kind": "webhook", "name": "ops", "url": receiver.url})
    trainer = kit.Trainer(site, "live", "quick-finch", collapses=True)
    trainer.send(400)
    trainer.wait_for_alert()
    until = time.monotonic() + 20
    while not receiver.bodies:
        assert time.monotonic() < until, "nothing was sent"
        time.sleep(0.1)
    return site


def entropy(site):
    """The incident of the policy entropy, as the server tells it."""
    found = site.call("GET", "/runs/live/incidents")["incidents"]
    return next(one for one in found if one["family"] == "policy entropy")


def test_from_the_run_to_silence_until_tomorrow_in_two_clicks(told, look):
    page, watch = look(f"{told.url}/runs/live")
    page.get_by_role("link", name="Acknowledge or silence: Policy entropy").click()
    expect(page).to_have_url(re.compile(r"/incidents/live/\d+$"))
    before = time.time()
    page.get_by_role("button", name="Until tomorrow, 8:00").click()
    expect(page.locator(".silence")).to_contain_text("run live")
    (silence,) = told.call("GET", "/silences")["silences"]
    assert silence["matches"]["run"] == "live"
    ends = time.localtime(silence["ends_at"])
    assert (ends.tm_hour, ends.tm_min) == (8, 0)
    assert ends.tm_yday != time.localtime(before).tm_yday
    page.locator(".silence").get_by_role("button", name="Lift").click()
    expect(page.locator(".silence")).to_have_count(0)
    assert told.call("GET", "/silences")["silences"] == []
    assert watch.errors == []
    assert watch.hosts() == {told.url.split("/")[2]}


def test_an_incident_shows_what_happened_the_proof_the_runbook_and_who_was_told(told, look):
    incident = entropy(told)
    page, watch = look(f"{told.url}/incidents/live/{incident['number']}")
    expect(page.get_by_role("heading", level=1)).to_have_text(incident["message"].replace(" %", "\u00a0%"))
    changes = page.locator(".change")
    expect(changes.first).to_contain_text("fired")
    expect(changes.first).to_contain_text(f"step {incident['opened_step']:,}")
    panel = page.locator("figure-panel").first
    expect(panel).to_have_attribute("data-drawn", "true")
    shapes = panel.locator(".js-plotly-plot").evaluate("gd => gd.layout.shapes.map(s => s.name)")
    assert any(name.startswith("fired ") for name in shapes)
    expect(page.locator(".book").first).to_contain_text("Try")
    letter = page.locator(".letter").first
    expect(letter).to_contain_text("Delivered")
    expect(letter).to_contain_text("ops (webhook)")
    letter.locator("summary").click()
    expect(letter.locator(".tries")).to_contain_text("answered 204")
    assert watch.errors == []


def test_an_incident_is_acknowledged_in_the_inbox_of_everybody_and_taken_back(told, look):
    number = entropy(told)["number"]
    inbox, _ = look(f"{told.url}/incidents")
    row = inbox.locator(".incident-row").filter(has_text="Policy entropy").first
    expect(row.locator(".incident-state")).to_have_text("Open")
    page, watch = look(f"{told.url}/incidents/live/{number}")
    page.get_by_role("button", name="Acknowledge", exact=True).click()
    expect(page.locator(".incident-head .incident-state")).to_contain_text("Acknowledged by somebody")
    assert entropy(told)["acknowledged_at"] is not None
    expect(row.locator(".incident-state")).to_contain_text("Acknowledged by somebody")
    page.get_by_role("button", name="Take the acknowledgement back").click()
    expect(page.locator(".incident-head .incident-state")).to_have_text("Open")
    assert watch.errors == []


def test_the_inbox_lists_what_is_open_and_keeps_its_filter_in_the_address(told, look):
    page, watch = look(told.url)
    page.get_by_role("navigation").get_by_role("link", name="Incidents").click()
    expect(page.locator(".incident-row")).not_to_have_count(0)
    expect(page.locator(".incident-row").first).to_contain_text("grpo-math / quick-finch")
    page.get_by_role("button", name="Resolved").click()
    expect(page.locator(".incident-row")).to_have_count(0)
    expect(page.get_by_text("Nothing was resolved yet.")).to_be_visible()
    assert page.url.endswith("?state=resolved")
    page.reload()
    expect(page.get_by_role("button", name="Resolved")).to_have_attribute("aria-pressed", "true")
    assert watch.errors == []
