"""Rules in Chromium: begun from a series, checked while they are written, tried on runs, tested with drawings, changed and restored."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)

RULE = """id: {id}
title: Reward below its line
family: RL signal
severity: warning
matches: [{{statistic: reward_mean}}]
detector: {{kind: threshold, below: {level}}}
runbook:
  meaning: It means something.
  check: [this]
  try:
    - {{text: that, basis: inference, source: experience}}
source: experience
"""
TESTS = """tests:
  - name: it falls
    series: {reward_mean: "0.5x10 0.1x5"}
    fires: 10
"""


@pytest.fixture(scope="module")
def place(browser, kit, tmp_path_factory):
    """A server with a run that collapses and one that does not, on which rules are made."""
    site = kit.Site(tmp_path_factory.mktemp("rules")).start()
    for run, name, collapses in (("run-a", "brisk-otter", True), ("run-b", "calm-heron", False)):
        trainer = kit.Trainer(site, run, name, collapses=collapses)
        for _ in range(3):
            trainer.send(100)
    yield site
    site.end()


@pytest.fixture
def made(place):
    """A rule of the test's own: its id."""

    def made(rule: str, level: float = 0.2) -> str:
        body = {"text": RULE.format(id=rule, level=level), "tests": TESTS}
        place.call("POST", "/rules/own", body)
        return rule

    return made


def text_of(page):
    return page.get_by_label("Text of the rule")


def holding(part: str) -> re.Pattern[str]:
    """A text that holds this."""
    return re.compile(re.escape(part))


def test_from_a_series_of_a_run_to_a_rule_that_a_live_worker_heeds(place, look, kit):
    page, watch = look(f"{place.url}/rules/new?run=run-b&series=reward_mean")
    expect(page.get_by_role("heading", level=1)).to_have_text("New rule")
    expect(page.locator(".rule-preview .rc-line")).to_have_count(1)
    expect(page.get_by_text("In this run it is about 1 series: reward_mean.")).to_be_visible()
    expect(page.locator(".played-test[data-passed=true]")).to_have_count(2)
    page.get_by_label("It fires on").select_option("below a level")
    field = page.locator("[data-name=below]")
    field.fill("0.3")
    field.press("Tab")
    expect(text_of(page)).to_have_value(holding("below: 0.3"))
    expect(page.locator(".rule-preview .rc-label")).to_have_text("below 0.3")
    page.get_by_label("Id", exact=True).fill("reward-sinks")
    page.get_by_label("Id", exact=True).press("Tab")
    page.get_by_label("Tests, as YAML").fill("")
    expect(page.get_by_text("No tests yet.")).to_be_visible()
    page.get_by_role("button", name="Put in force").click()
    expect(page).to_have_url(f"{place.url}/rules/reward-sinks")
    expect(page.get_by_text("Saved: workers heed it within seconds.")).to_be_visible()
    trainer = kit.Trainer(place, "run-c", "late-wren", collapses=False)
    time.sleep(3)
    trainer.send(20, lambda values: values.__setitem__((slice(None), 5), 0.1))
    alert = trainer.wait_for_alert()
    assert (alert["rule"], alert["threshold"]) == ("reward-sinks", 0.3)
    assert watch.errors == []


def test_what_is_wrong_is_said_while_typing_with_its_line(place, look):
    page, watch = look(f"{place.url}/rules/new")
    expect(page.get_by_role("button", name="Put in force")).to_be_enabled()
    good = text_of(page).input_value()
    text_of(page).fill(good.replace("above: 10", "abve: 10"))
    problem = page.locator("#rule-problems")
    expect(problem).to_contain_text("line 6 `detector.abve` is not known; did you mean `above`?")
    expect(page.get_by_role("button", name="Put in force")).to_be_disabled()
    expect(page.get_by_label("Title")).to_be_disabled()
    problem.get_by_role("button", name="line 6").first.click()
    chosen = text_of(page).evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)")
    assert chosen == "detector: {kind: threshold, abve: 10, median: 5}"
    text_of(page).fill(good)
    expect(problem).to_be_empty()
    expect(page.get_by_label("Title")).to_be_enabled()
    assert watch.errors == []


def test_tried_on_runs_it_is_drawn_over_each_and_false_alarms_are_counted(place, look, made):
    page, watch = look(f"{place.url}/rules/{made('entropy-low')}")
    text_of(page).fill(
        text_of(page).input_value().replace("reward_mean", "policy_entropy").replace("0.2", "0.6")
    )
    page.get_by_label("Find runs").fill("otter")
    page.get_by_role("button", name="grpo-math / brisk-otter went wrong").click()
    page.get_by_label("seen at step").fill("280")
    page.get_by_label("Find runs").fill("heron")
    page.get_by_role("button", name="grpo-math / calm-heron was healthy").click()
    page.get_by_role("button", name="Try it on these runs").click()
    expect(page.locator(".trial-summary")).to_have_text(
        "Fired in 1 of 1 run that went wrong. No false alarm in 1 healthy run."
    )
    found = page.locator("[data-result=found]")
    expect(found.locator("dl")).to_contain_text("steps")
    expect(found.locator(".rc-cell-warning")).to_have_count(1)
    expect(found.locator(".rc-label")).to_have_text("below 0.6")
    quiet = page.locator("[data-result='silent, as it should be']")
    expect(quiet.locator(".rc-line")).to_have_count(1)
    expect(quiet.locator(".rc-cell")).to_have_count(0)
    text_of(page).fill(text_of(page).input_value().replace("0.6", "0.9"))
    expect(page.locator(".trial-summary")).to_contain_text("before the last change")
    page.get_by_role("button", name="Try it on these runs").click()
    expect(page.locator("[data-result='false alarm']")).to_be_visible()
    expect(page.locator(".trial-summary")).to_contain_text("1 false alarm in 1 healthy run")
    page.get_by_role("button", name="Suggest a level").click()
    expect(page.locator(".suggestion")).to_contain_text("Too few healthy runs")
    page.get_by_label("False alarms in at most").fill("50")
    page.get_by_role("button", name="Suggest a level").click()
    use = page.locator(".suggestion").get_by_role("button")
    level = use.inner_text().removeprefix("Use below: ")
    assert 0.6 < float(level) < 0.9
    use.click()
    expect(text_of(page)).to_have_value(holding(f"below: {level}"))
    page.get_by_role("button", name="Try it on these runs").click()
    expect(page.locator(".trial-summary")).to_contain_text("No false alarm")
    assert watch.errors == []


def test_tests_are_drawn_with_what_is_expected_and_what_came(place, look, made):
    page, watch = look(f"{place.url}/rules/{made('drawn-rule')}")
    card = page.locator(".played-test")
    expect(card).to_have_count(1)
    expect(card).to_have_attribute("data-passed", "true")
    expect(card.get_by_role("img", name="actual: firing (warning) from step 10 to 14.")).to_be_visible()
    tests = page.get_by_label("Tests, as YAML")
    tests.fill(tests.input_value().replace("fires: 10", "fires: never"))
    expect(card).to_have_attribute("data-passed", "false")
    expect(card).to_contain_text("but it did at step 10")
    tests.fill(tests.input_value().replace("fires: never", "fires: soon"))
    expect(page.locator("#rule-problems")).to_contain_text("tests, line 4")
    tests.fill(TESTS)
    page.get_by_role("button", name="Add a test").click()
    expect(page.locator(".played-test")).to_have_count(2)
    expect(page.get_by_text("2 tests, all as expected.")).to_be_visible()
    assert watch.errors == []


def test_every_change_is_kept_and_an_earlier_one_restored(place, look, made):
    page, watch = look(f"{place.url}/rules/{made('kept-rule')}")
    for level, why in (("0.25", "too quiet"), ("0.1", "too loud")):
        field = page.locator("[data-name=below]")
        expect(field).to_be_enabled()
        field.fill(level)
        field.press("Tab")
        expect(text_of(page)).to_have_value(holding(f"below: {level}"))
        page.get_by_label("Why (optional)").fill(why)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved: workers heed it within seconds.")).to_be_visible()
    versions = page.locator(".version")
    expect(versions).to_have_count(3)
    expect(versions.first).to_contain_text("too loud")
    versions.first.locator("summary").click()
    expect(versions.first.locator(".diff-out")).to_contain_text("below: 0.25")
    expect(versions.first.locator(".diff-in")).to_contain_text("below: 0.1")
    versions.last.locator("summary").click()
    page.get_by_role("button", name="Restore version 1").click()
    expect(page.locator(".version")).to_have_count(4)
    expect(text_of(page)).to_have_value(holding("below: 0.2}"))
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("This rule was deleted. Restore a version of it below.")).to_be_visible()
    page.goto(f"{place.url}/rules")
    page.get_by_text("Deleted (").click()
    expect(page.get_by_role("link", name="kept-rule")).to_be_visible()
    assert watch.errors == []


def test_somebody_elses_change_is_not_overwritten(place, look, made):
    rule = made("shared-rule")
    page, _ = look(f"{place.url}/rules/{rule}")
    expect(page.get_by_role("button", name="Save")).to_be_enabled()
    place.call("PUT", f"/rules/own/{rule}", {"version": 1, "text": RULE.format(id=rule, level=0.15)})
    page.get_by_label("Title").fill("Mine")
    page.get_by_label("Title").press("Tab")
    expect(text_of(page)).to_have_value(holding("title: Mine"))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert").filter(has_text="since you opened it")).to_be_visible()


def test_a_rule_of_a_file_is_read_and_copied(place, look):
    page, watch = look(f"{place.url}/rules?pack=policy-entropy")
    expect(page.get_by_label("Pack")).to_have_value("policy-entropy")
    card = page.locator("#policy-entropy-exhausted")
    card.locator("summary").click()
    card.get_by_role("link", name="Its text, its tests, try it").click()
    expect(page).to_have_url(f"{place.url}/rules/policy-entropy-exhausted")
    expect(text_of(page)).to_have_attribute("readonly", "")
    expect(page.locator(".played-test[data-passed=true]").first).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    page.get_by_role("link", name="Copy").click()
    expect(page.get_by_label("Id", exact=True)).to_have_value("policy-entropy-exhausted-copy")
    page.get_by_role("button", name="Put in force").click()
    expect(page).to_have_url(f"{place.url}/rules/policy-entropy-exhausted-copy")
    rules = {one["id"]: one for one in place.call("GET", "/rules")["rules"]}
    assert rules["policy-entropy-exhausted-copy"]["own"]["replaces"] == "policy-entropy-exhausted"
    page.goto(f"{place.url}/rules")
    expect(page.get_by_role("heading", name="Made here")).to_be_visible()
    assert watch.errors == []
