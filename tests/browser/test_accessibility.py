"""axe-core over every view, light and dark, wide and narrow: no violation that is serious."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

SERIOUS = ("serious", "critical")
VIEWS = (
    "/",
    "/runs/run-a",
    "/runs/run-b",
    "/compare?runs=run-a,run-b",
    "/incidents",
    "/incidents/run-a/1",
    "/rules",
    "/rules/new?run=run-b&series=policy_entropy",
    "/rules/policy-entropy-collapse",
    "/reference",
    "/settings",
)


def found(page) -> list[str]:
    """What axe holds against the page, with the elements that it means."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]}"
        for one in violations
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
)
def test_no_view_has_a_serious_violation(world, look, path, width, scheme):
    page, watch = look(f"{world.url}{path}", width=width, scheme=scheme)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    if path.startswith("/rules/"):
        expect(page.locator(".played-test").first).to_be_visible()
    if path.startswith("/compare"):
        expect(page.locator(".compare-panel").first).to_have_attribute("data-drawn", "true")
    elif "run-a" in path:
        page.locator("figure-panel").first.scroll_into_view_if_needed()
        expect(page.locator("figure-panel").first).to_have_attribute("data-drawn", "true")
    page.locator("main details").evaluate_all("all => all.slice(0, 12).forEach(one => { one.open = true })")
    assert found(page) == []
    assert watch.errors == []


def test_axe_sees_what_is_wrong(world, look):
    page, _ = look(f"{world.url}/settings")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
    assert any(one.startswith("button-name") for one in found(page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sign_in_has_no_serious_violation(kit, look, tmp_path, scheme, browser):
    site = kit.Site(tmp_path, FORESHOCK_API_KEY="correct-horse").start()
    try:
        page, _ = look(site.url, scheme=scheme)
        expect(page.get_by_label("Key")).to_be_visible()
        assert found(page) == []
    finally:
        site.end()


@pytest.mark.parametrize(
    ("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
)
def test_the_list_has_no_serious_violation_while_runs_are_chosen_and_tagged(world, look, width, scheme):
    page, watch = look(f"{world.url}/?q=otter&started=between", width=width, scheme=scheme)
    page.get_by_role("checkbox", name="Choose brisk-otter").check()
    fold = page.get_by_role("button", name="Filters and order")
    if fold.is_visible():
        fold.click()
    assert found(page) == []
    page.get_by_role("button", name="Tag", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert found(page) == []
    assert watch.errors == []
