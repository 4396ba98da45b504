"""A rule sees one number a step of a vector, and says whose it is; pure against a naive twin, then through the database."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from foreshock_server.rules.load import BadRules, parse_pack
from foreshock_server.rules.reduction import NO_ENTRY, Reduction, newsworthy, reduced
from foreshock_server.store.blocks import append
from foreshock_server.store.rows import RowGroup
from foreshock_server.store.runs import ensure_writer, lock_run
from foreshock_server.store.series import NewFrame, NewSeries, register_frames

LOW = """
    id: low
    matches: [{statistic: load}]
    detector: {kind: threshold, below: 0.1}
"""
HIGH = """
    id: high
    matches: [{statistic: load}]
    detector: {kind: threshold, above: 0.9}
"""
ODD = """
    id: odd
    matches: [{statistic: load}]
    detector: {kind: non-finite, clear_after: 1}
"""


def naive(how, row, there):
    """The number and its entry, from the definition."""
    known = sorted((value, i) for i, value in enumerate(row) if there[i] and not math.isnan(value))
    if not known:
        return math.nan, NO_ENTRY
    if how == "mean":
        return sum(value for value, _ in known) / len(known), NO_ENTRY
    if how == "max":
        return max(known, key=lambda one: (one[0], -one[1]))
    share = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9}[how]
    return known[math.floor(share * (len(known) - 1))]


@pytest.mark.parametrize("how", get_args(Reduction))
@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_reduction_is_what_its_definition_says(how, size, gaps):
    rng = np.random.default_rng(size)
    values = rng.normal(size=(60, size)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[rng.random(values.shape) < 0.05] = np.inf
    values[rng.random(values.shape) < 0.2] = 0.5  # equal ones
    there = rng.random(values.shape) < 0.7 if gaps else np.ones(values.shape, bool)
    found = reduced(how, values, there if gaps else None)
    assert found.rows.tolist() == np.flatnonzero(there.any(1)).tolist()
    for row, value, entry in zip(found.rows, found.values, found.entries, strict=True):
        wanted, whose = naive(how, values[row].astype(float).tolist(), there[row])
        assert value == pytest.approx(wanted, nan_ok=True), (row, how)
        assert entry == whose


def test_the_odd_one_is_found_wherever_it_is():
    values = np.array([[1.0, 2.0, 3.0], [1.0, np.nan, np.inf], [5.0, 6.0, np.nan], [0.0, 0.0, 0.0]])
    there = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]], bool)
    found = newsworthy(lambda block: ~np.isfinite(block), values, there)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.values.tolist() == [1.0, math.inf, 6.0]
    assert found.entries.tolist() == [0, 2, 1]


def record(stored, seq, values, absent=None, ticks=None, place="moe.3"):
    """A block of one vector between two numbers."""
    values = np.asarray(values, np.float32)
    rows, size = values.shape
    axis = {"name": "expert", "size": size, **({"ticks": ticks} if ticks else {})}
    vector = NewSeries(
        f"load{{place={place}}}", "load", "training", place, {"place": place}, "", "f32", {}, axis
    )
    numbers = [NewSeries(name, name, "training", "", {}, "", "f32") for name in ("before", "after")]
    table = np.concatenate([np.full((rows, 1), -9), values, np.full((rows, 1), 9)], 1).astype(np.float32)
    gone = None
    if absent is not None:
        none = np.zeros((rows, 1), bool)
        gone = np.concatenate([none, np.asarray(absent, bool), none], 1)
    steps = np.arange((seq - 1) * rows, seq * rows)
    with stored.database.writing() as session:
        lock_run(session, stored.run)
        writer = ensure_writer(session, stored.run, 1, "w", now=0.0)
        frame = NewFrame(1, "f32", [numbers[0], vector, numbers[1]])
        register_frames(session, stored.run, 1, "w", [frame])
        assert append(session, writer, seq, [RowGroup(1, steps, steps * 1.0, table, gone)], 0.0)


def test_the_worst_entry_is_compared_and_named(stored, evaluator):
    judge = evaluator(LOW, HIGH)
    record(stored, 1, [[0.3, 0.3, 0.4], [0.5, 0.05, 0.45], [0.95, 0.02, 0.03]])
    judge.run_once()
    judge.run_once()
    fired = {one.rule: one for one in stored.transitions()}
    assert [(rule, one.step, one.kind) for rule, one in sorted(fired.items())] == [
        ("high", 2, "fired"),
        ("low", 1, "fired"),
    ]
    assert fired["low"].detail["entry"] == "expert 1"
    assert "at moe.3 (expert 1) since step 1: 0.05" in fired["low"].detail["message"]
    assert fired["high"].detail["entry"] == "expert 0"
    record(stored, 2, [[0.3, 0.3, 0.4]] * 3)
    judge.run_once()
    assert [one.kind for one in stored.transitions()].count("resolved") == 2


def test_a_rule_may_ask_for_another_number_than_the_worst(stored, evaluator):
    judge = evaluator(LOW + "    reduce: median\n")
    record(stored, 1, [[0.5, 0.05, 0.45], [0.95, 0.02, 0.03]], ticks=["a", "b", "c"])
    judge.run_once()
    assert stored.drawn() == [("low", 2, 1, "fired", 1)]
    assert stored.transitions()[0].detail["entry"] == "expert c"


def test_what_is_not_a_number_is_news_wherever_it_is_and_an_absent_entry_is_none(stored, evaluator):
    judge = evaluator(ODD)
    record(stored, 1, [[0.5, np.nan], [0.5, 0.5]], absent=[[0, 1], [0, 0]])
    judge.run_once()
    assert stored.drawn() == []
    record(stored, 2, [[0.5, 0.5], [0.5, np.nan]])
    judge.run_once()
    assert stored.drawn() == [("odd", 2, 1, "fired", 3)]
    assert stored.transitions()[0].detail["entry"] == "expert 1"
    record(stored, 3, [[0.5, 0.5], [0.5, 0.5]])
    judge.run_once()
    assert [one.kind for one in stored.transitions()] == ["fired", "resolved"]


def test_a_new_evaluator_goes_on_where_the_other_stood(stored, evaluator):
    rule = LOW + "    for_steps: 3\n"
    record(stored, 1, [[0.5, 0.05], [0.05, 0.5]])
    evaluator(rule).run_once()
    assert stored.drawn() == []
    record(stored, 2, [[0.5, 0.05], [0.05, 0.5]])
    evaluator(rule).run_once()
    assert stored.drawn() == [("low", 2, 1, "fired", 3)]


def test_a_rule_for_what_is_not_finite_has_no_reduction(pack_text):
    with pytest.raises(BadRules, match="leave `reduce` out"):
        parse_pack(pack_text(ODD + "    reduce: max\n"), "test.yaml")
