"""The first minutes: an empty server shows the lines to paste, with its address and key, and becomes the run that they begin."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect
from tests.topology.balancer import Balancer

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)
KEY = "a-key-for-the-person-who-runs-it"


def script(page):
    return page.locator(".start pre").nth(1)


def test_the_lines_name_this_address_and_become_the_run_that_begins(site, kit, look):
    page, watch = look(site.url)
    expect(script(page)).to_contain_text(f'url="{site.url}"')
    expect(page.locator(".start pre").first).not_to_contain_text("FORESHOCK_API_KEY")
    page.evaluate("() => { window.kept = true }")
    trainer = kit.Trainer(site, "first", "early-bird", collapses=False)
    trainer.send(20)
    expect(page).to_have_url(re.compile(r"/runs/first$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("early-bird")
    trainer.send(20)
    expect(page.locator(".run-facts")).to_contain_text("39")
    assert page.evaluate("() => window.kept"), "the page was loaded anew"
    page.go_back()
    expect(page.get_by_role("row").filter(has_text="early-bird")).to_contain_text("39")
    assert watch.errors == []
    assert watch.hosts() == {site.url.split("/")[2]}


def test_behind_a_proxy_with_keys_a_key_is_made_on_the_spot_and_the_lines_work(browser, kit, look, tmp_path):
    site = kit.Site(tmp_path, FORESHOCK_API_KEY=KEY).start()
    with ThreadPoolExecutor(1) as elsewhere:  # Playwright's loop runs on this thread
        proxy = elsewhere.submit(Balancer, [site.port]).result()
    try:
        page, watch = look(proxy.url)
        page.get_by_label("Key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(script(page)).to_contain_text(f'url="{proxy.url}"')
        shell = page.locator(".start pre").first
        expect(shell).to_contain_text("export FORESHOCK_API_KEY=the-key")
        page.get_by_role("button", name="Make a key for training").click()
        expect(shell).to_contain_text(re.compile(r"export FORESHOCK_API_KEY=fsk_\w+"))
        made = re.search(r"FORESHOCK_API_KEY=(\S+)", shell.inner_text()).group(1)
        [listed] = site.call("GET", "/keys", key=KEY)["keys"]
        assert (listed["name"], listed["scopes"], listed["project"]) == ("training", ["ingest"], None)
        through = kit.Site(tmp_path)
        through.port = proxy.port
        kit.Trainer(through, "first", "early-bird", collapses=False, key=made).send(5)
        expect(page).to_have_url(re.compile(rf"^{proxy.url}/runs/first$"))
        expect(page.locator(".run-facts")).to_contain_text("4")
        assert [error for error in watch.errors if "401" not in error] == []
    finally:
        proxy.close()
        site.end()


def test_who_may_only_look_is_told_how_a_key_is_made(browser, kit, look, tmp_path):
    site = kit.Site(tmp_path, FORESHOCK_API_KEY=KEY).start()
    try:
        reader = site.call("POST", "/keys", {"name": "me", "scopes": ["read"], "project": "grpo"}, key=KEY)[
            "key"
        ]
        page, _ = look(site.url)
        page.get_by_label("Key").fill(reader)
        page.get_by_role("button", name="Sign in").click()
        expect(script(page)).to_contain_text('project="grpo"')
        expect(page.locator(".start")).to_contain_text("foreshock keys create NAME --scope ingest")
        expect(page.get_by_role("button", name="Make a key for training")).to_have_count(0)
    finally:
        site.end()


@pytest.mark.parametrize("width", [390, 1440])
def test_the_lines_fit_their_screen(site, look, width):
    page, _ = look(site.url, width=width)
    expect(script(page)).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
