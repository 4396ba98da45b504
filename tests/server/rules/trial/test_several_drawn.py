"""Rules about several series, and about other rules, are tested by drawings as others are."""

from __future__ import annotations

import pytest

from foreshock_server.cli import main
from foreshock_server.rules.trial.asking import only, rules_of

TAIL = "    runbook: {meaning: m, check: [c], try: [{text: t, basis: inference, source: s}]}\n    source: s\n"
RULES = {
    "apart": "matches: [{statistic: x}]\n    derive: {kind: divergence, other: {statistic: y}, window: 16}\n    detector: {kind: threshold, above: 0.1}",
    "over": "matches: [{statistic: x}]\n    derive: {kind: ratio, other: {statistic: y}}\n    detector: {kind: threshold, above: 1.1}",
    "many": "matches: [{statistic: z}]\n    derive: {kind: across, quantile: 0.25}\n    detector: {kind: threshold, below: 1}",
    "behind": "matches: [{statistic: x}]\n    derive: {kind: reference, run: the best one}\n    detector: {kind: threshold, below: 0.8}",
    "low-a": "matches: [{statistic: a}]\n    detector: {kind: threshold, below: 1}",
    "low-b": "matches: [{statistic: b}]\n    detector: {kind: threshold, below: 1}",
    "both": "joint: {all: [{rule: low-a}, {rule: low-b}], within_steps: 5}",
    "then": "joint: {sequence: [{rule: low-a}, {rule: low-b}], within_steps: 5}\n    keep_firing_steps: 3",
    "cascade": "joint: {sequence: [{rule: policy-entropy-collapse}, {rule: low-b}], within_steps: 5}",
}
PACK = "pack: own\nrules:\n" + "".join(
    f"  - id: {name}\n    title: A title\n    family: training\n    severity: warning\n    {text}\n{TAIL}"
    for name, text in RULES.items()
)
PARTING = 'x: "1x20 1->2x40", y: "1x20 1->0.5x40"'
PLACES = ", ".join(f'"z{{place={one}}}": "2x20 {0.5 if one in "ab" else 2}x10"' for one in "abcde")


@pytest.mark.parametrize(
    ("rule", "series", "expected"),
    [
        ("apart", PARTING, "fires: [20, 40]"),
        ("apart", 'x: "1x20 1->2x40", y: "1x20 1->2x40"', "fires: never"),
        ("over", PARTING, "fires: [20, 24]"),
        ("behind", 'x: "1x20 1->0.5x40"', "reference: {x: 1x60}, fires: [30, 38]"),
        ("behind", 'x: "1x20 1->0.5x40"', "reference: {x: '1x20 1->0.5x40'}, fires: never"),
        ("behind", 'x: "1x20 1->0.5x40"', "reference: {y: 1x60}, fires: never"),
        ("many", PLACES, "fires: 20, expect: [{step: 20, state: ok, series: 'z{place=b}'}]"),
        ("both", 'a: "2x10 0.5x20 2x30", b: "2x20 0.5x20 2x20"', "fires: 20, resolves: 35"),
        ("both", 'a: "2x10 0.5x4 2x30", b: "2x20 0.5x20 2x20"', "fires: never"),
        ("both", 'a: "2x10 0.5x7 2x30", b: "2x20 0.5x20 2x20"', "fires: 20, resolves: 22"),
        ("then", 'a: "2x10 0.5x20 2x30", b: "2x20 0.5x20 2x20"', "fires: 20, resolves: 38"),
        ("then", 'b: "2x10 0.5x20 2x30", a: "2x20 0.5x20 2x20"', "fires: never"),
        ("then", 'b: "2x10 0.5x12 2x5 0.5x30", a: "2x20 0.5x20 2x20"', "fires: 27"),
        ("then", 'a: "2x10 0.5x20 2x5 @25 0.5x10", b: "2x35 @25 2x4 0.5x20"', "fires: 29"),
        ("cascade", 'policy_entropy: "1x10 1~>0.01x90", b: "2x80 0.5x20"', "fires: 80"),
    ],
)
def test_it_does_what_is_drawn(tmp_path, capsys, rule, series, expected):
    (tmp_path / "own.yaml").write_text(PACK)
    file = tmp_path / "own.test.yaml"
    file.write_text(
        f"pack: own.yaml\ntests:\n  - {{name: it, rule: {rule}, series: {{{series}}}, {expected}}}\n"
    )
    assert main(["rules", "test", str(file)]) == 0, capsys.readouterr().out


def test_a_pack_brings_the_built_in_rules_that_its_own_are_about():
    rules = rules_of(PACK, "own.yaml")
    assert [one.id for one in rules.rules][len(RULES) :] == ["policy-entropy-collapse"]
    assert [one.id for one in only(rules, ["both"]).rules] == ["low-a", "low-b", "both"]
