"""The threshold that healthy runs suggest: its place among their extremes, what it rests on, and when there is none."""

from __future__ import annotations

import math
import random

import pytest

from foreshock_server.cli import main
from foreshock_server.errors import Invalid
from foreshock_server.rules.trial.asking import Bounds
from foreshock_server.rules.trial.suggest import suggest

HIGH = """
    id: high
    matches: [{statistic: norm}]
    detector: {kind: threshold, above: 100, critical: 200, clear: 50}
"""


@pytest.fixture
def peaks(new_run):
    """Peaks of healthy runs -> their ids; each is level 1 but for one reading."""

    def make(*heights):
        for number, height in enumerate(heights):
            new_run(f"run-{number}").block({"norm": [1.0] * 10 + [height] + [1.0] * 9})
        return [f"run-{number}" for number in range(len(heights))]

    return make


@pytest.fixture
def rule(evaluator):
    return lambda text: evaluator(text).rules.rules[0]


def test_the_threshold_is_the_kth_farthest_extreme(peaks, rule, database):
    runs = peaks(*range(2, 21))  # 19 runs with peaks 2 to 20
    for rate, expected, firing in ((0.05, 20, 0), (0.1, 19, 1), (0.25, 16, 4), (0.99, 2, 18)):
        found = suggest(database, rule(HIGH), runs, rate)
        assert found["refused"] is None
        assert expected <= found["threshold"] <= expected * 1.011
        assert len(found["fires_in"]) == firing
        assert found["promised_rate"] <= rate
        assert found["promised_rate"] < found["rate_at_most"] <= 1
        assert found["fires_now_in"] == 0
    assert found["rests_on"] == {"runs": 19, "steps": 380, "readings": 380, "unjudged": []}


def test_too_few_runs_are_refused_with_how_many_it_takes(peaks, rule, database):
    found = suggest(database, rule(HIGH), peaks(*range(2, 12)), 0.05)
    assert found["threshold"] is None
    assert "needs 19 at least, and there are 10" in found["refused"]
    assert "no less than 9.1%" in found["refused"]


def test_runs_without_a_verdict_do_not_count(peaks, new_run, rule, database):
    runs = peaks(*range(2, 6))
    new_run("empty").block({"loss": [1.0]})
    new_run("nan").block({"norm": [math.nan] * 5})
    found = suggest(database, rule(HIGH), [*runs, "empty", "nan"], 0.18)
    assert found["rests_on"]["unjudged"] == ["empty", "nan"]
    assert found["threshold"] is None
    assert "and 2 more" in found["refused"]
    assert suggest(database, rule(HIGH), [*runs, "empty", "nan"], 0.2)["threshold"] >= 5


@pytest.mark.parametrize(
    ("text", "heights", "low", "high"),
    [
        (HIGH.replace("above: 100, critical: 200, clear: 50", "above: 0.001"), range(2, 21), 20, 20.3),
        (HIGH.replace("above: 100, critical: 200, clear: 50", "above: -5"), range(-40, -21), 1, 1.011),
        (HIGH.replace("above: 100, critical: 200, clear: 50", "below: 0.5"), range(-20, -1), -20.3, -20),
        (
            HIGH.replace("above: 100, critical: 200, clear: 50", "below: 1.0e-9"),
            [0.01 * i for i in range(1, 20)],
            0.0098,
            0.01,
        ),
    ],
)
def test_it_is_found_wherever_it_lies(peaks, rule, database, text, heights, low, high):
    found = suggest(database, rule(text), peaks(*map(float, heights)), 0.05)
    assert low <= found["threshold"] <= high
    assert found["fires_in"] == []


def test_what_the_rule_waits_for_counts(new_run, rule, database):
    """A peak of one reading is nothing to a rule that waits three steps, or compares a median."""
    for number in range(19):
        new_run(f"run-{number}").block(
            {"norm": [1.0] * 10 + [50.0 + number] + [1.0] * 5 + [5.0] * 4 + [1.0] * 5}
        )
    runs = [f"run-{number}" for number in range(19)]
    waits = suggest(database, rule(HIGH + "    for_steps: 3\n"), runs, 0.05)["threshold"]
    assert 5 <= waits <= 5.06
    median = HIGH.replace("above: 100", "median: 3, above: 100")
    assert 5 <= suggest(database, rule(median), runs, 0.05)["threshold"] <= 5.06
    relative = HIGH.replace("above: 100", "relative_to_baseline: true, baseline_records: 5, above: 100")
    assert 68 <= suggest(database, rule(relative), runs, 0.05)["threshold"] <= 68.7


def test_levels_that_no_longer_fit_are_named(peaks, rule, database):
    found = suggest(database, rule(HIGH), peaks(*range(202, 221)), 0.05)
    assert "`critical: 200` does not fit" in found["says"]
    assert "`clear`" not in found["says"]


def test_it_keeps_its_place_among_extremes_of_any_distribution(peaks, rule, database):
    chance = random.Random(7)
    heights = [chance.lognormvariate(1, 1) + 1 for _ in range(39)]
    runs = peaks(*heights)
    for _ in range(3):
        order = chance.sample(range(39), 19)
        found = suggest(database, rule(HIGH), [runs[i] for i in order], 0.1)
        farthest = sorted(heights[i] for i in order)[-2]
        assert farthest <= found["threshold"] <= farthest * 1.011
        assert len(found["fires_in"]) == 1


def test_other_detectors_are_refused_with_what_to_do(peaks, rule, database):
    text = "id: nan\n    matches: [{}]\n    detector: {kind: non-finite}"
    with pytest.raises(Invalid, match="'non-finite'"):
        suggest(database, rule(text), peaks(2.0), 0.5)


def test_work_is_bounded_and_runs_count_once(peaks, rule, database):
    runs = peaks(*range(2, 21))
    with pytest.raises(Invalid, match="readings"):
        suggest(database, rule(HIGH), runs, 0.05, bounds=Bounds(500))
    with pytest.raises(Invalid, match="named twice"):
        suggest(database, rule(HIGH), ["run-1", "run-1"], 0.5)


def test_the_command_and_the_endpoint_say_the_same(
    peaks, client, database_url, monkeypatch, tmp_path, pack_text, capsys
):
    runs = peaks(*range(2, 21))
    monkeypatch.setenv("FORESHOCK_DATABASE_URL", database_url)
    (tmp_path / "own.yaml").write_text(pack_text(HIGH))
    words = ["rules", "suggest", "high", "--pack", str(tmp_path / "own.yaml"), "--healthy", ",".join(runs)]
    assert main([*words, "--rate", "0.05"]) == 0
    said = capsys.readouterr().out
    assert "It rests on 19 runs and 380 steps." in said
    assert main([*words, "--rate", "0.01"]) == 1
    assert "needs 99 at least" in capsys.readouterr().err
    assert main([*words, "--rate", "2"]) == 1
    body = {"rule": "high", "pack": pack_text(HIGH), "healthy": runs, "rate": 0.05}
    answer = client.post("/api/v1/rules/suggest", json=body)
    assert answer.status_code == 200
    assert answer.json()["says"] in said
    for wrong in (
        {**body, "rate": 0},
        {**body, "rule": "low"},
        {**body, "healthy": []},
        {**body, "healthy": ["nobody"]},
    ):
        assert client.post("/api/v1/rules/suggest", json=wrong).status_code == 422
