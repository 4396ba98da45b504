"""What lies on a shelf is judged later with the same result: transitions, machines and memories as of one reading at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreshock_server.rules.columns import Column, Subject
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.shelf import Shelf
from foreshock_server.rules.watch import Change, Watch
from foreshock_server.store.rows import RowGroup

COLUMNS = 3
DETECTORS = {
    "forecast": {"kind": "forecast-drop", "block": 4, "blocks": 8, "min_blocks": 4, "baseline_records": 10, "clear_records": 6},
    "forecast, even": {"kind": "forecast-drop", "block": 3, "blocks": 6, "median": 4, "baseline_records": 5, "clear_records": 3},
    "below": {"kind": "threshold", "below": 0.7, "critical": 0.3, "clear": 0.8, "median": 5},
    "above, even": {"kind": "threshold", "above": 1.3, "median": 4},
    "relative": {"kind": "threshold", "below": 0.7, "relative_to_baseline": True, "baseline_records": 7, "median": 3},
    "one reading": {"kind": "threshold", "above": 1.2},
    "slope": {"kind": "slope", "above": 5.0},
    "drop": {"kind": "drop", "to": 0.75, "critical": 0.4, "clear": 0.85, "median": 3, "baseline_records": 6},
    "drop, trusted": {"kind": "drop", "by": 0.3, "absolute": 0.5, "trust_from": 0.9, "scatter": 0.2, "median": 4, "baseline_records": 5},
    "rise": {"kind": "rise", "by": 0.3, "critical": 0.8, "absolute": 1.6, "absolute_clear": 1.4, "median": 5, "baseline_records": 4},
    "rise, best": {"kind": "rise", "to": 1.4, "clear": 1.2, "against": "best", "median": 3, "baseline_records": 3},
    "drop, best": {"kind": "drop", "by": 0.4, "absolute": 0.7, "against": "best", "median": 4, "baseline_records": 2},
}  # fmt: skip


def rule(number: int, detector: dict[str, object], **more: object) -> Rule:
    return Rule.model_validate(
        {
            "id": f"rule-{number}",
            "title": "A rule",
            "family": "test",
            "severity": "warning",
            "matches": [{"statistic": "s"}],
            "detector": detector,
            "runbook": {"meaning": "m", "check": ["c"], "try": [{"text": "t", "basis": "inference", "source": "s"}]},
            "source": "s",
            **more,
        }
    )  # fmt: skip


class Bench:
    """Rules on the columns of one frame, with a shelf or without."""

    def __init__(self, rules: list[Rule], *, shelved: bool) -> None:
        self.columns = [
            Column(one, rank, position, position + 1)
            for rank, one in enumerate(rules)
            for position in range(COLUMNS)
        ]
        self.watches = {
            (one.rule.id, one.series_id): Watch.begin(
                one.rule, Subject(one.series_id, f"s{one.series_id}", "s", "test", "", "", {})
            )
            for one in self.columns
        }
        self.changes: list[Change] = []
        self.judged = 0  # readings that were not put aside
        self.shelf = Shelf(1, self.columns, self.of, lambda _watch: None) if shelved else None

    def of(self, column: Column) -> Watch:
        return self.watches[column.rule.id, column.series_id]

    def take(self, group: RowGroup, number: int) -> None:
        wanted = range(len(self.columns)) if self.shelf is None else self.shelf.take(group)
        for one in wanted:
            column = self.columns[one]
            there = slice(None) if group.absent is None else ~group.absent[:, column.position]
            values = group.values[there, column.position]
            if not len(values):
                continue
            watch = self.of(column)
            watch.see(
                group.steps[there].tolist(),
                group.times[there].tolist(),
                values,
                attempt=1,
                order=(number, 0, column.rank),
                changes=self.changes,
            )
            self.judged += len(values)
            if self.shelf is not None:
                self.shelf.judged(one, watch)

    def said(self) -> list[tuple[object, ...]]:
        return sorted(
            (
                change.watch.rule.id,
                change.watch.series.series_id,
                change.kind.value,
                change.severity.value,
                change.step,
                change.since_step,
                change.episode,
                change.at,
                repr(change.detail),
            )
            for change in self.changes
        )


def both(rules: list[Rule], groups: list[RowGroup], clears: set[int]) -> tuple[Bench, Bench]:
    plain, shelved = Bench(rules, shelved=False), Bench(rules, shelved=True)
    for number, group in enumerate(groups):
        for bench in (plain, shelved):
            bench.take(group, number)
        assert shelved.said() == plain.said()  # in time, not only in the end
        if number in clears:
            assert shelved.shelf is not None
            shelved.shelf.clear()
            assert {key: (one.machine, one.memory) for key, one in shelved.watches.items()} == {
                key: (one.machine, one.memory) for key, one in plain.watches.items()
            }
    assert shelved.shelf is not None
    shelved.shelf.clear()
    for key, one in shelved.watches.items():
        other = plain.watches[key]
        assert one.machine == other.machine
        assert one.rule.detector.dump(one.memory) == other.rule.detector.dump(other.memory)
        assert one.row("r") == other.row("r")
    return plain, shelved


def grouped(values: np.ndarray, sizes: list[int], first: int, absent: np.ndarray | None = None) -> list[RowGroup]:  # fmt: skip
    groups, at = [], 0
    for size in sizes:
        if at >= len(values):
            break
        end = min(len(values), at + size)
        steps = np.arange(first + at, first + end)
        gone = None if absent is None or not absent[at:end].any() else absent[at:end]
        groups.append(RowGroup(1, steps, steps * 0.5, values[at:end].astype(np.float32), gone))
        at = end
    return groups


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_it_changes_nothing(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31), "seed"))
    length = data.draw(st.integers(1, 160), "length")
    noise = data.draw(st.sampled_from([0.0, 0.05, 0.2, 0.6]), "noise")
    level = np.ones((length, COLUMNS))
    for column in range(COLUMNS):
        for _ in range(data.draw(st.integers(0, 3), "shifts")):
            begin = data.draw(st.integers(0, length - 1), "begin")
            level[begin:, column] *= data.draw(st.sampled_from([0.2, 0.5, 0.72, 0.9, 1.25, 2.0]), "by")
    values = level * (1 + noise * rng.standard_normal((length, COLUMNS)))
    if data.draw(st.booleans(), "not finite"):
        values[rng.random(values.shape) < 0.05] = np.nan
        values[rng.random(values.shape) < 0.02] = np.inf
    absent = rng.random(values.shape) < 0.1 if data.draw(st.integers(0, 3), "absent") == 0 else None
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=length, max_size=length), "sizes")
    names = data.draw(st.lists(st.sampled_from(sorted(DETECTORS)), min_size=1, max_size=3), "detectors")
    more = {
        "for_steps": data.draw(st.sampled_from([0, 3]), "for"),
        "warmup_steps": data.draw(st.sampled_from([0, 5]), "warm-up"),
        "cooldown_steps": data.draw(st.sampled_from([0, 20]), "cooldown"),
        "keep_firing_steps": data.draw(st.sampled_from([0, 4]), "keep"),
    }
    rules = [rule(number, DETECTORS[name], **more) for number, name in enumerate(names)]
    groups = grouped(values, sizes, 0, absent)
    if data.draw(st.booleans(), "resume"):  # the step goes back
        back = data.draw(st.integers(0, len(groups) - 1), "back")
        groups += groups[back:]
    clears = data.draw(st.sets(st.integers(0, len(groups))), "clears")
    both(rules, groups, clears)


def test_half_of_an_even_window_beyond_the_line_is_not_put_aside() -> None:
    """The mean of the two in the middle lies inside until a reading comes that is no worse than the line, and moves it outside."""
    values = np.array([[0.8], [2.1], [0.1], [1.6], [1.2], [1.2]]) * np.ones((1, COLUMNS))
    both([rule(0, DETECTORS["above, even"])], grouped(values, [1] * len(values), 0), set())


def test_readings_of_the_warm_up_are_neither_judged_nor_kept() -> None:
    values = np.ones((60, COLUMNS))
    plain, shelved = both(
        [rule(0, DETECTORS["slope"], warmup_steps=50)], grouped(values, [1] * 60, 0), set(range(60))
    )
    assert plain.judged == 60 * COLUMNS
    assert shelved.judged == (1 + 60 - 50) * COLUMNS  # the first one says how long it lasts


QUIET = [
    "forecast",
    "below",
    "relative",
    "one reading",
    "above, even",
    "drop",
    "rise",
    "rise, best",
    "drop, best",
]


@pytest.mark.parametrize("name", QUIET)
def test_a_healthy_series_is_put_aside(name: str) -> None:
    values = 1 + 0.05 * np.random.default_rng(0).standard_normal((400, COLUMNS))
    plain, shelved = both([rule(0, DETECTORS[name])], grouped(values, [1] * 400, 0), set())
    assert plain.judged == 400 * COLUMNS
    assert shelved.judged < 0.1 * plain.judged


def test_a_shelf_is_cleared_before_it_grows_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshock_server.rules.shelf.MOST_GROUPS", 16)
    values = np.ones((100, COLUMNS))
    _, shelved = both([rule(0, DETECTORS["below"])], grouped(values, [1] * 100, 0), set())
    assert shelved.watches["rule-0", 1].machine.samples == 100 - 4  # a median needs five


def test_what_others_have_judged_is_not_put_aside_unseen() -> None:
    bench = Bench([rule(0, DETECTORS["below"])], shelved=True)
    for number, group in enumerate(grouped(np.ones((20, COLUMNS)), [1] * 20, 0)):
        bench.take(group, number)
    assert bench.shelf is not None
    assert bench.shelf.is_in_use
    bench.shelf.wake()
    assert not bench.shelf.is_in_use
    assert bench.watches["rule-0", 1].machine.last_step == 19
    [group] = grouped(np.ones((1, COLUMNS)), [1], 20)
    assert bench.shelf.take(group) == list(range(COLUMNS))
