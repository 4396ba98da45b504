"""Signing in with keys of every kind, out again, and out by revocation; and names full of markup, shown as the text that they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)  # a slow machine is no fault of the page

ADMIN = "correct-horse-battery"
PICTURES = os.environ.get("FORESHOCK_TEST_PICTURES")  # a folder to look at afterwards


@pytest.fixture
def locked(browser, kit, tmp_path):
    """A server with a key, a run in each of two projects, and keys for one of them."""
    site = kit.Site(tmp_path, FORESHOCK_API_KEY=ADMIN).start()
    for project in ("mine", "theirs"):
        trainer = kit.Trainer(
            site, f"run-{project}", f"newt-{project}", collapses=False, project=project, key=ADMIN
        )
        trainer.send(30)
    keys = {
        scope: site.call(
            "POST", "/keys", {"name": f"{scope} of mine", "scopes": [scope], "project": "mine"}, ADMIN
        )
        for scope in ("ingest", "read", "admin")
    }
    yield site, keys
    site.end()


def sign_in(page, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def picture(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_wrong_key_is_told_and_a_right_one_opens_the_page(locked, look, width, scheme):
    site, keys = locked
    page, _ = look(site.url, width, scheme)
    problem = page.get_by_role("alert")
    sign_in(page, "guess")
    expect(problem).to_contain_text("not a key of this server")
    sign_in(page, keys["read"]["key"][:-3])
    expect(problem).to_contain_text("A part of this key is missing")
    picture(page, f"sign-in-{width}-{scheme}")
    sign_in(page, keys["ingest"]["key"])
    expect(problem).to_contain_text("the scope read")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    sign_in(page, keys["read"]["key"])
    expect(page.get_by_text("newt-mine")).to_be_visible()
    expect(page.get_by_text("newt-theirs")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, f"signed-in-{width}-{scheme}")


@pytest.mark.parametrize("scope", ["read", "admin"])
def test_a_key_of_one_project_shows_its_runs_and_no_others(locked, look, scope):
    site, keys = locked
    page, watch = look(f"{site.url}/runs/run-mine")
    sign_in(page, keys[scope]["key"])
    expect(page.get_by_role("heading", level=1)).to_have_text("newt-mine")
    panel = page.locator("figure-panel[data-drawn]").first
    panel.scroll_into_view_if_needed()
    expect(panel).to_be_visible()
    page.goto(f"{site.url}/runs/run-theirs")
    expect(page.get_by_role("heading", level=1)).to_contain_text("No run has this id")
    page.goto(f"{site.url}/settings")
    expect(page.get_by_text("sign in with a key that may do everything")).to_have_count(2)
    assert not [error for error in watch.errors if "40" not in error], watch.errors
    cookie = page.context.cookies()[0]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)
    assert cookie["expires"] > 0
    assert page.evaluate("document.cookie") == ""
    assert keys[scope]["key"] not in json.dumps(page.context.storage_state())


def test_signing_out_ends_the_session_also_for_who_kept_the_cookie(locked, look):
    site, keys = locked
    page, _ = look(site.url)
    sign_in(page, keys["read"]["key"])
    expect(page.get_by_text("newt-mine")).to_be_visible()
    kept = page.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    assert page.context.cookies() == []
    page.context.add_cookies(kept)
    page.reload()
    expect(page.get_by_label("Key")).to_be_visible()
    expect(page.get_by_text("newt-mine")).to_have_count(0)


def test_an_open_page_asks_again_when_its_key_is_revoked(locked, look):
    site, keys = locked
    page, _ = look(f"{site.url}/runs/run-mine")
    sign_in(page, keys["read"]["key"])
    expect(page.get_by_role("heading", level=1)).to_have_text("newt-mine")
    site.call("DELETE", f"/keys/{keys['read']['id']}", key=ADMIN)
    expect(page.get_by_label("Key")).to_be_visible()
    sign_in(page, ADMIN)
    expect(page.get_by_role("heading", level=1)).to_have_text("newt-mine")


def test_a_server_without_keys_asks_nobody(world, look):
    page, _ = look(world.url)
    expect(page.get_by_text("brisk-otter")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_the_first_key_is_made_beside_the_database(tmp_path):
    words = [sys.executable, "-m", "foreshock_server", "keys", "create", "first", "--data-dir", str(tmp_path)]
    made = subprocess.run(words, capture_output=True, text=True, check=True)
    assert made.stdout.startswith("fsk_")


EVIL = '<img src=x onerror="window.hit=1"><b>bold</b><a href="https://evil.example/">go</a><script>window.hit=1</script>'


def test_markup_in_every_name_is_text(site, kit, look):
    labels = {"b": EVIL, "place": EVIL}
    told = ",".join(f"{name}={value}" for name, value in labels.items())
    named = [("policy_entropy", "policy entropy"), ("<b>mine</b>", "<u>family</u>"), ("effective_rank", "representation"), ("loss", "training")]  # fmt: skip
    series = [
        {
            "key": f"{statistic}{{{told}}}", "statistic": statistic, "family": family, "place": EVIL, "labels": labels,
            "unit": "<i>u</i>", "dtype": "f64", "about": {"title": EVIL, "source": EVIL},
        }
        for statistic, family in named
    ]  # fmt: skip
    config = {EVIL: EVIL, "nested": {EVIL: [EVIL]}}
    opening = {
        "project": EVIL, "name": EVIL, "config": config, "started_at": 1.79e9, "attempt": 1, "writer": EVIL[:64],
        "info": {"host": EVIL, EVIL: EVIL},
    }  # fmt: skip
    site.call("PUT", "/runs/evil", opening)
    steps = list(range(40))
    values = [step % 7 + 1.5 for step in steps for _ in series]
    block = {
        "v": 1, "attempt": 1, "writer": EVIL[:64], "seq": 1, "frames": [{"frame": 1, "series": series}],
        "rows": [{"frame": 1, "steps": steps, "times": [1.79e9 + step for step in steps], "values": values}], "dropped": 0,
    }  # fmt: skip
    site.call("POST", "/runs/evil/blocks", block)
    site.call(
        "POST",
        "/channels",
        {"kind": "webhook", "name": EVIL[:100], "url": "http://127.0.0.1:9/x", "project": EVIL},
    )
    page, watch = look(site.url)
    expect(page.get_by_role("row").filter(has_text="window.hit")).to_be_visible()
    for address in (
        "/",
        "/runs/evil",
        "/settings",
        f"/?q={EVIL}",
        f"/runs/{EVIL.replace('/', '%2F')}",
        f"/reference/{EVIL.replace('/', '%2F')}",
    ):
        page.goto(site.url + address.replace("#", ""))
        page.wait_for_load_state("load")
        page.wait_for_timeout(500)
        if address == "/runs/evil":
            expect(page.get_by_role("heading", level=1)).to_have_text(EVIL)
            page.evaluate(
                "() => document.querySelectorAll('main details').forEach((details) => { details.open = true })"
            )
            for panel in page.locator("figure-panel").all():
                panel.scroll_into_view_if_needed()
                expect(panel).to_have_attribute("data-drawn", "true")
            picture(page, "markup")
        assert page.evaluate("window.hit") is None
        markup = page.locator('img[src="x"], a[href^="https://evil"], main b, svg a, svg [style*="bold"]')
        assert markup.count() == 0, (address, markup.first.evaluate("e => e.outerHTML"))
    assert not [url for url in watch.requests if "evil.example" in url.split("?")[0].split("/")[2]]
    assert not [error for error in watch.errors if "404" not in error and "422" not in error], watch.errors
