"""What several ranks read becomes what one process would have read; a rank that differs is named; nothing is merged twice."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event

from foreshock_server.bus import LocalBus
from foreshock_server.ranks import merger
from foreshock_server.ranks.merger import Merger
from foreshock_server.ranks.merging import Held, disagreement, distances, merged, of_parts, usual

NAN = math.nan


def table(*columns: Sequence[float]) -> np.ndarray:
    """Values [steps, ranks]."""
    return np.array(columns, float).T


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("sum", [6, 60]),
        ("mean", [2.5, 25]),
        ("max", [3, 30]),
        ("min", [1, 10]),
        ("norm", [math.sqrt(14), math.sqrt(1400)]),
    ],
)
def test_ranks_become_one(how, expected):
    values = table([1, 10], [2, 20], [3, 30])
    weights = table([1, 1], [1, 1], [4, 4])
    if how == "mean":
        expected = [(1 + 2 + 12) / 6, (10 + 20 + 120) / 6]
    there = np.ones(values.shape, bool)
    np.testing.assert_allclose(merged(how, values, weights, there), expected)


@pytest.mark.parametrize("how", ["sum", "mean", "max", "min", "norm"])
def test_a_rank_that_is_not_there_does_not_count_and_nan_is_news(how):
    values = table([4.0, 4.0], [NAN, NAN])
    there = np.array([[True, False], [True, True]])
    got = merged(how, values, np.ones(values.shape), there)
    assert got[0] == 4.0
    assert math.isnan(got[1])


def test_a_mean_leaves_out_ranks_that_measured_nothing():
    values, weights = table([4.0], [NAN]), table([8.0], [0.0])
    assert merged("mean", values, weights, np.ones((1, 2), bool)).tolist() == [4.0]
    nothing = merged("mean", values, np.zeros((1, 2)), np.ones((1, 2), bool))
    assert math.isnan(nothing[0])


def test_a_norm_neither_overflows_nor_vanishes():
    big = merged("norm", table([3e200], [4e200]), np.ones((1, 2)), np.ones((1, 2), bool))
    small = merged("norm", table([3e-200], [4e-200]), np.ones((1, 2)), np.ones((1, 2), bool))
    np.testing.assert_allclose([big[0], small[0]], [5e200, 5e-200])


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="by 'median'"):
        merged("median", table([1.0]), table([1.0]), np.ones((1, 1), bool))


def parts(how: str, over: str, held: list[Held], values: np.ndarray, **more: np.ndarray) -> list[float]:
    """Of one step or several; NaN where they are not one."""
    ones = np.ones(values.shape)
    found, whole = of_parts(how, over, held, values, more.get("weight", ones), more.get("there", ones > 0))
    return np.where(whole, found, NAN).tolist()


def test_of_ranks_that_hold_the_same_one_counts():
    two = [Held(0), Held(0), Held(2), Held(2)]
    values = table([1.0, NAN], [1.0, 5.0], [3.0, 3.0], [3.0, 3.0])
    there = np.array([[True] * 4, [False, True, True, True]])
    assert parts("sum", "sum", two, values, there=there) == [4.0, 8.0]  # the first that is there
    weight = table([8.0, 8.0], [8.0, 8.0], [24.0, 24.0], [24.0, 24.0])
    assert parts("mean", "mean", two, values, there=there, weight=weight) == [2.5, 3.5]


def test_columns_are_merged_their_own_way_and_only_when_none_is_missing():
    grid = [Held(0, 0, 2, 30), Held(0, 1, 2, 10), Held(2, 0, 2, 30), Held(2, 1, 2, 10)]  # rows by columns
    dead = table([0.2, 0.2], [0.6, 0.6], [0.1, 0.1], [0.8, 0.8])
    assert parts("min", "mean", grid, dead) == pytest.approx([(3 * 0.1 + 0.6) / 4] * 2)
    rows = table([100, 100], [100, 99], [50, 50], [50, 50])
    assert parts("sum", "min", grid, rows) == [150.0, 149.0]
    there = np.array([[True, True, False, True], [True, False, True, False]])
    missing = parts("sum", "sum", grid, np.ones((2, 4)), there=there)
    assert missing[0] == 3.0
    assert math.isnan(missing[1])
    assert all(map(math.isnan, parts("sum", "sum", grid[::2], np.ones((2, 2)))))  # the second is nowhere


def healthy(statistics: int, steps: int, ranks: int, seed: int = 0) -> np.ndarray:
    g = np.random.default_rng(seed)
    level = g.uniform(0.1, 100, (statistics, 1, 1))
    return level * (1 + 0.03 * g.standard_normal((statistics, steps, ranks)))


def measured(values: np.ndarray, baseline: int = 10) -> np.ndarray:
    there = np.ones(values.shape[1:], bool)
    found = np.stack([distances(one, there) for one in values])
    yard = np.array([np.median(usual(d, v, there)[:baseline]) for d, v in zip(found, values, strict=True)])
    return disagreement(found, yard)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_healthy_ranks_stay_below_the_rule_and_a_faulty_one_passes_it(ranks):
    values = healthy(20, 400, ranks)
    assert measured(values).max() < 10
    values[:6, 200:, 1] *= 1.8  # a third of the statistics of one rank
    got = measured(values)
    assert (got[200:, 1] > 10).all()
    assert got[:200].max() < 10
    if ranks > 2:  # of two it cannot be said which one is wrong
        assert np.delete(got, 1, 1).max() < 10


def test_ranks_that_agree_to_the_bit_show_the_first_that_does_not():
    values = np.full((4, 30, 4), 0.7)
    values[:, 20:, 2] *= 1.0001
    got = measured(values)
    assert got[:20].max() == 0.0
    assert (got[20:, 2] > 50).all()
    assert np.delete(got, 2, 1).max() == 0.0


def test_a_rank_that_alone_is_not_finite_is_far_from_the_others():
    values = healthy(4, 30, 4)
    values[:, 20:, 3] = NAN
    got = measured(values)
    assert (got[20:, 3] == 1e6).all()
    assert got[:, :3].max() < 10


# -- with a server ------------------------------------------------------------------------------------------------


TOLD: dict[str, dict[str, Any]] = {
    "policy_entropy": {"merge": "mean", "weight": "tokens"},
    "tokens": {"merge": "sum"},
    "gradient_norm": {"merge": "norm"},
    "effective_rank": {},
}


def described(wire, rank: int, axes: Mapping[str, int]) -> dict[str, Any]:
    """The frame of a rank; `axes` are the sizes of those that are vectors."""
    label = {"rank": str(rank)} if rank else {}
    tail = f"{{rank={rank}}}" if rank else ""
    listed = []
    for name, about in TOLD.items():
        axis = {"axis": {"name": "head", "size": axes[name]}} if name in axes else {}
        listed.append(wire.series(f"{name}{tail}", statistic=name, labels=label, about=about, **axis))
    return {"frame": 1, "series": listed}


class Ranks:
    """Some ranks of one run, and the merger."""

    def __init__(self, wire, client, database, count: int) -> None:
        self.wire = wire
        self.trainers = [wire.Trainer(client, writer=f"r{rank}-aa") for rank in range(count)]
        for trainer in self.trainers:
            trainer.open()
        self.seqs = [0] * count
        self.clock = 1000.0
        self.merger = Merger(database, LocalBus(), clock=lambda: self.clock)
        self.client = client
        self.axes: dict[int, dict[str, int]] = {}  # rank -> the sizes of what is a vector there

    def send(self, rank: int, steps: Sequence[int], values: Any, absent: Any = None) -> None:
        self.seqs[rank] += 1
        axes = self.axes.get(rank, {})
        frames = [described(self.wire, rank, axes)] if self.seqs[rank] == 1 else []
        rows = self.wire.rows(1, steps, values, absent=absent)
        self.trainers[rank].send(self.seqs[rank], [rows], frames)

    def merge(self) -> int:
        total = 0
        while stored := self.merger.run_once():
            total += stored
        return total

    def read(self, key: str) -> dict[int, float]:
        answer = self.client.get("/api/v1/runs/run-1/data", params={"key": key, "points": 0})
        assert answer.status_code == 200, answer.text
        one = answer.json()["series"][0]
        return dict(zip(one["steps"], one["values"], strict=True))


@pytest.fixture
def ranks(client, database, wire):
    def make(count: int) -> Ranks:
        return Ranks(wire, client, database, count)

    return make


def test_two_ranks_become_one_series(ranks):
    two = ranks(2)
    two.clock = 0.0
    two.send(0, [0, 1, 2], [[1, 100, 3, 7], [2, 100, 3, 7], [3, 100, 3, 7]])
    assert two.merge() == 0  # the other one has not delivered
    two.send(1, [0, 1], [[4, 300, 4, 9], [5, 300, 4, 9]])
    assert two.merge() == 2 * (3 + 2)
    assert two.read("policy_entropy{rank=all}") == {0: 3.25, 1: 4.25}
    assert two.read("tokens{rank=all}") == {0: 400, 1: 400}
    assert two.read("gradient_norm{rank=all}") == {0: 5, 1: 5}
    assert (
        two.client.get(
            "/api/v1/runs/run-1/columns", params={"series": "effective_rank{rank=all}"}
        ).status_code
        == 404
    )
    two.send(1, [2, 3], [[6, 300, 4, 9], [6, 300, 4, 9]])
    assert two.merge() == 3 + 2
    assert two.merge() == 0
    assert two.read("tokens{rank=all}") == {0: 400, 1: 400, 2: 400}
    assert set(two.read("rank_disagreement{rank=1}")) == {0, 1, 2}


def of_rank(wire, rank: int, name: str, layout: Mapping[str, Any]) -> dict[str, Any]:
    label, tail = ({"rank": str(rank)}, f"{{rank={rank}}}") if rank else ({}, "")
    return wire.series(f"{name}{tail}", statistic=name, labels=label, about={"layout": layout})


def test_layouts_say_what_is_counted_once_and_what_columns_become(ranks):
    four = ranks(4)
    four.clock = 0.0
    for rank in range(4):
        first, shard = rank // 2 * 2, {"shard": rank % 2, "shards": 2, "width": 8}
        told = {
            "n_eff": {"part": first, "merge": "sum"},
            "mean_cosine": {"part": first, "merge": "mean", "weight": "n_eff"},
            "nonfinite_count": {"part": first, "merge": "sum", "columns": "sum", **shard},
        }
        listed = [of_rank(four.wire, rank, name, layout) for name, layout in told.items()]
        rows = four.wire.rows(1, [0, 1], [[10 + rank, 1.0, 1], [10.0 + first, 0.5 * first, 2]])
        four.trainers[rank].send(1, [rows], [{"frame": 1, "series": listed}])
    assert four.merge() == 2 * 3 + 2 * 4
    assert four.read("n_eff{rank=all}") == {0: 22, 1: 22}
    assert four.read("mean_cosine{rank=all}") == {0: 1, 1: pytest.approx(12 / 22)}
    assert four.read("nonfinite_count{rank=all}") == {0: 4, 1: 8}
    assert set(four.read("rank_disagreement{rank=3}")) == {0, 1}  # copies are compared with the rest
    listed = {one["key"] for one in four.trainers[0].get("/series")["series"]}
    assert "mean_cosine{rank=all}" in listed


def test_vectors_are_merged_entry_by_entry(ranks):
    two = ranks(2)
    two.clock = 0.0
    two.axes = {rank: {"policy_entropy": 3, "gradient_norm": 2} for rank in (0, 1)}
    two.send(0, [0, 1], [[1, 2, 3, 100, 3, 6, 7], [4, 5, 6, 100, 0, 0, 7]])
    gone = [[False, True, *[False] * 5], [True] * 3 + [False] * 4]
    two.send(1, [0, 1], [[5, 9, 7, 300, 4, 8, 9], [9, 9, 9, 300, 1, 0, 9]], gone)
    two.merge()
    assert two.read("policy_entropy{rank=all}") == {
        0: [4, "NaN", 6]
    }  # of which one rank alone has the middle one
    assert two.read("gradient_norm{rank=all}") == {0: [5, 10], 1: [1, 0]}
    assert two.read("tokens{rank=all}") == {0: 400, 1: 400}
    assert two.seqs == [1, 1]
    listed = {one["key"]: one for one in two.trainers[0].get("/series")["series"]}
    assert listed["policy_entropy{rank=all}"]["axis"] == {"name": "head", "size": 3}
    assert listed["policy_entropy{rank=all}"]["points"] == 2
    assert two.merge() == 0


def test_ranks_with_vectors_of_other_sizes_are_merged_with_their_like(ranks):
    four = ranks(4)
    four.clock = 0.0
    four.axes = {
        0: {"gradient_norm": 2},
        1: {"gradient_norm": 3},
        2: {"gradient_norm": 2},
        3: {"gradient_norm": 3},
    }
    for rank in range(4):
        sizes = four.axes[rank]["gradient_norm"]
        four.send(rank, [0], [[1, 10, *[float(rank + 1)] * sizes, 5]])
    four.merge()
    assert four.read("gradient_norm{rank=all}") == {0: pytest.approx([math.sqrt(10)] * 2)}
    assert four.read("gradient_norm{entries=3,rank=all}") == {0: pytest.approx([math.sqrt(20)] * 3)}
    assert four.read("tokens{rank=all}") == {0: 40}


def test_many_steps_are_merged_in_portions(ranks, monkeypatch):
    monkeypatch.setattr(merger, "STEPS_AT_ONCE", 7)
    two = ranks(2)
    steps = list(range(40))
    for rank in range(2):
        two.send(rank, steps, [[rank, 1, 1, 1]] * 40)
    two.merge()
    assert two.read("policy_entropy{rank=all}") == dict.fromkeys(steps, 0.5)


class Told:
    """What every rank read, kept reading by reading, and what becomes of it one statistic and one step at a time."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int, int], float] = {}  # statistic, step, rank

    def merged(self, how: str, name: str, weight: str | None = None) -> dict[int, float]:
        found = {}
        for step in sorted({at for one, at, _ in self.values if one == name}):
            there = [rank for rank in range(3) if (name, step, rank) in self.values]
            if len(there) < 2:
                continue
            values = np.array([[self.values[name, step, rank] for rank in there]])
            counts = [self.values.get((weight or "", step, rank), NAN) for rank in there]
            weights = np.array([[w if math.isfinite(w) else 0.0 for w in counts]])
            if weight is None:
                weights = np.ones(values.shape)
            found[step] = float(merged(how, values, weights, np.ones(values.shape, bool))[0])
        return found


@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_matter_how_and_when_the_readings_of_the_ranks_came(ranks, database, monkeypatch, seed):
    monkeypatch.setattr(merger, "STEPS_AT_ONCE", 5)
    chance, three, told = np.random.default_rng(seed), ranks(3), Told()
    three.clock = 0.0  # nobody is silent
    at = [0, 0, 0]
    while min(at) < 60:
        rank = int(np.argmin(np.array(at) + chance.uniform(0, 12, 3)))
        steps = [at[rank] + i for i in range(int(chance.integers(1, 8)))]
        values = chance.normal(5, 1, (len(steps), 4)).astype("f4")
        values[chance.random(values.shape) < 0.03] = NAN
        absent = chance.random(values.shape) < 0.1
        at[rank] = steps[-1] + 1
        three.send(rank, steps, values, absent)
        for (i, j), value in np.ndenumerate(values):
            if not absent[i, j]:
                told.values[
                    ["policy_entropy", "tokens", "gradient_norm", "effective_rank"][j], steps[i], rank
                ] = float(value)
        if chance.random() < 0.4:
            three.merge()
        if chance.random() < 0.1:  # the merger was killed, and another one goes on
            three.merger = Merger(database, LocalBus(), clock=lambda: three.clock)
    three.merge()
    upto = min(at)
    for name, how, weight in (
        ("policy_entropy", "mean", "tokens"),
        ("tokens", "sum", None),
        ("gradient_norm", "norm", None),
    ):
        expected = {step: value for step, value in told.merged(how, name, weight).items() if step < upto}
        got = {
            step: math.nan if value == "NaN" else value
            for step, value in three.read(f"{name}{{rank=all}}").items()
        }
        assert list(got) == list(expected)
        np.testing.assert_allclose(list(got.values()), list(expected.values()), rtol=1e-6)


def test_a_rank_whose_block_is_missing_is_waited_for(ranks):
    two = ranks(2)
    two.clock = 0.0
    two.send(0, [0, 1, 2], [[1, 1, 1, 1]] * 3)
    two.send(1, [0], [[1, 1, 1, 1]])
    two.seqs[1] = 2
    two.send(1, [2], [[1, 1, 1, 1]])  # the third; the second is on its way
    two.merge()
    assert set(two.read("tokens{rank=all}")) == {0}
    two.seqs[1] = 1
    two.send(1, [1], [[1, 1, 1, 1]])
    two.merge()
    assert set(two.read("tokens{rank=all}")) == {0, 1, 2}


def test_only_what_is_new_is_read_again(ranks, database):
    two = ranks(2)
    asked: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    for number in range(6):
        for rank in range(2):
            two.send(rank, [number], [[1, 1, 1, 1]])
        asked.clear()
        two.merge()
        if number:
            assert not any("FROM frames" in one or "INSERT INTO frames" in one for one in asked)
            assert sum("FROM series" in one for one in asked) <= 1  # for those that came since


def test_one_run_that_cannot_be_merged_stalls_no_other(ranks, client, database, wire, monkeypatch, caplog):
    broken, sound = ranks(2), ranks(2)
    for trainer in sound.trainers:
        trainer.run = "run-2"
        trainer.open()
    gather = merger.gather

    def fails(session, catalogue, *more):
        if catalogue.run_id == "run-1":
            raise RuntimeError("pulled the plug")
        return gather(session, catalogue, *more)

    for two in (broken, sound):
        for rank in range(2):
            two.send(rank, [0], [[1, 1, 1, 1]])
    monkeypatch.setattr(merger, "gather", fails)
    assert sound.merge() == 3 + 2
    assert "Run run-1" in caplog.text
    monkeypatch.undo()
    assert sound.merge() == 0  # it is left alone for a while
    sound.clock += merger.ASIDE_SECONDS
    assert sound.merge() == 3 + 2


def test_a_rank_that_went_silent_holds_nobody_up_for_long(ranks):
    three = ranks(3)
    for rank in range(3):
        three.send(rank, [0], [[rank, 1, 1, 1]])
    three.clock = 0.0
    three.merge()
    for rank in range(2):
        three.send(rank, [1], [[rank, 1, 1, 1]])
    assert three.merge() == 0
    three.clock = time.time() + 2 * merger.PATIENCE
    assert three.merge() > 0
    assert three.read("tokens{rank=all}") == {0: 3, 1: 2}


def test_two_mergers_store_once(ranks, database):
    two = ranks(2)
    for rank in range(2):
        two.send(rank, [0, 1], [[rank, 1, 1, 1]] * 2)
    other = Merger(database, LocalBus(), clock=lambda: two.clock)
    first = two.merge()
    assert other.run_once() == 0
    assert first == 2 * (3 + 2)


def test_one_rank_alone_is_left_alone(ranks):
    one = ranks(1)
    one.send(0, [0], [[1, 1, 1, 1]])
    assert one.merge() == 0


def test_an_unknown_way_of_merging_is_refused(trainer, wire):
    frame = {"frame": 1, "series": [wire.series("x", about={"merge": "median"})]}
    answer = trainer.post(trainer.block(1, [wire.rows(1, [0], [[1.0]])], [frame]))
    assert answer.status_code == 422
    assert "write one of sum, mean, max, min, norm" in answer.text


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({"merge": "sum"}, "part"),
        ({"part": 0}, "merge"),
        ({"part": 0, "merge": "median"}, "write one of sum, mean, max, min, norm"),
        ({"part": 0, "merge": "sum", "columns": "sum"}, "shards"),
        ({"part": 0, "merge": "sum", "columns": "sum", "shards": 2, "shard": 2, "width": 1}, "layout.shard"),
        ([], "layout"),
    ],
)
def test_a_layout_that_says_too_little_is_refused(trainer, wire, layout, says):
    frame = {"frame": 1, "series": [wire.series("x", about={"layout": layout})]}
    answer = trainer.post(trainer.block(1, [wire.rows(1, [0], [[1.0]])], [frame]))
    assert answer.status_code == 422
    assert says in answer.text
