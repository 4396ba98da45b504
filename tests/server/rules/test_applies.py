"""Which rules are in force for a run, and which way round: by its project, its tags and what it means to do."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.rules.marks import drawn, readings

from foreshock_server.rules.applies import profile_of
from foreshock_server.rules.detectors import Plateau, Shift, Slope, Spike, Threshold
from foreshock_server.rules.load import BadRules, parse_pack


@pytest.fixture
def rule(pack_text):
    """The one rule with these further lines."""

    def make(further="", detector="{kind: slope, below: -0.1, log: true, block: 2, blocks: 4}"):
        lines = "id: one\nmatches: [{statistic: x}]\n" + f"detector: {detector}\n{further}"
        return parse_pack(pack_text(lines), "mine.yaml").rules[0]

    return make


@dataclass
class Series:
    statistic: str = "x"
    family: str = "training"
    place: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("config", "tags", "intentions"),
    [
        ({}, set(), {}),
        ({"tags": ["rl", " big "], "intentions": {"Entropy": "fall"}}, {"rl", "big"}, {"entropy": "fall"}),
        ({"tags": "rl, big"}, {"rl", "big"}, {}),
        ({"tags": ["entropy:rise"]}, {"entropy:rise"}, {"entropy": "rise"}),
        (
            {"tags": ["entropy:rise"], "intentions": {"entropy": "hold"}},
            {"entropy:rise"},
            {"entropy": "hold"},
        ),
        ({"tags": 3, "intentions": ["fall"]}, set(), {}),
        ({"tags": [1, None, ""], "intentions": {"entropy": "sideways", "x": None, "y": ["fall"]}}, set(), {}),
    ],
)
def test_a_run_says_in_its_config_what_it_is_and_means(config, tags, intentions):
    profile = profile_of("p", config)
    assert (profile.tags, profile.intentions) == (tags, intentions)
    assert profile.means("ENTROPY") == intentions.get("entropy")


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"tags": json, "intentions": json}))
def test_whatever_a_config_holds_is_read_without_an_error(config):
    assert set(profile_of("p", config).intentions.values()) <= {"fall", "hold", "rise"}


@pytest.mark.parametrize(
    ("runs", "project", "tags", "in_force"),
    [
        ("{projects: [grpo-*, ppo]}", "grpo-math", [], True),
        ("{projects: [grpo-*, ppo]}", "sft", [], False),
        ("{tags: [rl, b*]}", "p", ["rl", "big"], True),
        ("{tags: [rl, b*]}", "p", ["rl"], False),
        ("{without_tags: [ablation*]}", "p", ["ablation-3"], False),
        ("{without_tags: [ablation*]}", "p", ["rl"], True),
        ("{}", "p", [], True),
    ],
)
def test_a_rule_is_in_force_for_the_runs_that_fit(rule, runs, project, tags, in_force):
    one = rule(f"runs: {runs}")
    assert one.applied(profile_of(project, {"tags": tags})) == (one if in_force else None)


def test_an_intention_silences_a_rule_or_turns_its_signs(rule):
    one = rule("intention: {of: entropy, fall: silent, rise: turn}")

    def of(way):
        return one.applied(profile_of("p", {"intentions": {"entropy": way}} if way else {}))

    assert of(None) is one
    assert of("hold") is one
    assert of("fall") is None
    assert of("rise").detector == Slope(kind="slope", above=0.1, log=True, block=2, blocks=4)
    assert of("rise") is of("rise")
    only = rule("intention: {of: entropy, unsaid: silent, hold: silent, rise: silent}")
    assert only.applied(profile_of("p", {})) is None
    assert only.applied(profile_of("p", {"tags": ["entropy:fall"]})) is only


@pytest.mark.parametrize(
    "detector",
    [
        Slope(kind="slope", below=-2.0, critical=-4.0, clear=-1.0, block=2, blocks=4),
        Shift(kind="drop", to=0.5, critical=0.25, clear=0.8, median=3),
        Shift(kind="rise", by=1.0, critical=2.0, against="best", median=3),
        Spike(kind="spike", window=16, min_records=8),
        Spike(kind="spike", direction="down", window=16, min_records=8),
        Plateau(kind="plateau", improves="up", records=5, relative=False),
    ],
    ids=lambda one: f"{one.kind}",
)
def test_turned_it_says_of_the_mirrored_series_what_it_said_of_the_series(detector):
    values = [
        2.0**power
        for power in (0, 0.2, -0.1, 0.1, 0, 0.1, -0.2, 0.1, 0, -0.3, -1, -2, -3, -3, -1, 0, 1, 2, 4, 4)
    ]
    times = isinstance(detector, Shift) and detector.to is not None
    mirrored = [1.0 / one if times else 8.0 - one for one in values]
    twice = detector.turned().turned()
    assert twice == detector
    said, other = drawn(readings(detector, values * 2)), drawn(readings(detector.turned(), mirrored * 2))
    if detector.kind != "spike":  # whose least scatter is a share of the level
        assert said == other
    assert len({*said}) > 1


@pytest.mark.parametrize(
    ("detector", "further", "sentence"),
    [
        (
            "{kind: threshold, below: 1}",
            "intention: {of: entropy, rise: turn}",
            "the signs of this `threshold` cannot be turned: write `silent`",
        ),
        (
            "{kind: drop, to: 0.5, absolute: 0.1}",
            "intention: {of: entropy, rise: turn}",
            "the signs of this `drop` cannot be turned",
        ),
        ("{kind: threshold, below: 1}", "intention: {of: entropy}", "say what is different"),
        ("{kind: threshold, below: 1}", "intention: {of: entropy, fal: silent}", "did you mean `fall`?"),
        ("{kind: threshold, below: 1}", "runs: {project: [p]}", "did you mean `projects`?"),
        ("{kind: drop, tow: 0.5}", "", "`detector.tow` is not known; did you mean `to`?"),
        ("{kind: forecast-drop, drop: 9}", "", "`detector.drop` is 9"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(rule, detector, further, sentence):
    with pytest.raises(BadRules, match=sentence):
        rule(further, detector)
    assert Threshold(kind="threshold", below=1).turned() is None


@pytest.mark.parametrize(
    ("match", "watched"),
    [
        ("{statistic: x}", {None, "all"}),
        ('{statistic: x, rank: "all"}', {None, "all"}),
        ('{statistic: x, rank: "3"}', {"3"}),
        ('{statistic: x, rank: "*"}', {None, "all", "0", "3"}),
        ('{statistic: x, labels: {rank: "*"}}', {"all", "0", "3"}),
    ],
)
def test_a_rank_is_watched_where_the_rule_names_it(pack_text, match, watched):
    lines = f"id: one\nmatches: [{match}]\ndetector: {{kind: threshold, below: 1}}"
    (one,) = parse_pack(pack_text(lines), "mine.yaml").rules
    seen = {
        rank for rank in (None, "all", "0", "3") if one.watches(Series(labels={"rank": rank} if rank else {}))
    }
    assert seen == watched


def test_each_run_is_judged_by_the_rules_in_force_for_it(new_run, evaluator):
    rules = (
        """
        id: low
        matches: [{statistic: x}]
        detector: {kind: threshold, below: 1}
        runs: {projects: [p], without_tags: [quiet]}
        labels: {team: rl}
        """,
        """
        id: falls
        matches: [{statistic: x}]
        detector: {kind: drop, to: 0.5, median: 1, baseline_records: 1}
        intention: {of: x, fall: turn}
        """,
    )
    plain = new_run("plain")
    other = new_run("other", project="q")
    quiet = new_run("quiet", config={"tags": ["quiet"]})
    falling = new_run("falling", config={"intentions": {"x": "fall"}})
    for run in (plain, other, quiet, falling):
        run.block({"x": [2.0, 0.9, 5.0]})
    watcher = evaluator(*rules)
    while watcher.run_once():
        pass
    assert plain.drawn() == [
        ("falls", 1, 1, "fired", 1),
        ("low", 1, 1, "fired", 1),
        ("falls", 1, 1, "resolved", 2),
        ("low", 1, 1, "resolved", 2),
    ]
    assert {one.rule for one in other.transitions()} == {one.rule for one in quiet.transitions()} == {"falls"}
    assert falling.drawn() == [
        ("low", 1, 1, "fired", 1),
        ("falls", 1, 1, "fired", 2),
        ("low", 1, 1, "resolved", 2),
    ]
    (low, *_) = (one for one in plain.transitions() if one.rule == "low")
    assert low.detail["labels"] == {"team": "rl"}
    assert len(watcher._judge._planners) == 3  # two of the runs have the same rules
