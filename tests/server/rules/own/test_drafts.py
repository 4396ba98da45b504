"""What is wrong in a rule is said while it is written: in a sentence, with its line."""

from __future__ import annotations

import pytest
import yaml


def said(found):
    return [(one["part"], one["line"], one["says"]) for one in found["problems"]]


def test_a_good_rule_is_told_in_words(desk):
    found = desk.check(tests=desk.tests)
    assert (found["good"], found["problems"]) == (True, [])
    assert found["rule"]["detector"]["below"] == 0.5
    assert "< 0.5" in found["says"][0]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("below: 0.5", "below: 0.5, above: 2", 7, "exactly one of `below: LEVEL` and `above: LEVEL`"),
        ("below: 0.5", "belows: 0.5", 7, "`detector.belows` is not known; did you mean `below`?"),
        ("kind: threshold", "kind: treshold", 7, "`detector.kind` must be one of: threshold, band"),
        ("severity: warning", "severity: bad", 5, "`severity` is 'bad', but: "),
        ("title: Reward below its line\n", "", 2, "`title` is missing; add it (a few words for lists)."),
        ("id: reward-falls", "id: Reward", 2, "`id` must be lower-case letters, digits and hyphens"),
        ("id: reward-falls", "id: new", 2, "`id`: new is an address of this page; choose another."),
        ("id: reward-falls", "id: policy-entropy-collapse", 2, "is the id of a rule that is built-in"),
        ("family: training", "family: [", 6, "Not YAML"),
        ("source: experience\n", "source: experience\n---\nid: b\n", 14, "begins another document"),
        ("below: 0.5", "below: &a 0.5, clear: *a", 7, "names another part"),
    ],
)
def test_each_problem_has_its_line_and_says_what_to_write(desk, old, new, line, words):
    found = desk.check(desk.text.replace(old, new, 1))
    assert not found["good"]
    (part, where, says) = said(found)[0]
    assert part == "rule"
    assert words in says
    assert where == line, says


def test_several_problems_are_said_at_once(desk):
    text = desk.text.replace("severity: warning", "severity: bad").replace("title:", "titel:")
    assert len(desk.check(text)["problems"]) == 3  # no title, a titel, a severity


def test_the_tests_have_their_own_lines(desk):
    found = desk.check(tests=desk.tests.replace("fires: 10", "fires: soon"))
    ((part, line, says),) = said(found)
    assert (part, line) == ("tests", 4)
    assert "write a step, `[first, last]` or `never`" in says
    strange = desk.check(tests=desk.tests.replace("fires: 10", "fires: 10\n    rule: another"))
    assert "leave `rule` out" in said(strange)[0][2]
    assert "begin with `tests:`" in said(desk.check(tests="[1]"))[0][2]


def test_a_rule_keeps_its_id(desk):
    desk.create()
    assert desk.check(rule="reward-falls")["good"]
    assert "made here" in said(desk.check())[0][2]
    renamed = desk.check(desk.text.replace("reward-falls", "other-id"), rule="reward-falls")
    assert "a rule keeps its id" in said(renamed)[0][2]


def test_a_joint_rule_must_name_rules_that_there_are(desk):
    text = "\n".join(line for line in desk.text.splitlines() if not line.startswith(("matches", "detector")))
    found = desk.check(
        f"{text}\njoint: {{all: [{{rule: policy-entropy-collapse}}, {{rule: no-such-rule}}]}}\n"
    )
    ((_, _, says),) = said(found)
    assert says.startswith("`joint.all[1]` means no rule")


def test_which_series_of_a_run_it_is_about(desk, stored):
    stored.block({"reward": [1.0] * 5, "loss": [1.0] * 5})
    assert desk.check(run="run-1")["series"] == {"run": "run-1", "count": 1, "keys": ["reward"]}
    wide = desk.check(desk.text.replace("statistic: reward", 'statistic: "*"'), run="run-1")
    assert wide["series"]["count"] == 2
    assert desk.check(run="nobody")["series"] is None


def test_a_value_is_put_into_the_text(desk):
    changed = desk.ask("POST", "/rules/edit", text=desk.text, path=["detector", "below"], value=0.25)["text"]
    assert changed == desk.text.replace("below: 0.5", "below: 0.25")
    assert desk.ask("POST", "/rules/edit", text=changed, path=["for_steps"], value=7)["text"].endswith(
        "for_steps: 7\n"
    )
    refused = desk.ask("POST", "/rules/edit", 422, text="a: [", path=["a"], value=1)
    assert "cannot be changed there" in refused["detail"]
    desk.ask("POST", "/rules/edit", 422, text="a: 1", path=["a", 3], value=1)


def test_any_rule_in_force_can_be_copied_with_its_tests(desk):
    source = desk.ask("GET", "/rules/source/policy-entropy-collapse")
    assert (source["origin"], source["pack"]) == ("built-in", "policy-entropy")
    copied = source["text"].replace("id: policy-entropy-collapse", "id: policy-entropy-mine", 1)
    found = desk.check(copied, tests=source["tests"])
    assert found["problems"] == []
    original = next(
        one for one in desk.ask("GET", "/rules")["rules"] if one["id"] == "policy-entropy-collapse"
    )
    assert {**found["rule"], "id": original["id"]} == {
        name: value for name, value in original.items() if name not in ("origin", "pack", "own")
    }
    played = desk.ask("POST", "/rules/tests", text=copied, tests=source["tests"])["tests"]
    assert len(played) >= 3
    assert all(one["passed"] for one in played)
    desk.ask("GET", "/rules/source/no-such", 404)


@pytest.mark.parametrize("origin", ["built-in"])
def test_every_rule_in_force_has_a_text_that_says_the_same(desk, origin):
    for rule in desk.ask("GET", "/rules")["rules"]:
        source = desk.ask("GET", f"/rules/source/{rule['id']}")
        assert source["origin"] == origin
        found = desk.check(source["text"], rule=rule["id"], tests=source["tests"])
        assert found["problems"] == [], rule["id"]
        assert found["rule"] == {name: rule[name] for name in found["rule"]}, rule["id"]
        assert yaml.safe_load(source["text"])["id"] == rule["id"]
