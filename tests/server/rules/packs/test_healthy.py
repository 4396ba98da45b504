"""No built-in rule pages for the synthetic healthy runs on which the early warning was measured, and few of its warnings come."""

from __future__ import annotations

import numpy as np
import pytest
from tests.server.rules.packs.runs import judge
from tests.server.rules.packs.shipped import Levels, levels_of
from tests.server.rules.synthetic import healthy

from foreshock.measure.statistics import STATISTICS
from foreshock_server.rules.load import RuleSet
from foreshock_server.settings import Settings

RECORDS, RUNS = 1500, 12
BUILT_IN = RuleSet.load(Settings())
# Of a loss a dip is progress, and what comes after it is not; of what was learnt before a lasting loss is the illness itself.
# The number of a task has no shape.
OTHERWISE = {"overfitting", "forgetting", "stability-gap", "task-begins"}
# Half of a joint rule, which alone sends: its own warnings are often no news, as its source says.
HALVES = {"samples-vary-less"}
STATISTICAL = [
    rule
    for rule in BUILT_IN.rules
    if rule.made is None
    and rule.detector.kind not in {"non-finite", "absence"}
    and rule.family != "monitor"
    and rule.id not in OTHERWISE
]


def shaped(levels: Levels, shape: np.ndarray) -> np.ndarray:
    """The healthy level, moved as the shape moves: shares in their odds, positive levels by factors, others about themselves."""
    about = STATISTICS.get(levels.statistic)
    low, high = (about.low, about.high) if about is not None else (0.0, None)
    if low == 0.0 and high == 1.0:
        odds = levels.healthy / (1 - levels.healthy) * shape
        return odds / (1 + odds)
    if low is not None and low >= 0.0:
        return levels.healthy * shape
    return levels.healthy + abs(levels.healthy) * (shape - 1) / 2


@pytest.fixture(scope="module")
def shapes():
    chance = np.random.default_rng(11)
    drawn = [healthy(RECORDS, chance) for _ in range(RUNS)]
    return [one / np.median(one[:20]) for one in drawn]


@pytest.mark.parametrize("rule", STATISTICAL, ids=lambda rule: rule.id)
def test_a_healthy_run_does_not_page_and_is_hardly_ever_warned(rule, shapes):
    levels = levels_of(rule.id)
    said = []
    for shape in shapes:
        said += judge(rule, shaped(levels, shape), levels.every).changes
    loud = [one for one in said if one.severity.value == "critical" or rule.notify.severity == "warning"]
    assert loud == []
    assert rule.id in HALVES or sum(one.kind.value == "fired" for one in said) <= 1
