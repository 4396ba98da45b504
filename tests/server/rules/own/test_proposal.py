"""From a series of a run to a rule that watches it: a level beyond what was read, and tests that pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreshock_server.errors import Invalid
from foreshock_server.rules.own.proposal import Usual, free_id, level_of, usual_of

WAYS = ("below", "above")


def propose(desk, series, status=200, **more):
    params = {"series": series, **more}
    answer = desk.client.get("/api/v1/runs/run-1/rule-proposal", params=params)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("way", WAYS)
def test_it_is_silent_in_the_run_and_its_tests_pass(desk, stored, way):
    values = np.exp(np.random.default_rng(1).normal(0, 0.05, 400)).tolist()
    stored.block({"odd[1]@model.layers.3": values, "odd[1]@model.layers.4": values})
    proposed = propose(desk, "odd[1]@model.layers.3", way=way)
    found = desk.check(proposed["text"], tests=proposed["tests"], run="run-1")
    assert found["problems"] == []
    assert found["series"]["keys"] == ["odd[1]@model.layers.3"], "this series alone"
    assert found["rule"]["detector"][way] == proposed["level"]
    played = desk.ask("POST", "/rules/tests", text=proposed["text"], tests=proposed["tests"])["tests"]
    assert [one["problems"] for one in played] == [[], []]
    tried = desk.ask("POST", "/rules/backtest", draft=proposed["text"], healthy=["run-1"])
    assert tried["rules"][0]["healthy"] == {"runs": 1, "watched": 1, "steps": 400, "fired": 0, "fired_in": []}
    assert desk.create(proposed["text"], tests=proposed["tests"])["version"] == 1
    assert propose(desk, "odd[1]@model.layers.3", way=way)["text"] != proposed["text"], "the id is taken now"


def test_the_side_is_that_of_the_rules_that_watch_it(desk, stored):
    stored.block({"policy_entropy": [1.0] * 9, "gradient_norm": [1.0] * 9, "own": [1.0] * 9})
    assert propose(desk, "policy_entropy")["way"] == "below"
    assert propose(desk, "gradient_norm")["way"] == "above"
    assert propose(desk, "own")["way"] == "above"


def test_a_series_without_a_number_or_that_is_not_there_is_refused(desk, stored):
    stored.block({"odd": [float("nan")] * 3})
    assert "no reading that is a number" in propose(desk, "odd", 422)["detail"]
    propose(desk, "gone", 404)


NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(NUMBERS, min_size=1, max_size=50), st.sampled_from(WAYS))
def test_the_level_lies_beyond_what_was_read(values, way):
    usual = usual_of(np.array(values))
    level = level_of(usual, way)
    assert level <= usual.low if way == "below" else level >= usual.high
    if way == "below" and usual.low > 0:
        assert level > 0


def test_the_level_is_as_far_off_as_the_hundredth_is():
    assert level_of(Usual(0.8, 1.0, 1.1), "below") == pytest.approx(0.6, rel=0.01)
    assert level_of(Usual(0.8, 1.0, 1.1), "above") == pytest.approx(1.2, rel=0.01)
    assert level_of(Usual(0.2, 1.0, 1.1), "below") == 0.1
    assert level_of(Usual(0.0, 0.0, 0.0), "above") == 1.0
    with pytest.raises(Invalid):
        usual_of(np.array([np.nan, np.inf]))


def test_an_id_is_made_that_nobody_has():
    assert free_id("Policy_Entropy-below", ()) == "policy-entropy-below"
    assert free_id("a b", ("a-b", "a-b-2")) == "a-b-3"
    assert free_id("é", ()) == "rule"
