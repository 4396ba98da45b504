"""Tests of rules in YAML: they pass when the rule does what is drawn, and say what it did when it does not."""

from __future__ import annotations

import pytest

from foreshock_server.cli import main

PACK = """
pack: own
rules:
  - id: low
    title: Low
    family: training
    severity: warning
    matches: [{statistic: "x*"}]
    detector: {kind: threshold, below: 1, critical: 0.5, clear: 2}
    for_steps: 3
    keep_firing_steps: 2
    runbook: {meaning: m, check: [c], try: [{text: t, basis: inference, source: s}]}
    source: s
  - id: odd
    title: Odd
    family: training
    severity: critical
    matches: [{family: optimiser}, {statistic: loss}]
    detector: {kind: non-finite, clear_after: 5}
    runbook: {meaning: m, check: [c], try: [{text: t, basis: inference, source: s}]}
    source: s
"""


@pytest.fixture
def verdict(tmp_path, capsys):
    """A file of tests, or single ones -> exit status and what was printed."""

    def of(text, *, whole=False):
        (tmp_path / "own.yaml").write_text(PACK)
        file = tmp_path / "tests" / "own.test.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text if whole else f"pack: ../own.yaml\ntests:\n{text}")
        status = main(["rules", "test", str(file)])
        return status, capsys.readouterr().out

    return of


FALLS = '  - {name: falls, rule: low, series: {x: "3x5 0.8x10 3x5"}, '


@pytest.mark.parametrize(
    "expected",
    [
        "fires: 8}",
        "fires: [8, 8]}",
        "fires: [0, 100], resolves: 17}",
        "expect: [{step: 4, state: ok}, {step: 5, state: pending}, {step: 7, state: pending}, {step: 8, state: firing}]}",
        "expect: [{steps: [0, 4], state: ok}, {steps: [8, 16], state: firing, severity: warning}, {steps: [17, 19], state: ok}]}",
        "expect: [{step: 5, state: pending, series: x}]}",
    ],
)
def test_what_happens_as_expected_passes(verdict, expected):
    status, said = verdict(FALLS + expected)
    assert status == 0, said
    assert "1 passed, 0 failed" in said


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ("fires: 7}", "`fires: 7`, but it did at step 8"),
        ("fires: never}", "`fires: never`, but it did at step 8"),
        ("fires: [9, 30]}", "`fires: [9, 30]`, but it did at step 8"),
        ("resolves: never}", "`resolves: never`, but it did at step 17"),
        ("expect: [{step: 6, state: ok}]}", "step 6: ok is expected, but at step 6 it is pending"),
        (
            "expect: [{steps: [6, 9], state: pending}]}",
            "steps 6 to 9: pending is expected, but at step 8 it is firing",
        ),
        (
            "expect: [{step: 9, state: firing, severity: critical}]}",
            "step 9: firing (critical) is expected, but at step 9 it is firing (warning)",
        ),
        ("expect: [{step: 50, state: ok}]}", "nothing is drawn there"),
        ("expect: [{step: 5, state: ok, series: y}]}", "'y'"),
    ],
)
def test_what_happens_otherwise_fails_and_is_told_with_the_whole_course(verdict, expected, difference):
    status, said = verdict(FALLS + expected)
    assert status == 1
    assert difference in said
    assert "0 passed, 1 failed" in said
    if "series: y" not in expected:
        assert "x was: ok 0 to 4, pending 5 to 7, firing (warning) 8 to 16, ok 17 to 19" in said


def test_a_test_that_fails_does_not_hide_the_others(verdict):
    status, said = verdict(
        FALLS + "fires: never}\n" + '  - {name: stays, rule: low, series: {x: "3x50"}, fires: never}\n'
    )
    assert status == 1
    assert [line[:4] for line in said.splitlines() if "own.test.yaml" in line] == ["FAIL", "ok  "]


def test_steps_between_readings_count_as_they_are(verdict):
    case = '  - {name: rare, rule: low, every: 3, start: 30, series: {x: "3x5 0.8x10"}, fires: 48}'
    assert verdict(case)[0] == 0


def test_gaps_and_resumes(verdict):
    case = '  - {name: gap, rule: low, series: {x: "3x5 0.8 _x2 0.8x5"}, fires: 8}\n'
    case += '  - {name: resume, rule: low, series: {x: "3x5 0.8x2 @2 3x3 0.8x6"}, fires: 8, '
    case += "expect: [{step: 4, state: ok}, {step: 7, state: pending}]}\n"
    status, said = verdict(case)
    assert status == 0, said


def test_of_several_series_the_worst_counts_unless_one_is_named(verdict):
    series = 'series: {"x{place=a}": 3x10, "x{place=b}": 3x5 0.8x5, other: "0x10"}'
    case = f"  - {{name: two, rule: low, {series}, fires: 8, expect: [{{step: 9, state: firing}},"
    case += ' {step: 9, state: ok, series: "x{place=a}"}]}'
    status, said = verdict(case)
    assert status == 0, said


def test_a_vector_is_drawn_entry_by_entry(verdict):
    case = "  - {name: heads, rule: low, series: {x: {draw: [3x10, 3x5 0.8x5], axis: head}}, fires: 8}\n"
    case += '  - {name: short, rule: low, series: {x: ["3x10", "3x5 0.8x5"]}, fires: 8}\n'
    status, said = verdict(case)
    assert status == 0, said


def test_the_family_is_that_of_the_reference_or_as_written(verdict):
    case = '  - {name: known, rule: odd, series: {gradient_norm: "1x5 NaN 1x20"}, fires: 5, resolves: 10}\n'
    case += '  - {name: said, rule: odd, series: {mine: {draw: "1 Inf 1x9", family: optimiser}}, fires: 1}\n'
    status, said = verdict(case)
    assert status == 0, said


def test_a_built_in_pack_is_named(verdict):
    case = '{name: falls, rule: policy-entropy-collapse, series: {policy_entropy: "1x10 1~>0.01x90"}, fires: [10, 60]}'
    assert verdict(f"pack: policy-entropy\ntests:\n  - {case}", whole=True)[0] == 0
    assert verdict(f"tests:\n  - {case}", whole=True)[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: [", "not YAML"),
        ("- 1", "begin with `tests:`"),
        ("tests: []", "`tests`"),
        ("tests: [{name: a}]", "test 'a': `rule`"),
        (
            "tests: [{name: a, rule: low, series: {x: 0x10}, fires: 1}]",
            "test 'a': `series.x`: write its drawing in quotes",
        ),
        ("tests: [{name: a, rule: low, series: {x: {draw: 1}}, fires: 1}]", "`series.x.draw`"),
        ("tests: [{name: a, rule: low, series: {x: {draw: '1', drawn: 2}}, fires: 1}]", "`series.x.drawn`"),
        ("tests: [{rule: low, series: {x: '1'}, fires: 1}]", "test number 1: `name`"),
        ("tests: [{name: a, rule: low, series: {x: '1'}}]", "expects nothing"),
        ("tests: [{name: a, rule: low, series: {x: '1'}, fires: [4, 2]}]", "backwards"),
        ("tests: [{name: a, rule: low, series: {x: '1'}, fires: often}]", "`fires`: write a step"),
        ("tests: [{name: a, rule: low, series: {x: '1'}, expect: [{state: ok}]}]", "either `step: 40`"),
        ("pack: nobody\ntests: [{name: a, rule: low, series: {x: '1'}, fires: 1}]", "no pack 'nobody'"),
        ("tests: [{name: a, rule: low, series: {x: '1'}, fires: 1}]", "no rule 'low'"),
        ("pack: ../own.yaml\ntests: [{name: a, rule: low, series: {y: '1'}, fires: 1}]", "watches none"),
        ("pack: ../own.yaml\ntests: [{name: a, rule: low, series: {'x{a': '1'}, fires: 1}]", "no key"),
        ("pack: ../own.yaml\ntests: [{name: a, rule: low, series: {x: one}, fires: 1}]", "'one'"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_what_to_write(verdict, text, said):
    status, printed = verdict(text, whole=True)
    assert status == 1
    assert said in printed


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert main(["rules", "test", str(tmp_path / "gone.yaml")]) == 1
    assert "gone.yaml: cannot be read" in capsys.readouterr().out


def test_a_folder_stands_for_its_files(verdict, tmp_path, capsys):
    verdict(FALLS + "fires: 8}")
    (tmp_path / "tests" / "more.yaml").write_text("tests: []")
    assert main(["rules", "test", str(tmp_path / "tests")]) == 1
    assert "1 passed, 0 failed, and some files could not be read" in capsys.readouterr().out
