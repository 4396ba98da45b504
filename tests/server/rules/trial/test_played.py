"""The drawn tests of a rule as charts show them: what was drawn, what is expected, how the alert stood."""

from __future__ import annotations

import pytest

from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial import played as module
from foreshock_server.rules.trial.cases import Case
from foreshock_server.rules.trial.played import played

LOW = """
    id: low
    matches: [{statistic: entropy}]
    detector: {kind: threshold, below: 1}
    for_steps: 2
"""


@pytest.fixture
def play(evaluator):
    rules: RuleSet = evaluator(LOW).rules

    def play(*cases: dict) -> list[dict]:
        return played([Case.model_validate({"name": "n", "rule": "low", **one}) for one in cases], rules)

    return play


def test_states_and_expectations_beside_the_drawing(play):
    (one,) = play(
        {
            "series": {"entropy": "2x5 0.5x5 _ NaN 2"},
            "fires": 7,
            "expect": [{"steps": [0, 4], "state": "ok"}, {"step": 6, "state": "pending"}],
        }
    )
    assert (one["passed"], one["problems"], one["fired_step"]) == (True, [], 7)
    (curve,) = one["curves"]
    assert curve["steps"] == list(range(13))
    assert curve["values"] == [2.0] * 5 + [0.5] * 5 + [None, "NaN", 2.0]
    assert one["states"] == [
        {"first": 5, "last": 6, "state": "pending", "severity": None},
        {"first": 7, "last": 11, "state": "firing", "severity": "warning"},
    ]
    assert one["expected"] == [
        {"first": 0, "last": 4, "state": "ok", "severity": None},
        {"first": 6, "last": 6, "state": "pending", "severity": None},
        {"first": 7, "last": 7, "state": "fires", "severity": None},
    ]


def test_what_differs_is_said(play):
    (one,) = play({"series": {"entropy": "0.5x9"}, "fires": "never"})
    assert not one["passed"]
    assert "it did at step 2" in one["problems"][0]
    (other,) = play({"series": {"reward": "1x3"}, "fires": "never"})
    assert (other["states"], other["curves"][0]["series"]) == ([], "reward")
    assert "watches none" in other["problems"][0]


def test_a_vector_is_drawn_as_its_mean(play):
    (one,) = play({"series": {"entropy": ["2x3", "4x2 _"]}, "fires": "never"})
    assert one["curves"][0]["values"] == [3.0, 3.0, 2.0]


def test_there_is_a_bound_and_it_is_said(play, monkeypatch):
    monkeypatch.setattr(module, "MOST_DRAWN", 10)
    first, second = play(*[{"series": {"entropy": "2x10"}, "fires": "never"}] * 2)
    assert first["passed"]
    assert "not played" in second["problems"][0]
