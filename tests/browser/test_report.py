"""An exported report in Chromium, from a file and without a network: it draws, and asks for nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from foreshock.query.client import Client

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390)])
def test_a_report_is_whole_by_itself(world, browser, tmp_path, theme, width):
    place = Client(world.url).run("run-a").report(tmp_path / "report.html", theme)
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(place.as_uri())
    expect(page.locator(".banner")).to_contain_text("Policy entropy is collapsing since step")
    first = page.locator(".figure").first
    first.scroll_into_view_if_needed()
    expect(first.locator(".main-svg").first).to_be_visible()
    page.locator(".figure").last.scroll_into_view_if_needed()
    expect(page.locator(".figure").last.locator(".main-svg").first).to_be_visible()
    page.emulate_media(media="print")
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".figure script")).to_have_count(0)
    drawn = page.evaluate("() => document.querySelectorAll('.js-plotly-plot').length")
    assert drawn == len(world.call("GET", "/runs/run-a/figures")["figures"])
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert asked == [place.as_uri()]
    assert said == []
    context.close()
