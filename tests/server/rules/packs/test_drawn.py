"""Every built-in rule has drawn tests that fire, stay quiet and begin ill; they pass, and would not if its level were another."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.rules.packs.runs import NOISE, jitter, judge
from tests.server.rules.packs.shipped import levels_of, shipped

from foreshock_server.cli import main
from foreshock_server.rules.detectors import Threshold
from foreshock_server.rules.load import RuleSet, builtin_packs, builtin_tests
from foreshock_server.rules.trial.drawn import run
from foreshock_server.rules.trial.knobs import knob_of
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
RULES = pytest.mark.parametrize("rule", BUILT_IN.rules, ids=lambda rule: rule.id)
OF_ONE_SERIES = pytest.mark.parametrize(
    "rule",
    [
        one
        for one in BUILT_IN.rules
        if one.joint is None and one.derive is None and one.detector.kind != "absence"
    ],
    ids=lambda rule: rule.id,
)
ONE_IS_ENOUGH = {
    "weight-spectral-growth",  # of a slow statistic, read every 500 steps
    "stability-gap",  # of evaluations, and it never sends
    "monitor-loses-readings",
    "monitor-faults",
    "task-begins",
}


def test_each_pack_has_its_tests_beside_it():
    assert [name for name, _ in builtin_tests()] == [name for name, _ in builtin_packs()]


@RULES
def test_a_rule_is_drawn_as_it_falls_ill_as_it_stays_well_and_as_it_begins_ill(rule):
    drawn = shipped()[rule.id]
    assert drawn.firing, "no test in which it fires after having been well"
    assert drawn.quiet, "no test in which it stays quiet (`fires: never`)"
    # of several series their own drawn tests begin ill, told or not
    assert drawn.begins_ill or rule.made is not None, "no test of a run that is ill from the first step"


@RULES
def test_what_is_drawn_is_what_happens(rule):
    drawn = shipped()[rule.id]
    assert [(case.name, problem) for case in drawn.cases for problem in run(case, drawn.rules)] == []


@RULES
def test_an_illness_that_is_over_is_drawn_to_its_end(rule):
    lasting = {"monitor-loses-readings", "monitor-faults"}  # counts that do not go back
    assert rule.id in lasting or any(case.resolves is not None for case in shipped()[rule.id].firing)


@RULES
def test_with_a_level_far_off_they_would_fail(rule):
    drawn = shipped()[rule.id]
    assert all(run(case, _with(rule, drawn.rules, loud=False)) for case in drawn.firing)
    assert any(run(case, _with(rule, drawn.rules, loud=True)) for case in drawn.quiet)


def _with(rule, rules, *, loud):
    """The pack in which this rule fires at everything, or at nothing."""
    knob = knob_of(rule.detector)
    if knob is None:
        detector = Threshold(kind="threshold", above=-1e30 if loud else 1e30)
    else:
        detector = knob.turned(rule.detector, knob.loudest if loud else knob.quietest)
        if knob.beside is not None:
            detector = detector.model_copy(update={"absolute": None})
    changed = rule.model_copy(update={"detector": detector})
    return RuleSet(tuple(changed if one.id == rule.id else one for one in rules.rules), rules.origins)


@OF_ONE_SERIES
def test_few_records_say_nothing_by_themselves(rule):
    """A run that died after five healthy records leaves no alert behind."""
    levels = levels_of(rule.id)
    assert judge(rule, jitter(levels.healthy, 5), levels.every).changes == []


@OF_ONE_SERIES
def test_one_odd_reading_is_no_news_unless_one_is_enough(rule):
    levels = levels_of(rule.id)
    longest = max(rule.warmup_steps, rule.for_steps, rule.keep_firing_steps) // levels.every
    values = jitter(levels.healthy, 200 + 2 * longest)
    values[100 + longest] = levels.ill
    if rule.detector.kind != "non-finite" and rule.id not in ONE_IS_ENOUGH:
        assert judge(rule, values, levels.every).changes == []


def test_the_command_runs_them(capsys, monkeypatch):
    some = builtin_tests()[:1]
    monkeypatch.setattr("foreshock_server.rules.trial.files.builtin_tests", lambda: some)
    assert main(["rules", "test", "--builtin"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"ok   built-in {some[0][0]}: ")
    assert lines[-1] == f"{len(lines) - 1} passed, 0 failed"


def test_the_command_wants_files_or_those_that_ship(capsys, tmp_path):
    assert main(["rules", "test"]) == 1
    assert main(["rules", "test", "--builtin", str(tmp_path)]) == 1
    assert "--builtin" in capsys.readouterr().err


def test_noise_is_what_the_drawn_runs_say():
    assert np.std(jitter(50.0, 10_000)) == pytest.approx(50 * NOISE, rel=0.05)
