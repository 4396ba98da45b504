"""Rule packs: what ships is sound, and what is wrong in a person's own is said in a sentence that tells what to write."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from foreshock_server.cli import rules as command
from foreshock_server.rules.check import check
from foreshock_server.rules.load import BadRules, RuleSet, builtin_packs, parse_pack
from foreshock_server.settings import Settings

GOOD = """
pack: mine
rules:
  - id: my-rule
    title: A title
    family: training
    severity: warning
    matches:
      - {statistic: reward}
    detector: {kind: threshold, below: 0.1}
    runbook:
      meaning: It means something.
      check: [this]
      try:
        - {text: that, basis: inference, source: experience}
    source: experience
"""


@dataclass
class Series:
    statistic: str
    family: str = "training"
    place: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def problems(text):
    with pytest.raises(BadRules) as caught:
        parse_pack(text, "mine.yaml")
    return caught.value.problems


def load(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return RuleSet.load(Settings(rules_dir=tmp_path))


# --- what ships


@pytest.fixture(scope="module")
def built_in():
    return RuleSet.load(Settings())


def test_every_built_in_rule_has_a_runbook_with_sources_and_can_be_reached(built_in):
    assert len(built_in.rules) >= 8
    for rule in built_in.rules:
        assert len(rule.runbook.meaning) > 80
        assert all(remedy.source for remedy in rule.runbook.remedies)
        assert rule.source
        assert rule.says is None or rule.says.warning != rule.title


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (
            Series("policy_entropy", "policy entropy"),
            {
                "policy-entropy-collapse",
                "policy-entropy-explosion",
                "policy-entropy-exhausted",
                "non-finite",
            },
        ),
        (Series("policy_entropy_p50", "policy entropy"), {"non-finite"}),
        (
            Series("effective_rank", "representation", "layers.3", {"centered": "true", "place": "layers.3"}),
            {
                "representation-rank-collapse",
                "representation-one-direction",
                "rank-falls-across-layers",
                "non-finite",
            },
        ),
        (Series("effective_rank", "representation", "layers.3", {"centered": "false"}), {"non-finite"}),
        # the residual stream of a healthy transformer has a high mean cosine: no rule may be about it
        (Series("mean_cosine", "representation", "model.layers.3"), {"non-finite"}),
        (Series("embedding_std", "representation", "model.layers.3"), {"non-finite"}),
        (Series("embedding_std", "representation", "views.a"), {"constant-embeddings", "non-finite"}),
        (Series("mean_cosine", "representation", "views.b"), {"embeddings-in-one-direction", "non-finite"}),
        (Series("zero_variance_groups", "RL signal"), {"zero-variance-groups", "non-finite"}),
        (Series("zero_variance_all_low", "RL signal"), {"no-reward-signal", "non-finite"}),
        (Series("zero_variance_all_high", "RL signal"), {"non-finite"}),
        (Series("loss", "training"), {"non-finite-loss", "loss-spike", "task-boundary"}),
        (Series("train/policy_loss", "training"), {"non-finite-loss"}),
        (Series("reward", "training"), {"non-finite", "reward-hacking", "reward-outruns-score"}),
        (Series("nonfinite_count", "numerics", "l", {"tensor": "weight"}), {"non-finite-weights"}),
        (Series("nonfinite_count", "numerics", "l", {"tensor": "gradient"}), {"non-finite-gradients"}),
        (Series("nonfinite_count", "numerics", "l", {"tensor": "activation"}), {"non-finite-activations"}),
        (
            Series("gradient_norm", "optimiser"),
            {"gradient-explosion", "gradient-vanishing", "statistics-silent", "non-finite"},
        ),
        (
            Series("gradient_norm", "optimiser", "layers.1"),
            {"gradient-vanishing", "gradient-uneven", "statistics-silent", "non-finite"},
        ),
        (Series("gradient_norm"), {"non-finite"}),  # logged by the loop
        (Series("foreshock_budget_used", "monitor"), {"monitor-over-budget", "non-finite"}),
        (Series("foreshock_overhead", "monitor"), {"non-finite"}),
    ],
    ids=lambda one: one.statistic + one.place if isinstance(one, Series) else "",
)
def test_each_series_is_watched_by_the_rules_meant_for_it(built_in, series, expected):
    assert {rule.id for rule in built_in.matching(series)} == expected


def test_the_cost_of_watching_is_news_when_it_lasts_and_not_for_one_dear_record(built_in):
    detector = built_in.get("monitor-over-budget").detector
    memory, said = detector.initial(), []
    used = [90.0] * 20 + [400.0] * 3 + [90.0] * 20 + [200.0] * 20 + [400.0] * 20 + [100.0] * 20
    for step, percent in enumerate(used):
        memory, reading = detector.update(memory, step, percent)
        said.append((reading.breach, reading.critical))
    assert {breach for breach, _ in said[8:43]} == {False}
    assert said[62] == (True, False)
    assert said[82] == (True, True)
    assert said[-1] == (False, False)


def test_what_a_remedy_rests_on_is_always_told(built_in):
    bases = {remedy.basis for rule in built_in.rules for remedy in rule.runbook.remedies}
    assert bases == {"paper", "inference"}


def test_the_built_in_packs_pass_the_check_that_people_are_given():
    lines, good = check([])
    assert good
    assert [line.split(":")[0] for line in lines] == [name for name, _ in builtin_packs()]
    assert all("OK" in line for line in lines)


def test_a_runbook_is_told_by_the_id_of_its_rule(built_in):
    book = built_in.runbook_of("policy-entropy-collapse")
    assert set(book) == {"meaning", "check", "try"}
    assert set(book["try"][0]) == {"text", "basis", "source"}
    assert built_in.runbook_of("nothing") is None


# --- packs of one's own


def test_a_pack_of_ones_own_adds_its_rules(tmp_path, built_in):
    rules = load(tmp_path, mine=GOOD)
    assert len(rules.rules) == len(built_in.rules) + 1
    assert rules.origins["my-rule"] == str(tmp_path / "mine.yaml")
    assert rules.origins["non-finite"] == "built-in"


def test_a_rule_with_the_id_of_a_built_in_one_replaces_it(tmp_path, built_in):
    rules = load(tmp_path, mine=GOOD.replace("my-rule", "non-finite-loss"))
    assert len(rules.rules) == len(built_in.rules)
    assert rules.get("non-finite-loss").title == "A title"


def test_a_built_in_rule_can_be_switched_off(tmp_path, built_in):
    rules = load(tmp_path, mine="pack: quiet\ndisable: [zero-variance-groups]\n")
    assert len(rules.rules) == len(built_in.rules) - 1
    assert rules.get("zero-variance-groups") is None


def test_switching_off_a_rule_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadRules, match="did you mean `zero-variance-groups`"):
        load(tmp_path, mine="pack: quiet\ndisable: [zero-variance-group]\n")


def test_two_files_with_the_same_rule_are_refused_and_both_are_named(tmp_path):
    with pytest.raises(BadRules, match=r"b\.yaml, rule my-rule: .*a\.yaml has a rule with this id too"):
        load(tmp_path, a=GOOD, b=GOOD)


def test_all_files_with_problems_are_named_at_once(tmp_path):
    with pytest.raises(BadRules) as caught:
        load(tmp_path, a=GOOD.replace("below", "belw"), b=GOOD.replace("warning", "bad"))
    assert len(caught.value.problems) == 2


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(BadRules, match="FORESHOCK_RULES_DIR is not a folder"):
        RuleSet.load(Settings(rules_dir=tmp_path / "nowhere"))


# --- sentences


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("family: training", "famly: training", "`famly` is not known; did you mean `family`?"),
        ("family: training", "", "`family` is missing; add it (what it is listed under"),
        ("below: 0.1", "belw: 0.1", "`detector.belw` is not known; did you mean `below`?"),
        (
            "below: 0.1",
            "below: 1, above: 2",
            "`detector`: write exactly one of `below: LEVEL` and `above: LEVEL`.",
        ),
        (
            "kind: threshold",
            "kind: treshold",
            "`detector.kind` must be one of: threshold, band, drop, rise, forecast-drop, slope, spike, plateau, change, absence, non-finite.",
        ),
        (
            "severity: warning",
            "severity: loud",
            "`severity` is 'loud', but: input should be 'warning' or 'critical'.",
        ),
        (
            "statistic: reward",
            "statistik: reward",
            "`matches[0].statistik` is not known; did you mean `statistic`?",
        ),
        ("check: [this]", "check: []", "`runbook.check` is []"),
        ("basis: inference, ", "", "`runbook.try[0].basis` is missing; add it (paper: the source itself"),
        ("id: my-rule", "id: My_Rule", "`id` must be lower-case letters, digits and hyphens"),
        ("    source: experience\n", "    source: experience\n    for_steps: '3'\n", "`for_steps` is '3'"),
        ("pack: mine", "pack: mine\nrulez: []", "`rulez` is not known; did you mean `rules`?"),
        (
            "pack: mine",
            "pack: mine\npack: yours",
            "the key `pack` comes twice in one mapping; keep one (line 3",
        ),
        ("pack: mine", "pack: [", "not YAML"),
        (
            "detector: {kind: threshold, below: 0.1}",
            "detector: {kind: non-finite}\n    min_samples: 5",
            "a non-finite rule does not count good readings",
        ),
        (
            "    detector:",
            "    derive: {kind: ratio}\n    detector:",
            "`derive.other` is missing; add it (the series it is compared with",
        ),
        (
            "    detector:",
            "    derive: {kind: quotient}\n    detector:",
            "`derive.kind` must be one of: ratio, divergence, correlation, across, reference.",
        ),
        (
            "    detector:",
            "    derive: {kind: ratio, other: {statistik: x}}\n    detector:",
            "`derive.other.statistik` is not known; did you mean `statistic`?",
        ),
        (
            "detector: {kind: threshold, below: 0.1}",
            "derive: {kind: across, quantile: 0.5}\n    detector: {kind: non-finite}",
            "`non-finite` is about single ones: leave `derive` out",
        ),
        ("      - {statistic: reward}", "      []", "`matches` is empty: name the series it is about"),
        (
            "matches:\n      - {statistic: reward}\n    detector: {kind: threshold, below: 0.1}",
            "joint: {all: [{rule: a}], any: [{rule: b}]}",
            "`joint`: write exactly one of `all: [...]`, `any: [...]` and `sequence: [...]`.",
        ),
        (
            "matches:\n      - {statistic: reward}\n    detector: {kind: threshold, below: 0.1}",
            "joint: {all: [{}]}",
            "`joint.all[0]`: say which rules: `{rule: ID}` or `{family: NAME}`.",
        ),
        (
            "matches:\n      - {statistic: reward}\n    detector: {kind: threshold, below: 0.1}",
            "joint: {all: [{rules: a}]}",
            "`joint.all[0].rules` is not known; did you mean `rule`?",
        ),
        (
            "    detector:",
            "    joint: {any: [{rule: a}]}\n    detector:",
            "a joint rule is about what other rules say: leave `matches`",
        ),
        (
            "matches:\n      - {statistic: reward}\n    detector: {kind: threshold, below: 0.1}",
            "joint: {any: [{rule: a}]}\n    detector: {kind: spike}",
            "leave `detector` out, or write a `threshold`",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(before, after, sentence):
    assert before in GOOD
    said = "\n".join(problems(GOOD.replace(before, after, 1)))
    assert said.startswith("mine.yaml")
    assert sentence in said
    if "rule" not in said.split(":")[0]:
        assert "pack" in after or "rulez" in after  # all others name the rule


def test_a_file_that_holds_no_mapping_says_how_to_begin():
    assert problems("- 1") == ["mine.yaml: a pack is a mapping; begin with `pack: NAME` and `rules:`."]


# --- rules about rules


JOINT = GOOD.replace(
    "    matches:\n      - {statistic: reward}\n    detector: {kind: threshold, below: 0.1}",
    "    joint: {sequence: [{rule: policy-entropy-collapse}, {family: diversity}], within_steps: 100}",
)


def test_a_joint_rule_breaches_when_all_its_parts_hold_unless_it_says_otherwise(tmp_path):
    rules = load(tmp_path, mine=JOINT)
    rule = rules.get("my-rule")
    assert (rule.detector.kind, rule.detector.above) == ("threshold", 1.5)
    first, second = rules.parts_of(rule)
    assert [one.id for one in first] == ["policy-entropy-collapse"]
    assert {one.family for one in second} == {"diversity"}
    assert {one.id for one in rules.with_parts(["my-rule"]).rules} == {
        "my-rule",
        *(one.id for one in first + second),
    }


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (
            "{family: diversities}",
            "`joint.sequence[1]` means no rule that can be part of another (family: diversities)",
        ),
        ("{rule: mode-colapse}", "(rule: mode-colapse); did you mean `mode-collapse`?"),
        ("{rule: my-rule}", "`joint.sequence[1]` means no rule that can be part of another (rule: my-rule)"),
    ],
)
def test_a_part_that_means_no_rule_is_said(tmp_path, part, sentence):
    text = JOINT.replace("{family: diversity}", part)
    with pytest.raises(BadRules) as caught:
        load(tmp_path, mine=text)
    assert sentence in caught.value.problems[0]
    (tmp_path / "mine.yaml").write_text(text)
    lines, good = check([tmp_path])
    assert not good
    assert sentence in lines[-1]


# --- the command


def test_the_command_prints_a_line_per_file_and_succeeds(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert command(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: OK, 1 rule\n"


def test_the_command_fails_when_a_file_is_wrong_or_missing(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yml").write_text(GOOD.replace("below", "belw"))
    assert command(["check", str(tmp_path), str(tmp_path / "c.yaml")]) == 1
    out = capsys.readouterr().out
    assert "a.yaml: OK, 1 rule" in out
    assert "b.yml, rule my-rule: `detector.belw` is not known" in out
    assert "c.yaml: there is no such file" in out
