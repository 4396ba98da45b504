"""One run, looked at together: a range on the strip, axes, scales, the cursor, and what can be taken from a panel."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

RANGES = "() => [...document.querySelectorAll('figure-panel[data-drawn] .js-plotly-plot')].map((gd) => gd._fullLayout.xaxis.range)"


def panel_of(page, title: str):
    """The drawn panel of this title, in sight."""
    panel = page.locator("figure-panel", has=page.get_by_role("heading", name=title, exact=True))
    panel.scroll_into_view_if_needed()
    expect(panel).to_have_attribute("data-drawn", "true")
    return panel


def opened(world, look, more: str = "", **options):
    page, watch = look(f"{world.url}/runs/run-a{more}", **options)
    panel_of(page, "Policy entropy")
    panel_of(page, "Certainty")
    page.evaluate("() => window.scrollTo(0, 0)")
    return page, watch


def all_show(page, first: float, last: float) -> None:
    """Every drawn panel covers just these steps."""
    page.wait_for_function(
        f"""([first, last]) => {{ const all = ({RANGES})();
          return all.length >= 2 && all.every(([a, b]) => Math.abs(a - first) < 1e-6 && Math.abs(b - last) < 1e-6) }}""",
        arg=[first, last],
    )


def test_a_range_drawn_on_the_strip_is_what_every_panel_shows(world, look):
    page, watch = opened(world, look)
    cells = page.locator(".strip-row").first.locator(".strip-cells").bounding_box()
    y = cells["y"] + cells["height"] / 2
    page.mouse.move(cells["x"] + cells["width"] * 0.25, y)
    page.mouse.down()
    page.mouse.move(cells["x"] + cells["width"] * 0.4, y, steps=4)
    page.mouse.move(cells["x"] + cells["width"] * 0.5, y, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"first=(99|100)&last=(199|200)$"))
    first, last = map(int, re.findall(r"=(\d+)", page.url)[-2:])
    all_show(page, first, last)
    expect(page.locator(".look-range [role=status]")).to_have_text(f"Steps {first} to {last}")
    page.reload()
    panel_of(page, "Policy entropy")
    panel_of(page, "Certainty")
    all_show(page, first, last)
    page.get_by_role("button", name="Whole run").click()
    expect(page).to_have_url(re.compile(r"/runs/run-a$"))
    page.wait_for_function(f"() => ({RANGES})().every(([a, b]) => a <= 0 && b >= 399)")
    assert watch.errors == []


def test_a_press_on_a_stretch_still_goes_to_its_family(world, look):
    page, _ = opened(world, look)
    page.locator(".strip-row").first.locator(".cell-button").last.click()
    assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"
    assert "first=" not in page.url


def test_the_range_is_moved_with_the_keys_alone(world, look):
    page, watch = opened(world, look)
    first = page.get_by_role("slider", name="First step shown")
    first.focus()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    expect(first).to_have_attribute("aria-valuenow", "120")
    last = page.get_by_role("slider", name="Last step shown")
    last.focus()
    page.keyboard.press("PageDown")
    expect(last).to_have_attribute("aria-valuetext", "step 359")
    all_show(page, 120, 359)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Whole run")).to_be_disabled()
    assert watch.errors == []


def test_a_zoom_in_one_panel_is_followed_by_all_and_shown_on_the_strip(world, look):
    page, watch = opened(world, look)
    plot = panel_of(page, "Policy entropy").locator(".nsewdrag").first.bounding_box()
    y = plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + plot["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] * 0.6, y, steps=5)
    page.mouse.up()
    expect(page.locator(".brush-window")).to_be_visible()
    first, last = map(int, re.findall(r"(?:first|last)=(\d+)", page.url))
    assert 90 < first < 150 < 220 < last < 270
    all_show(page, first, last)
    page.evaluate(
        "() => document.querySelector('.js-plotly-plot .nsewdrag').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))"
    )
    page.get_by_role("button", name="Whole run").click()
    page.wait_for_function(f"() => ({RANGES})().every(([a, b]) => a <= 0 && b >= 399)")
    assert watch.errors == []


def test_over_time_logarithmic_and_raw_are_chosen_for_all_and_kept_in_the_address(world, look):
    page, watch = opened(world, look)
    page.get_by_label("Over", exact=True).select_option("time")
    page.wait_for_function(
        "() => [...document.querySelectorAll('figure-panel[data-drawn] .js-plotly-plot')].every((gd) => gd._fullLayout.meta.x === 'time')"
    )
    page.get_by_label("Logarithmic").check()
    gd = panel_of(page, "Policy entropy").locator(".js-plotly-plot")
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')._fullLayout.yaxis.type === 'log'")
    page.get_by_label("Smoothing").select_option("raw")
    page.wait_for_function(
        "() => !document.querySelector('.js-plotly-plot')._fullData.some((t) => t.meta === 'course')"
    )
    raw = gd.evaluate("gd => gd._fullData.find((t) => t.meta === 'policy_entropy').line.color")
    assert "rgba" not in raw or raw.endswith(",1)"), "the raw line stands at full strength"
    assert page.url.endswith("?x=time&log=1&smooth=raw")
    page.reload()
    expect(page.get_by_label("Over", exact=True)).to_have_value("time")
    expect(page.get_by_label("Logarithmic")).to_be_checked()
    assert watch.errors == []


def test_a_step_that_is_pointed_at_is_shown_in_all_panels_by_pointer_and_by_keys(world, look):
    page, watch = opened(world, look)
    one, other = panel_of(page, "Policy entropy"), panel_of(page, "Certainty")
    box = one.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(other.locator(".plot-cursor")).to_be_visible()
    expect(one.locator(".panel-last")).to_have_text(re.compile(r"at \d+$"))
    page.mouse.move(5, 5)
    expect(other.locator(".plot-cursor")).to_be_hidden()
    one.locator(".plot").focus()
    page.keyboard.press("End")
    expect(one.locator(".panel-last")).to_have_text(re.compile(r"at 399$"))
    page.keyboard.press("Shift+ArrowLeft")
    expect(one.locator(".panel-last")).to_have_text(re.compile(r"at 389$"))
    expect(other.locator(".plot-cursor")).to_be_visible()
    page.keyboard.press("Escape")
    expect(other.locator(".plot-cursor")).to_be_hidden()
    assert watch.errors == []


def test_a_panel_gives_its_numbers_its_picture_and_a_rule(world, look, tmp_path):
    page, watch = opened(world, look, "?first=100&last=149", accept_downloads=True)
    panel = panel_of(page, "Policy entropy")

    def taken(name: str) -> bytes:
        panel.get_by_role("button", name="More about this panel").click()
        with page.expect_download() as waiting:
            panel.get_by_role("button", name=name, exact=True).click()
        place = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(place)
        return Path(place).read_bytes()

    rows = list(csv.DictReader(io.StringIO(taken("Save numbers as CSV").decode())))
    mean = [row for row in rows if row["key"] == "policy_entropy"]
    assert [int(row["step"]) for row in mean] == list(range(100, 150))
    stored = world.call("GET", "/runs/run-a/data?key=policy_entropy&points=0&first=100&last=149")["series"][0]
    assert [float(row["value"]) for row in mean] == stored["values"]
    assert taken("Save as PNG").startswith(b"\x89PNG")
    assert b"<svg" in taken("Save as SVG")
    panel.get_by_role("button", name="More about this panel").click()
    link = panel.get_by_role("link", name="Alert on policy_entropy", exact=True)
    expect(link).to_have_attribute("href", "/rules/new?run=run-a&series=policy_entropy")
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    expect(panel.get_by_role("button", name="More about this panel")).to_be_focused()
    assert watch.errors == []


def test_the_menu_is_walked_with_the_keys_and_opens_a_notebook(world, look):
    page, _ = opened(world, look)
    panel = panel_of(page, "Policy entropy")
    panel.get_by_role("button", name="More about this panel").focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Copy link")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text('run.figure("policy-entropy")')


def test_the_whole_run_can_be_taken_along(world, look, tmp_path):
    page, watch = opened(world, look, "", accept_downloads=True)
    page.get_by_text("Configuration and environment").click()
    for words, ending in (("a report as one HTML file", ".html"), ("every reading as Parquet", ".parquet")):
        with page.expect_download() as coming:
            page.get_by_role("link", name=words).click()
        coming.value.save_as(kept := tmp_path / coming.value.suggested_filename)
        assert kept.suffix == ending
        assert kept.stat().st_size > 1000
    assert watch.errors == []


def test_a_link_to_a_panel_opens_its_family_and_goes_there(world, look):
    page, watch = look(f"{world.url}/runs/run-a?figure=optimiser&first=10&last=20")
    panel = page.locator("figure-panel.found")
    expect(panel).to_have_attribute("data-drawn", "true")
    expect(panel.get_by_role("heading", level=4)).to_have_text("Gradients, weights, updates")
    expect(panel).to_be_in_viewport()
    assert panel.locator(".js-plotly-plot").evaluate("gd => gd._fullLayout.xaxis.range") == [10, 20]
    assert watch.errors == []


LABELS = """gd => [...gd.querySelectorAll('.shape-group text, .infolayer .annotation text')]
  .filter((one) => one.textContent.trim() && getComputedStyle(one).visibility !== 'hidden')
  .map((one) => { const box = one.getBoundingClientRect(); return [one.textContent, box.left, box.top, box.right, box.bottom] })"""


@pytest.mark.parametrize("width", [390, 1440])
def test_no_threshold_label_lies_on_another(world, look, width):
    page, _ = opened(world, look, width=width)
    labels = panel_of(page, "Policy entropy").locator(".js-plotly-plot").evaluate(LABELS)
    assert any("critical" in label[0] for label in labels)
    over = [
        (one[0], other[0])
        for number, one in enumerate(labels)
        for other in labels[number + 1 :]
        if one[1] < other[3] and other[1] < one[3] and one[2] < other[4] - 1 and other[2] < one[4] - 1
    ]
    assert over == []


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_note_is_written_with_the_keyboard_and_left_as_it_was(site, kit, look, width, scheme):
    kit.Trainer(site, "noted", "quick-finch", collapses=False).send(20)
    page, watch = look(f"{site.url}/runs/noted", width=width, scheme=scheme)
    note = page.get_by_role("region", name="Note")
    note.get_by_role("button", name="Write a note").press("Enter")
    area = note.get_by_label("Note, plain text")
    expect(area).to_be_focused()
    area.fill("Warm-up too short?\n<b>See</b> brisk-otter.")
    area.press("Control+Enter")
    expect(note.locator(".note-text")).to_have_text("Warm-up too short?\n<b>See</b> brisk-otter.")
    expect(note.locator(".note-who")).to_contain_text("Written")
    expect(note.get_by_role("button", name="Edit")).to_be_focused()
    assert site.call("GET", "/runs/noted")["note"].startswith("Warm-up")
    page.keyboard.press("Enter")
    area.fill("no")
    area.press("Escape")
    expect(note.locator(".note-text")).to_contain_text("Warm-up")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.goto(f"{site.url}/?q=warm-up")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert watch.errors == []
