"""Every built-in rule fires on a drawn series that falls ill, and on no healthy one; what it says of runs that begin ill is said too."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from tests.server.rules.packs.cases import CASES
from tests.server.rules.packs.runs import NOISE, falls_ill, judge, recovers, wait_of
from tests.server.rules.packs.runs import jitter as steady

from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial.cases import parse_cases
from foreshock_server.rules.trial.drawn import run
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
READING = [rule for rule in BUILT_IN.rules if rule.detector.kind != "absence"]
RULES = pytest.mark.parametrize("rule", READING, ids=lambda rule: rule.id)


def test_every_rule_is_drawn_and_nothing_else_is():
    assert set(CASES) == {rule.id for rule in READING}


def test_a_rule_about_silence_is_drawn_as_it_falls_silent_as_it_goes_on_and_as_it_begins():
    text = (
        files("foreshock_server").joinpath("rules", "builtin", "tests", "operations.yaml").read_text("utf-8")
    )
    cases = parse_cases(text, "operations.yaml").tests
    for rule in BUILT_IN.rules:
        if rule.detector.kind == "absence":
            own = [case for case in cases if case.rule == rule.id]
            assert [case.fires == "never" for case in own] == [False, True, False]
    assert [(case.name, problem) for case in cases for problem in run(case, BUILT_IN)] == []


@RULES
def test_a_run_that_stays_well_is_left_alone(rule):
    case = CASES[rule.id]
    assert judge(rule, steady(case.healthy, 4 * wait_of(rule, case.every)), case.every).changes == []


@RULES
def test_a_run_that_falls_ill_is_told_once_and_not_before_it_does(rule):
    case = CASES[rule.id]
    values, begins = falls_ill(rule, case)
    verdict = judge(rule, values, case.every)
    assert verdict.says == case.falls_ill
    kinds = [change.kind.value for change in verdict.changes]
    assert kinds in ([["fired", "resolved"]] if case.passing else (["fired"], ["fired", "escalated"]))
    assert verdict.changes[0].step >= begins * case.every


@RULES
def test_what_it_says_of_a_run_that_begins_ill(rule):
    case = CASES[rule.id]
    values = steady(case.sick, 4 * wait_of(rule, case.every))
    assert judge(rule, values, case.every).says == case.begins_ill


@RULES
def test_it_resolves_when_the_run_is_well_again(rule):
    case = CASES[rule.id]
    verdict = judge(rule, recovers(rule, case), case.every)
    assert verdict.says is None
    assert [change.kind.value for change in verdict.changes][-1] == "resolved"


@RULES
def test_few_records_say_nothing_by_themselves(rule):
    """A run that died after five healthy records leaves no alert behind."""
    case = CASES[rule.id]
    assert judge(rule, steady(case.healthy, 5), case.every).changes == []


@RULES
def test_one_odd_reading_is_no_news_unless_one_is_enough(rule):
    case = CASES[rule.id]
    values = steady(case.healthy, 2 * wait_of(rule, case.every))
    values[-wait_of(rule, case.every) // 2] = case.sick
    verdict = judge(rule, values, case.every)
    if rule.detector.kind != "non-finite" and not case.sharp and rule.id not in ONE_IS_ENOUGH:
        assert verdict.changes == []


ONE_IS_ENOUGH = {
    "weight-spectral-growth",  # of a slow statistic, read every 500 steps
}


def test_noise_is_what_the_drawn_runs_say():
    assert np.std(steady(50.0, 10_000)) == pytest.approx(50 * NOISE, rel=0.05)
