"""The settings in Chromium: keys that are shown once, how long runs are kept, channels of every kind."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)


def make_key(page, name: str, may: str | None) -> str:
    """Make a key by the form; its text, as it is shown this once."""
    page.get_by_role("form", name="Make a key").get_by_label("Name").fill(name)
    if may is not None:
        page.get_by_label("It may").select_option(may)
    page.get_by_role("button", name="Make the key").click()
    dialog = page.get_by_role("dialog")
    text = dialog.locator("code").inner_text()
    dialog.get_by_role("button", name="Close").click()
    return text


def test_the_first_key_signs_this_browser_in_and_locks_the_server(site, look):
    page, watch = look(f"{site.url}/settings")
    expect(page.get_by_label("It may")).to_be_disabled()
    key = make_key(page, "mine", None)
    assert key.startswith("fsk_")
    expect(page.locator(".key")).to_contain_text("Everything")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert [one["name"] for one in site.call("GET", "/keys", key=key)["keys"]] == ["mine"]
    stranger, _ = look(f"{site.url}/settings")
    expect(stranger.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert key not in page.content()
    assert watch.errors == []


def test_a_key_is_made_for_a_purpose_and_revoked(site, look):
    page, watch = look(f"{site.url}/settings")
    admin = make_key(page, "mine", None)
    expect(page.get_by_label("It may")).to_be_enabled()
    make_key(page, "trainer", "Send readings")
    row = page.locator(".key").filter(has_text="trainer")
    expect(row).to_contain_text("Send readings · all projects")
    row.get_by_role("button", name="Revoke trainer").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    expect(row.get_by_role("button")).to_have_count(0)
    held = {one["name"]: one["revoked_at"] is None for one in site.call("GET", "/keys", key=admin)["keys"]}
    assert held == {"mine": True, "trainer": False}
    assert watch.errors == []


def test_runs_of_a_project_are_kept_as_long_as_somebody_says(site, kit, look):
    kit.Trainer(site, "live", "quick-finch", collapses=False, project="a/b").send(5)
    page, watch = look(f"{site.url}/settings")
    days = page.get_by_label("Days that runs of a/b are kept")
    days.fill("30")
    page.get_by_role("button", name="Save for a/b").click()
    expect(page.get_by_text("Runs are deleted 30 days after their last change.")).to_be_visible()
    assert site.call("GET", "/projects")["projects"][0]["retention_days"] == 30
    days.fill("")
    page.get_by_role("button", name="Save for a/b").click()
    expect(page.get_by_text("Runs are kept.")).to_be_visible()
    assert site.call("GET", "/projects")["projects"][0]["retention_days"] is None
    assert watch.errors == []


def test_each_kind_of_channel_asks_for_what_it_needs(site, look):
    page, watch = look(f"{site.url}/settings")
    form = page.locator(".channel-form").first
    kinds = form.get_by_label("Kind").locator("option").evaluate_all("all => all.map(one => one.value)")
    schema = page.request.get(f"{site.url}/openapi.json").json()
    assert kinds == schema["components"]["schemas"]["NewChannel"]["properties"]["kind"]["enum"]
    for kind in ("discord", "teams", "apprise"):
        form.get_by_label("Kind").select_option(kind)
        expect(form.get_by_label("Secret")).to_be_hidden()
    form.get_by_label("Kind").select_option("pagerduty")
    form.get_by_label("Name").fill("pager")
    form.get_by_label("Secret").fill("0123456789abcdef0123456789abcdef")
    form.get_by_role("button", name="Add channel").click()
    expect(page.locator(".channel").filter(has_text="pager")).to_contain_text("pagerduty")
    assert "0123456789abcdef" not in page.content()
    assert watch.errors == []
