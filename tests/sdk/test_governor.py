"""The governor: what is measured stays within its budget, nothing starves, and the breaker trips when prices explode."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from foreshock.measure import breaker as breakers
from foreshock.measure.governor import Governor
from foreshock.measure.purses import fair_share
from foreshock.measure.turns import HORIZON, Turn, Turns

MS = 1e-3
# Of six kinds: seconds of a record, steps between records. 1.2 ms a step when all are taken as often as they are wanted.
SIX = {
    "policy": (0.03 * MS, 1),
    "features": (0.1 * MS, 1),
    "views": (0.3 * MS, 1),
    "activations": (1 * MS, 5),
    "optimiser": (3 * MS, 10),
    "weights": (6 * MS, 50),
}


@dataclass
class Simulated:
    """A training run on a clock of its own: each open turn records, at a cost with 20 % of noise."""

    step_seconds: float
    budget: float | None = 1.0
    kinds: Mapping[str, tuple[float, int]] = field(default_factory=lambda: SIX)
    fixed: float = 0.0  # seconds of a step that no record stands for
    background: float = 0.0  # seconds of a step that another thread of ours takes
    spikes: float = 0.0  # share of the records that cost 30 times as much, as on a busy machine
    seed: int = 0

    def __post_init__(self) -> None:
        self.now = self.own = self.billed = self.beside = 0.0
        self.step = 0
        every = {kind: period for kind, (_, period) in self.kinds.items()}
        self.governor = Governor(self.budget, background=lambda: self.beside, now=lambda: self.now)
        self.turns = Turns(every, self.governor)
        self.governor.governs(self.turns)
        self.turn = {kind: self.turns.of(kind, 0) for kind in self.kinds}
        self.times = dict.fromkeys(self.kinds, 1.0)  # what a record costs more than at first
        self.slower = 1.0
        self.spent: list[float] = []  # of each step
        self.lasted: list[float] = []
        self.levels: list[int] = []
        self.recorded: dict[str, list[int]] = {kind: [] for kind in self.kinds}
        self._noise = random.Random(self.seed)

    def run(self, steps: int) -> Simulated:
        for _ in range(steps):
            cost, recorded = self.fixed, []
            for kind, turn in self.turn.items():
                if turn.open:
                    seconds = self.kinds[kind][0] * self.times[kind] * self._noise.uniform(0.8, 1.2)
                    seconds *= 30 if self._noise.random() < self.spikes else 1
                    turn.spent += seconds
                    self.billed += seconds
                    cost += seconds
                    recorded.append(turn)
                    self.recorded[kind].append(self.step)
            self.own += cost
            self.beside += self.background
            lasted = self.step_seconds * self.slower * self._noise.uniform(0.95, 1.05) + cost
            self.now += lasted
            self.step += 1
            self.governor.close(recorded, self.own, self.billed)
            self.turns.close(recorded, self.step)
            self.spent.append(cost)
            self.lasted.append(lasted)
            self.levels.append(self.governor.level)
        return self

    def overhead(self, first: int = 0, last: int | None = None) -> float:
        """Percent of the training's own time."""
        ours, whole = sum(self.spent[first:last]), sum(self.lasted[first:last])
        return 100 * ours / (whole - ours)

    def worst(self, steps: int = 200) -> float:
        """The dearest so many steps."""
        return max(self.overhead(i, i + steps) for i in range(0, len(self.spent) - steps, 20))

    def gap(self, kind: str, first: int = 0) -> int:
        """The longest time without a record, in steps."""
        at = [step for step in self.recorded[kind] if step >= first]
        return max(b - a for a, b in zip([first, *at], [*at, self.step], strict=True))


@pytest.mark.parametrize(
    ("step_seconds", "mean", "worst"), [(0.02, 1.0, 1.25), (0.2, 0.65, 0.85), (2.0, 0.07, 0.09)]
)
def test_a_run_stays_within_its_budget_and_nothing_starves(
    step_seconds: float, mean: float, worst: float
) -> None:
    """One kind becomes twice as dear in the middle; later the steps take half as long again for a while."""
    run = Simulated(step_seconds).run(3000)
    run.times["views"] = 2.0
    run.run(1000)
    run.slower = 1.5
    run.run(500)
    run.slower = 1.0
    run.run(1500)
    assert 0.04 < run.overhead() <= mean
    assert run.worst() <= worst
    assert min(run.levels) == 1
    assert run.gap("policy") == 1  # essential, and cheap enough
    for kind, (cost, every) in SIX.items():
        fair = (
            cost * run.times[kind] / (0.01 * step_seconds / len(SIX))
        )  # steps that pay for it, if all had the same
        assert run.gap(kind, 200) <= max(every + 1, 3 * fair), kind
    if step_seconds == 2.0:
        assert [run.gap(kind, 200) for kind in SIX] == [every for _, every in SIX.values()]


def test_what_can_be_afforded_is_recorded_as_often_as_it_is_wanted_and_no_more() -> None:
    run = Simulated(2.0).run(400)
    assert run.recorded["activations"][:2] == [0, 5]
    steady = [step for step in run.recorded["optimiser"] if step > 100]
    assert {b - a for a, b in itertools.pairwise(steady)} == {10}
    assert run.turns.skipped == 2  # of two kinds the second step: how long a step is, was not known yet


def test_without_a_governor_every_cadence_is_kept() -> None:
    turns = Turns({"policy": 1, "activations": 3, "curvature": 0}, None)
    policy, layer = turns.of("policy", 0), turns.of("activations", 0)
    seen = []
    for step in range(9):
        seen += [step] * layer.open
        assert policy.open
        turns.close([policy, layer] if layer.open else [policy], step + 1)
    assert seen == [0, 3, 6]
    assert not turns.awaited("curvature", 9)
    assert turns.skipped == 0


def test_an_open_turn_waits_for_a_call_that_comes_rarely() -> None:
    turns = Turns({"optimiser": 10}, None)
    turn = turns.of("optimiser", 0)
    recorded = []
    for step in range(60):
        steps_now = turn.open and step % 4 == 3  # accumulates gradients over four steps
        recorded += [step] * steps_now
        turns.close([turn] if steps_now else [], step + 1)
    assert recorded == [3, 15, 27, 39, 51]


def test_sites_of_one_kind_share_a_turn_and_layers_have_each_their_own() -> None:
    turns = Turns({"optimiser": 10, "activations": 10}, None)
    assert turns.of("optimiser", 0) is turns.of("optimiser", 0)
    first, second = turns.of("activations", 0), turns.of("activations", 0)
    assert first is not second
    turns.close([first], 1)
    assert turns.awaited("activations", 1)  # the other one still waits
    turns.close([second], 2)
    assert not turns.awaited("activations", 2)


def test_a_kind_that_is_switched_on_later_gets_its_turn() -> None:
    every = {"gradients": 0}
    turns = Turns(every, None)
    assert not turns.awaited("gradients", 0)
    turn = turns.of("gradients", 0)
    assert not turn.open
    every["gradients"] = 5
    assert turns.awaited("gradients", 3)
    assert turn.open


def test_steps_too_short_for_our_fixed_cost_are_still_measured_now_and_then() -> None:
    run = Simulated(1 * MS, fixed=0.05 * MS).run(20_000)  # 5 % before anything is recorded
    assert min(run.levels) == 1  # what cannot be held back is no reason to hold anything back
    assert 5.0 < run.overhead(2000) < 5.5
    for kind in SIX:
        assert len(run.recorded[kind]) >= 2, kind


def test_one_record_that_costs_a_thousand_steps_is_saved_up_for_while_the_others_go_on() -> None:
    run = Simulated(0.02, kinds={**SIX, "weights": (0.2, 50)}).run(12_000)
    assert len(run.recorded["weights"]) >= 3
    assert run.overhead(2000) <= 1.02
    assert run.gap("activations", 3000) < 600


def test_on_a_machine_whose_records_now_and_then_cost_thirty_times_as_much_the_budget_is_kept_all_the_same() -> (
    None
):
    dear = {**SIX, "policy": (0.1 * MS, 1)}
    run = Simulated(0.02, kinds=dear, spikes=0.1).run(8000)
    assert run.overhead(1000) <= 1.05
    assert len(run.recorded["policy"]) > 2000
    for kind in SIX:
        assert len(run.recorded[kind]) > 5, kind


def test_the_budget_counts_what_our_other_threads_take_from_the_training() -> None:
    alone, squeezed = Simulated(0.02).run(4000), Simulated(0.02, background=0.1 * MS).run(4000)
    assert squeezed.overhead(500) + 0.5 <= 1.02
    assert squeezed.overhead(500) < 0.65 * alone.overhead(500)
    beside = Governor(1.0, background=lambda: 1e6, competes=lambda: False)
    beside.close([], 0.0, 0.0)
    beside.close([], 0.0, 0.0)
    assert beside.used == 0.0


def test_on_a_device_the_budget_is_smaller_unless_the_user_gave_one() -> None:
    default, given = Governor(), Governor(2.0)
    assert default.budget == 3.0
    for governor in (default, given):
        governor.is_on("cpu")
        governor.is_on("cuda")
        governor.is_on("cpu")
    assert (default.budget, given.budget) == (1.0, 2.0)


def test_a_checkpoint_of_a_minute_buys_no_minute_of_measuring() -> None:
    run = Simulated(0.02).run(1000)
    before = run.governor.pace
    run.now += 60.0
    run.run(1)
    assert run.governor.pace < 1.3 * before
    run.run(300)
    assert run.overhead(1002) < 1.3


# -- the breaker ------------------------------------------------------------------------------------------------------


def test_the_breaker_trips_when_prices_explode_keeps_the_essential_and_lets_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Simulated(0.02).run(2000)
    run.times = dict.fromkeys(SIX, 3000.0)
    run.run(1000)
    assert run.levels[-1] == 0
    tripped = run.levels.index(0)
    assert 2000 < tripped <= 2000 + 3 * breakers.WINDOW
    assert run.worst() > breakers.TIMES  # there was a reason
    run.times = dict.fromkeys(SIX, 1.0)
    run.run(1000)
    rest = slice(tripped + 1, tripped + breakers.REST)
    assert set(run.levels[rest]) == {0}
    for kind in set(SIX) - {"policy"}:
        assert not [step for step in run.recorded[kind] if tripped < step <= tripped + breakers.REST], kind
    assert [step for step in run.recorded["policy"] if tripped < step <= tripped + breakers.REST]
    run.run(4000)
    assert run.levels[-1] == 1
    for kind in SIX:
        assert run.recorded[kind][-1] > tripped + breakers.REST, kind
    assert run.overhead(5000) < 1.1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "FORESHOCK_BUDGET" in said[0]


def test_the_breaker_rests_longer_each_time_and_forgets_when_it_is_told_to() -> None:
    breaker = breakers.Breaker()

    def windows(total: float, until: int) -> int:
        """Windows of 200 steps at this cost until the level is that one."""
        for window in range(1, 100):
            for _ in range(breakers.WINDOW):
                breaker.close(total, total, 1.0, 1.0)
            if breaker.level == until:
                return window
        raise AssertionError(f"the level never was {until}")

    assert windows(0.1, until=0) == 1
    first = windows(0.0, until=1)
    assert first == breakers.REST // breakers.WINDOW
    assert windows(0.1, until=0) == 1
    assert windows(0.0, until=1) == 2 * first
    assert windows(0.1, until=0) == 1
    breaker.reset()
    assert breaker.level == 1
    assert windows(0.1, until=0) == 1
    assert windows(0.0, until=1) == first


def test_first_records_and_one_that_was_saved_up_for_do_not_trip_it() -> None:
    run = Simulated(1 * MS, budget=1.0).run(2000)  # the first step alone costs ten steps
    assert run.worst() > breakers.PERCENT
    assert min(run.levels) == 1


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "income", "expected"),
    [
        ([1.0, 1.0], 3.0, float("inf")),
        ([1.0, 5.0], 4.0, 3.0),
        ([4.0, 4.0], 2.0, 1.0),
        ([0.1, 10.0, 10.0], 4.1, 2.0),
        ([], 1.0, float("inf")),
    ],
)
def test_what_one_may_get_leaves_as_much_to_everyone_who_wants_it(
    rates: list[float], income: float, expected: float
) -> None:
    assert fair_share(rates, income) == pytest.approx(expected)
    assert sum(min(rate, fair_share(rates, income)) for rate in rates) <= income + 1e-12


def test_a_price_follows_its_records_and_one_bad_moment_does_not_spoil_it() -> None:
    governor, turn = Governor(1.0), Turn("activations", 1, 0)
    prices = []
    for seconds in (9.0, 1.0, 1.0, 2.0, 1000.0):
        turn.spent = seconds
        governor.close([turn], 0.0, 0.0)
        turn.records += 1
        prices.append(turn.cost)
    assert prices[0] == 3.0  # a third of the first, which also compiles and allocates
    assert prices[1] == 1.0
    assert prices[3] == pytest.approx(1.3)
    assert prices[4] < 5 * prices[3]
    governor.close([], 0.0, 0.0, late=[(turn, 0.5)])
    assert turn.cost == pytest.approx(prices[4] + 0.3 * 0.5)


def test_a_turn_far_in_the_future_is_looked_at_again_when_prices_have_changed() -> None:
    run = Simulated(0.02).run(1000)
    turn = run.turn["weights"]
    turn.cost = 1e3
    run.times["weights"] = 0.0
    run.run(200)
    turn.cost = 1e-6
    run.run(2 * HORIZON)
    assert run.recorded["weights"][-1] > 1200
