"""What several ranks read becomes what one process would have read; a rank that differs is named; nothing is merged twice."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from foreshock_server.bus import LocalBus
from foreshock_server.ranks import merger
from foreshock_server.ranks.merger import Merger
from foreshock_server.ranks.merging import disagreement, distances, merged, usual

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


def described(wire, rank: int) -> dict[str, Any]:
    label = {"rank": str(rank)} if rank else {}
    tail = f"{{rank={rank}}}" if rank else ""
    told = {
        "policy_entropy": {"merge": "mean", "weight": "tokens"},
        "tokens": {"merge": "sum"},
        "gradient_norm": {"merge": "norm"},
        "effective_rank": {},
    }
    listed = [
        wire.series(f"{name}{tail}", statistic=name, labels=label, about=about)
        for name, about in told.items()
    ]
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

    def send(self, rank: int, steps: Sequence[int], values: Any) -> None:
        self.seqs[rank] += 1
        frames = [described(self.wire, rank)] if self.seqs[rank] == 1 else []
        self.trainers[rank].send(self.seqs[rank], [self.wire.rows(1, steps, values)], frames)

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


def test_many_steps_are_merged_in_portions(ranks, monkeypatch):
    monkeypatch.setattr(merger, "STEPS_AT_ONCE", 7)
    two = ranks(2)
    steps = list(range(40))
    for rank in range(2):
        two.send(rank, steps, [[rank, 1, 1, 1]] * 40)
    two.merge()
    assert two.read("policy_entropy{rank=all}") == dict.fromkeys(steps, 0.5)


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
