"""Built-in rules about several series or other rules: drawn as a run falls ill, stays well and begins ill, and left alone by noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.server.rules.synthetic import healthy

import foreshock_server.rules
from foreshock_server.rules.columns import Subject
from foreshock_server.rules.derived import Moment
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial.cases import parse_cases
from foreshock_server.rules.trial.drawn import run
from foreshock_server.rules.watch import Change, Watch
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
TOGETHER = [rule for rule in BUILT_IN.rules if rule.made is not None]
RULES = pytest.mark.parametrize("rule", TOGETHER, ids=lambda rule: rule.id)
DRAWN = Path(foreshock_server.rules.__file__).parent / "builtin" / "tests"
CASES = [
    case for file in DRAWN.glob("*.yaml") for case in parse_cases(file.read_text("utf-8"), file.name).tests
]
CASES_OF = {rule.id: [case for case in CASES if case.rule == rule.id] for rule in TOGETHER}


@RULES
def test_what_is_drawn_is_what_happens(rule):
    assert [(case.name, problem) for case in CASES_OF[rule.id] for problem in run(case, BUILT_IN)] == []


@RULES
def test_it_is_drawn_ill_well_and_ill_from_the_first_step(rule):
    cases = CASES_OF[rule.id]
    assert any(case.fires not in (None, "never") and case.resolves is not None for case in cases)
    assert any(case.fires == "never" for case in cases)
    assert any("first step" in case.name or "begins" in case.name for case in cases)


@RULES
def test_with_a_level_far_off_the_drawings_would_fail(rule):
    for case in CASES_OF[rule.id]:
        assert case.fires == "never" or run(case, _with(rule, loud=False)), case.name
    quiet = [case for case in CASES_OF[rule.id] if case.fires == "never"]
    assert rule.joint is not None or any(run(case, _with(rule, loud=True)) for case in quiet)


def _with(rule, *, loud):
    """All rules, of which this one fires at everything, or at nothing."""
    far = {"critical": None, "clear": None}
    if rule.detector.kind == "rise":
        far["by"] = -1e9 if loud else 1e9
    elif rule.detector.below is not None:
        far["below"] = 1e9 if loud else -1e9
    else:
        far["above"] = -1e9 if loud else 1e9
    changed = rule.model_copy(update={"detector": rule.detector.model_copy(update=far)})
    return RuleSet(tuple(changed if one is rule else one for one in BUILT_IN.rules), BUILT_IN.origins)


def test_each_part_of_a_joint_rule_is_some_rule():
    for rule in TOGETHER:
        assert all(BUILT_IN.parts_of(rule)), rule.id


def readings(rule, rows):
    """The transitions that rows of (first, other) bring."""
    watch = Watch.begin(rule, Subject(1, "s", "s", "f", "", "", {}))
    parts, changes = rule.derive.initial(), list[Change]()
    for step, (first, other) in enumerate(rows):
        parts, made = rule.derive.take(parts, Moment((1, "w"), step, float(step)), first, other)
        for one in made:
            watch.see(
                [one.step], [one.time], np.array([one.value]), attempt=1, order=(0, 0, 0), changes=changes
            )
    return changes


PAIRS = [rule for rule in TOGETHER if rule.derive is not None and not rule.derive.many]
RECORDS, RUNS = 1500, 12


@pytest.mark.parametrize("rule", PAIRS, ids=lambda rule: rule.id)
def test_two_healthy_series_that_go_together_do_not_page_and_hardly_ever_warn(rule):
    """Reward and true score, pass@1 and pass@n, length and reward: both follow what is learnt, each with noise of its own."""
    chance = np.random.default_rng(5)
    said = []
    for _ in range(RUNS):
        learnt = 1 - 0.7 * np.exp(-np.arange(RECORDS) / chance.uniform(100, 600))
        first, other = (learnt * healthy(RECORDS, chance) ** 0.3 for _ in range(2))
        rows = [({1: one}, [two]) for one, two in zip(first.tolist(), other.tolist(), strict=True)]
        said += readings(rule, rows)
    assert [one for one in said if one.severity.value == "critical"] == []
    assert sum(one.kind.value == "fired" for one in said) <= 2


@pytest.mark.parametrize(
    "rule", [one for one in TOGETHER if one.derive and one.derive.many], ids=lambda one: one.id
)
def test_many_healthy_places_say_nothing(rule):
    chance = np.random.default_rng(6)
    scale = 0.2 if rule.derive.share_above is not None else 60.0
    for _ in range(RUNS // 2):
        places = [scale * healthy(RECORDS, chance) for _ in range(6)]
        rows = [(dict(enumerate(row)), ()) for row in np.array(places).T.tolist()]
        assert readings(rule, rows) == []
