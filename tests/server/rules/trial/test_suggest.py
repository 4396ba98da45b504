"""The threshold that healthy runs suggest: its place among their extremes, what it rests on, and when there is none."""

from __future__ import annotations

import math
import random

import pytest

from foreshock_server.cli import main
from foreshock_server.errors import Invalid
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.trial.asking import Bounds
from foreshock_server.rules.trial.backtest import Asked, backtest
from foreshock_server.rules.trial.knobs import knob_of
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


KINDS = {  # the detector, which way it is quieter, and what packs must write for what is found
    "drop": ("{kind: drop, to: 0.5, critical: 0.2, baseline_records: 5, median: 1}", -1, {"to"}),
    "rise": ("{kind: rise, to: 2, baseline_records: 5, median: 1}", 1, {"to"}),
    "rise by": ("{kind: rise, by: 2, clear: 1, baseline_records: 5, median: 1, absolute: 1000}", 1, {"by"}),
    "band": ("{kind: band, low: -1, high: 3}", 1, {"low", "high"}),
    "spike": (
        "{kind: spike, z: 5, alone: 10, clear_z: 1, window: 16, min_records: 8, consecutive: 2, least: 0.1}",
        1,
        {"z", "alone"},
    ),
    "forecast-drop": (
        "{kind: forecast-drop, baseline_records: 5, median: 1, block: 2, blocks: 4, horizon: 8}",
        -1,
        {"share", "critical_share"},
    ),
    "plateau": ("{kind: plateau, improves: down, records: 10, median: 1}", 1, {"records"}),
}


def course(kind, depth):
    """A healthy run with a trouble of this depth, such as the detector looks for."""
    level = [1 + 0.02 * (step % 3) for step in range(20)]
    if kind == "drop":
        return [*level, *[math.exp(-depth)] * 2, *level]
    if kind == "forecast-drop":
        return [*level, *[math.exp(-depth * step / 16) for step in range(16)], *[math.exp(-depth)] * 8]
    if kind == "plateau":
        better = [2 * 0.9**step for step in range(20)]
        return [*better[:10], *[better[10]] * round(3 + 10 * depth), *better[10:]]
    return [*level, *[1 + depth] * 2, *level]


@pytest.fixture
def courses(new_run):
    """Runs of a kind, one for each depth -> their ids."""

    def make(kind, depths):
        for number, depth in enumerate(depths):
            new_run(f"run-{number}").block({"norm": course(kind, depth)})
        return [f"run-{number}" for number in range(len(depths))]

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_every_detector_with_one_number_that_says_how_bad_is_bad_keeps_the_promise(
    kind, courses, rule, database
):
    """The k-th farthest of the runs still fires, no farther one does, and a little louder one run more."""
    detector, quiet, names = KINDS[kind]
    one = rule(f"id: turned\n    matches: [{{statistic: norm}}]\n    detector: {detector}\n")
    runs = courses(kind, [0.4 + 0.2 * (3 * number % 7) for number in range(7)])
    found = suggest(database, one, runs, 0.25)
    assert found["refused"] is None
    assert len(found["fires_in"]) == 1  # of the two farthest one may
    assert found["promised_rate"] == 0.25
    assert set(found["levels"]) == names
    left_out = {"critical", "clear"} & set(type(one.detector).model_fields)
    changed = one.detector.model_dump() | found["levels"] | dict.fromkeys(left_out)
    type(one.detector).model_validate(changed)  # a pack may say so
    knob = knob_of(one.detector)
    louder = found["threshold"] * (1 - 0.02 * quiet) - (quiet if knob.whole else 0)
    turned = one.model_copy(update={"detector": knob.turned(one.detector, louder)})
    assert len(_fire_in(database, turned, runs)) == 2


def _fire_in(database, rule, runs):
    found = backtest(database, RuleSet((rule,), {rule.id: ""}), [Asked(one, healthy=True) for one in runs])
    return found["rules"][0]["healthy"]["fired_in"]


def test_a_line_of_its_own_that_fires_anyway_is_named(courses, rule, database):
    text = "id: both\n    matches: [{statistic: norm}]\n    detector: "
    text += "{kind: rise, by: 2, absolute: 1.2, baseline_records: 5, median: 1}"
    found = suggest(database, rule(text), courses("rise", [1.0] * 3), 0.25)
    assert found["threshold"] is None
    assert "`absolute: 1.2` fires" in found["refused"]


def test_what_packs_may_not_write_is_not_suggested(new_run, rule, database):
    """Runs that only rise ask for a `drop` to more than their beginning; runs that fall to nothing for one to nothing."""
    text = "id: falls\n    matches: [{statistic: norm}]\n    detector: {kind: drop, to: 0.5, baseline_records: 5, median: 1}"
    for number in range(3):
        new_run(f"up-{number}").block({"norm": [1.0] * 5 + [2.0 + number] * 5})
        new_run(f"gone-{number}").block({"norm": [1.0] * 5 + [0.0] * 5})
    assert suggest(database, rule(text), ["up-0", "up-1", "up-2"], 0.25)["threshold"] == 0.99
    found = suggest(database, rule(text), ["gone-0", "gone-1", "gone-2"], 0.25)
    assert found["threshold"] is None
    assert "No `to` that a pack may write" in found["refused"]


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
