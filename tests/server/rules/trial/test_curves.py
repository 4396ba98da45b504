"""What is drawn over a curve: the states from the transitions, and the lines that readings were compared with."""

from __future__ import annotations

from typing import Any

import pytest

from foreshock_server.rules.trial.backtest import Asked, backtest

LINE = """
    id: low
    matches: [{statistic: entropy}]
    detector: {kind: threshold, below: 1, critical: 0.5}
    for_steps: 3
"""
SHARE = """
    id: share
    matches: [{statistic: entropy}]
    detector: {kind: threshold, below: 0.8, relative_to_baseline: true, baseline_records: 5}
"""
BEYOND = """
    id: beyond
    matches: [{statistic: entropy}]
    derive: {kind: ratio, other: {statistic: rank}}
    detector: {kind: threshold, below: 0.1}
"""


@pytest.fixture
def shown(database, evaluator, new_run):
    def shown(rule: str, values: list[float], healthy: bool = False) -> Any:
        new_run("r").block({"entropy": values, "rank": [1.0] * len(values)})
        found = backtest(database, evaluator(rule).rules, [Asked("r", healthy=healthy)])
        (one,) = found["rules"][0]["healthy_runs" if healthy else "runs"]
        return one

    return shown


def test_pending_firing_critical_and_well_again(shown):
    one = shown(LINE, [2.0] * 10 + [0.8] * 10 + [0.2] * 10 + [2.0] * 10)
    assert one["shown"]["states"] == [
        {"first": 10, "last": 13, "state": "pending", "severity": None},
        {"first": 13, "last": 23, "state": "firing", "severity": "warning"},
        {"first": 23, "last": 30, "state": "firing", "severity": "critical"},
    ]
    assert (one["fired_step"], one["level"]) == (13, 0.8)
    assert one["shown"]["levels"] == [
        {"step": 13, "baseline": None, "warn_level": 1.0, "threshold": 0.5, "clear": 1.0}
    ]


def test_what_goes_on_lasts_to_the_end_of_the_run(shown):
    one = shown(LINE, [2.0] * 10 + [0.8] * 10)
    assert one["shown"]["states"][-1] == {"first": 13, "last": 19, "state": "firing", "severity": "warning"}


def test_a_line_by_the_baseline_is_known_where_nothing_fired_too(shown):
    one = shown(SHARE, [2.0] * 20, healthy=True)
    assert (one["fired_step"], one["shown"]["states"]) == (None, [])
    ((line),) = one["shown"]["levels"]
    assert (line["baseline"], line["threshold"]) == (2.0, 1.6)


def test_what_is_made_of_several_series_has_no_line_on_one(shown):
    one = shown(BEYOND, [0.05] * 5)
    assert one["fired_step"] == 0
    assert one["shown"]["levels"] == []


def test_a_run_without_such_a_series_shows_none(shown):
    assert shown(LINE.replace("entropy", "reward"), [1.0])["shown"] is None
