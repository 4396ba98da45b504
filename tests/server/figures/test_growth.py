"""What is new of a figure: with what the reader has it is the whole figure, and it is little."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from foreshock_server.figures import growth
from foreshock_server.figures.curves import POINTS

NAMES = ("policy_entropy", "policy_entropy_p05", "policy_entropy_p95", "loss")
FAMILIES = ("policy entropy", "policy entropy", "policy entropy", "training")
SERIES = [
    {"key": name, "statistic": name, "family": family, "unit": "", "place": "", "labels": {}, "dtype": "f64"}
    for name, family in zip(NAMES, FAMILIES, strict=True)
]
FIGURES: dict[str, dict[str, str]] = {"policy-entropy": {}, "training": {}, "series": {"key": "loss"}}
ENDS = max(growth.OPEN_ENDS[:2])  # of a line that has a band


class Reader:
    """Fetches figures as the page does: what is new of each, put behind what it has."""

    def __init__(self, get: Any) -> None:
        self._get = get
        self._lines: dict[str, list[tuple[Any, Any]]] = {}
        self._marks: dict[str, str] = {}
        self.received: dict[str, int] = {}

    def look(self, name: str) -> list[tuple[Any, Any]]:
        figure = self._get(f"/figures/{name}", since=self._marks.get(name, "0"), **FIGURES[name])
        meta, old = figure["layout"]["meta"], self._lines.get(name, [])
        fresh = [(numbers(trace["x"]), numbers(trace["y"])) for trace in figure["data"]]
        self.received[name] = sum(len(x) for x, _ in fresh)
        self._marks[name] = meta["mark"]
        self._lines[name] = [
            tuple(np.r_[was[:keep], now] for was, now in zip(old[i], line, strict=True)) if keep else line
            for i, (line, keep) in enumerate(zip(fresh, meta["kept"], strict=True))
        ]
        return self._lines[name]


def numbers(written: Any) -> Any:
    if isinstance(written, dict):
        return np.frombuffer(base64.b64decode(written["bdata"]), written["dtype"]).astype(float)
    return np.array(written, float)


@pytest.fixture
def grow(trainer: Any, wire: Any) -> Any:
    """grow(steps, values=…): the run's next steps."""
    random = np.random.default_rng(7)
    at, seq = 0, 0

    def grow(steps: int, spoil: Any = lambda values: None) -> None:
        nonlocal at, seq
        values = random.normal(1, 0.1, (steps, len(SERIES))) * [0.8, 0.1, 2.0, 1.0]
        spoil(values)
        seq += 1
        trainer.send(seq, [wire.rows(1, np.arange(at, at + steps), values, dtype="f64")], [{"frame": 1, "series": SERIES}])  # fmt: skip
        at += steps

    return grow


def same(reader: Reader, trainer: Any) -> None:
    """What the reader has put together is what somebody sees who comes now."""
    newcomer = Reader(trainer.get)
    for name in FIGURES:
        for mine, whole in zip(reader.look(name), newcomer.look(name), strict=True):
            for one, other in zip(mine, whole, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("before", [30, 100, 700, POINTS - 5, 3000, 9000])
def test_what_was_had_and_what_is_new_is_the_whole(trainer, grow, before):
    grow(before)
    reader = Reader(trainer.get)
    same(reader, trainer)
    for steps in (1, 1, 7, 40):
        grow(steps)
        same(reader, trainer)


@pytest.mark.parametrize("before", [1000, 3000, 12_000])
def test_a_live_update_carries_what_is_new_and_an_end_that_may_still_move(trainer, grow, before):
    grow(before)
    reader = Reader(trainer.get)
    for name in FIGURES:
        reader.look(name)
    whole = dict(reader.received)
    grow(10)
    for name in FIGURES:
        traces = len(reader.look(name))
        assert whole[name] > 0.6 * min(before, POINTS / 2)
        assert reader.received[name] <= ENDS + 20 + (traces - 1) * (growth.OPEN_ENDS[0] + 2 * 10)


def test_readings_that_are_no_numbers_break_the_line_as_if_seen_at_once(trainer, grow):
    def spoil(values):
        values[2, 0] = values[5, 3] = np.nan

    grow(400)
    reader = Reader(trainer.get)
    same(reader, trainer)
    for _ in range(3):
        grow(9, spoil)
        same(reader, trainer)


def figure(*lines: Any) -> go.Figure:
    return go.Figure([go.Scatter(x=np.arange(len(y)), y=np.array(y, float)) for y in lines])


def test_a_line_that_changed_in_its_past_is_sent_whole():
    first, then = figure(range(50), range(50)), figure([9, *range(1, 60)], range(60))
    growth.shorten(first, growth.NOTHING)
    growth.shorten(then, first.layout.meta["mark"])
    keep = 50 - growth.OPEN_ENDS[0]
    assert then.layout.meta["kept"] == [0, keep]
    assert then.data[0].y.tolist() == [9, *range(1, 60)]
    assert then.data[1].y.tolist() == list(range(keep, 60))


@pytest.mark.parametrize("mark", ["0", "9:999999999.0123456789ab", "0:2.0123456789ab~1:34.0123456789ab"])
def test_a_mark_of_something_else_brings_the_whole(mark):
    drawn = figure(range(50))
    growth.shorten(drawn, mark)
    assert drawn.layout.meta["kept"] == [0]
    assert len(drawn.data[0].x) == 50


@pytest.mark.parametrize("mark", ["", "x", "0:5", "0:5.zz", "0:2.0123456789ab~1"])
def test_what_is_no_mark_is_refused(grow, trainer, mark):
    grow(5)
    answer = trainer.client.get("/api/v1/runs/run-1/figures/training", params={"since": mark})
    assert (answer.status_code, answer.json()["field"]) == (422, "since")


def test_a_figure_that_was_asked_for_whole_says_nothing_of_marks(grow, trainer):
    grow(5)
    assert {"kept", "mark"}.isdisjoint(trainer.get("/figures/training")["layout"]["meta"])


def test_marks_of_more_than_positions_are_sent_whole():
    odd = go.Figure(go.Scatter(x=np.arange(50), y=np.ones(50), customdata=["a"] * 50))
    growth.shorten(odd, growth.NOTHING)
    assert odd.layout.meta == {"kept": [0], "mark": growth.NOTHING}
