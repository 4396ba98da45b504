"""Packs that ship as examples: sound, not in force, printed for people to copy, and then in force beside the built-in rules."""

from __future__ import annotations

import pytest
from tests.server.rules.packs.runs import jitter, judge

from foreshock_server.cli import rules as command
from foreshock_server.rules.load import RuleSet, example_packs, parse_pack
from foreshock_server.settings import Settings

BUILT_IN = RuleSet.load(Settings())
SAGEMAKER = parse_pack(example_packs()["sagemaker-debugger"], "sagemaker-debugger.yaml").rules
ILL = {  # healthy, ill
    "sagemaker-vanishing-gradient": (0.5, 1e-9),
    "sagemaker-exploding-tensor": (0.0, 3.0),
    "sagemaker-dead-relu": (0.01, 0.7),
    "sagemaker-poor-weight-initialization": (1.0, 1e5),
    "sagemaker-weight-update-ratio": (1e-3, 1e-10),
    "sagemaker-all-zero": (0.01, 1.0),
    "sagemaker-overfit": (1.0, 1.5),
    "sagemaker-class-imbalance": (2.3, 0.5),
}
STUCK = {"sagemaker-unchanged-tensor", "sagemaker-loss-not-decreasing", "sagemaker-overtraining"}


def test_no_example_is_in_force():
    for text in example_packs().values():
        for rule in parse_pack(text, "example.yaml").rules:
            assert BUILT_IN.get(rule.id) is None


def test_every_rule_is_drawn():
    assert {rule.id for rule in SAGEMAKER} == set(ILL) | STUCK


@pytest.mark.parametrize("rule", [one for one in SAGEMAKER if one.id in ILL], ids=lambda rule: rule.id)
def test_it_fires_when_the_run_falls_ill_and_not_before(rule):
    healthy, ill = (jitter(level, 400, seed) for seed, level in enumerate(ILL[rule.id]))
    assert judge(rule, healthy, 10).changes == []
    changes = judge(rule, [*healthy, *ill], 10).changes
    assert [one.kind.value for one in changes] == ["fired"]
    assert changes[0].step >= 4000


@pytest.mark.parametrize("rule", [one for one in SAGEMAKER if one.id in STUCK], ids=lambda rule: rule.id)
def test_it_fires_when_nothing_moves_and_not_while_something_does(rule):
    moving = [5 * 0.99**step + 0.1 for step in range(450)]
    assert judge(rule, moving, 10).changes == []
    assert judge(rule, [2.0] * 1200, 10).says == "warning"


def test_what_is_printed_is_a_pack_that_a_server_takes(tmp_path, capsys):
    assert command(["example", "sagemaker-debugger"]) == 0
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    rules = RuleSet.load(Settings(rules_dir=tmp_path))
    assert len(rules.rules) == len(BUILT_IN.rules) + len(SAGEMAKER)


def test_an_example_that_does_not_exist_is_answered_with_those_that_do(capsys):
    with pytest.raises(SystemExit):
        command(["example", "nothing"])
    assert "sagemaker-debugger" in capsys.readouterr().err
