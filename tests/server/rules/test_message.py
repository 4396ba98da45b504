"""An alert in one sentence, and in JSON that a database and a browser take."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from foreshock_server.rules import message
from foreshock_server.rules.detectors import Forecast, Reading
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.state import Machine, Severity, State
from foreshock_server.settings import Settings

RULES = RuleSet.load(Settings())
ENTROPY = RULES.get("policy-entropy-collapse")


@dataclass
class Series:
    key: str = "policy_entropy"
    statistic: str = "policy_entropy"
    family: str = "policy entropy"
    place: str = ""
    unit: str = "nat"
    labels: dict[str, Any] = field(default_factory=dict)


def firing(severity=Severity.WARNING, since=412):
    return Machine(State.FIRING, severity, 1, since, since + 8, since + 8)


def reading(**more):
    return Reading(
        True,
        **{"value": 0.31, "level": 0.31, "baseline": 0.82, "threshold": 0.205, "warn_level": 0.7, **more},
    )


def test_it_says_what_since_when_how_much_and_how_long_is_left():
    ahead = Forecast(120, 240, 0.164, 0.2, 0.1, 200)
    assert message.sentence(ENTROPY, Series(), reading(forecast=ahead), firing()) == (
        "Policy entropy is falling fast since step 412: 0.31 nat, 38 % of baseline, "
        "at this pace below 20 % in about 120 to 240 steps."
    )


def test_it_names_the_place_and_claims_no_more_than_it_knows():
    rank = RULES.get("representation-rank-collapse")
    about = Series("k", "effective_rank", "representation", "model.layers.3", "", {"centered": "true"})
    critical = reading(value=12.345, level=12.345, baseline=80.0, critical=True)
    assert message.sentence(rank, about, critical, firing(Severity.CRITICAL, 12345)) == (
        "The representation is collapsing onto few directions at model.layers.3 since step 12,345: "
        "12.3, 15 % of baseline."
    )


def test_a_pending_alert_only_may_be_beginning():
    pending = Machine(State.PENDING, since_step=5)
    assert message.sentence(ENTROPY, Series(), reading(), pending) == (
        "Policy entropy collapse may be beginning since step 5: 0.31 nat, 38 % of baseline."
    )


def test_nothing_is_said_while_nothing_is_wrong():
    assert message.sentence(ENTROPY, Series(), reading(), Machine()) is None


def test_a_number_that_is_not_one_is_named():
    rule = RULES.get("non-finite")
    said = message.sentence(rule, Series(), Reading(True, value=math.nan), firing())
    assert said == "A statistic that is not finite (policy_entropy) since step 412: NaN nat."


def test_a_count_names_its_tensor_and_its_limit():
    rule = RULES.get("non-finite-weights")
    about = Series("k", "nonfinite_count", "numerics", "head", "values", {"tensor": "weight"})
    said = message.sentence(rule, about, Reading(True, value=3.0, threshold=0.0), firing(Severity.CRITICAL))
    assert said == "Weights that are not finite at head (tensor weight) since step 412: 3 values."


def test_a_fixed_limit_is_told():
    rule = RULES.get("zero-variance-groups")
    about = Series("zero_variance_groups", "zero_variance_groups", "RL signal", "", "share")
    value = Reading(True, value=0.72, level=0.72, threshold=0.6, clear_level=0.5)
    assert message.sentence(rule, about, value, firing()) == (
        "Most groups have equal rewards and teach nothing since step 412: 0.72 share, beyond 0.6."
    )


def test_a_resolution_says_what_it_is_now_and_what_it_is_about():
    said = message.resolution(ENTROPY, Series(), reading(value=0.7, level=0.7), 420, 900)
    assert (
        said
        == "Resolved: Policy entropy collapse at step 900: 0.7 nat, 85 % of baseline (fired at step 420)."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (0.5, 0.5), (None, None)],
)
def test_json_holds_no_bare_nan(value, text):
    assert message.number(value) == text
    row = message.as_json(ENTROPY, Series(), reading(value=math.nan, level=None, threshold=value), firing())
    json.dumps(row, allow_nan=False)
    assert (row["value"], row["threshold"]) == ("NaN", text)
