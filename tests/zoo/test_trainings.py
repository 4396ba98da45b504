"""Each pair trains and logs what it says; one of them from the first step to the page; and what is counted of them is counted rightly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.zoo.judging import campaign, kept, pairs
from tests.zoo.judging.counted import counted, subjects, total
from tests.zoo.judging.outcome import SHOWN, shows, smoothed
from tests.zoo.judging.rivals import FIRST, WARM_UPS, cusum, ewma, fitted
from tests.zoo.judging.service import Service, packs_of_rules
from tests.zoo.judging.trial import Curve, Ran, Told, try_out
from tests.zoo.trainings.pair import Pair, Setting

import foreshock
from foreshock.config import EVERY
from foreshock.testing import recording

STEPS = 10  # of a training that is only begun
UNREAD = dict.fromkeys(EVERY, 0)  # the cadence of a training of which only what it logs itself is wanted


class Enough(Exception):
    """The training went far enough."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("zoo")) as service:
        yield service


@pytest.mark.slow
@pytest.mark.parametrize("collapses", [True, False], ids=["collapsing", "healthy"])
@pytest.mark.parametrize("name", pairs.names())
def test_a_pair_trains_and_logs_its_outcome(
    name: str, collapses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pairs.load(name)
    assert pair.family in packs_of_rules().values()
    values = outcome_of(pair, collapses, STEPS, monkeypatch)
    assert len(values) >= 1
    assert np.isfinite(values).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in pairs.names() if pairs.load(name).begins])
def test_twins_are_one_training_until_the_cause_sets_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pairs.load(name)
    both = [
        outcome_of(pair, collapses, pair.begins, monkeypatch, UNREAD).tolist() for collapses in (True, False)
    ]
    assert len(both[0]) >= 1
    assert both[0] == both[1]


def outcome_of(
    pair: Pair,
    collapses: bool,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
    every: Mapping[str, int] = EVERY,
) -> NDArray[np.float64]:
    """Of a training that is left after so many steps."""
    with recording(every=every) as recorded:
        run, close, closed = recorded.run, recorded.run.step, 0

        def step(number: int | None = None) -> None:
            nonlocal closed
            close(number)
            closed += 1
            if closed == steps:
                raise Enough

        monkeypatch.setattr(run, "step", step)
        with pytest.raises(Enough):
            pair.train(run, Setting(0, collapses, "tuning"))
        return recorded.columns(pair.outcome).values


@pytest.mark.slow
def test_a_collapse_pages_and_its_healthy_twin_is_left_in_peace(service: Service) -> None:
    pair = pairs.load("simsiam")
    collapsing, healthy = (try_out(pair, Setting(7, way, "tuning"), service) for way in (True, False))
    alarm = collapsing.alarm(pack=pair.family)
    assert alarm is not None
    assert healthy.alarm() is None
    # What rivals and we look at is the same: each statistic of the pack, as the server has it.
    assert {curve.statistic for curve in collapsing.watched.values()} >= collapsing.own
    assert alarm.series in collapsing.watched


def test_what_is_kept_is_judged_again_and_trained_anew_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train(run: foreshock.Run, setting: Setting) -> None:
        trained.append(setting.seed)
        for step in range(20):
            run.log(outcome=1.0 - step / 20, policy_entropy=1.0)
            run.step()

    pair = Pair("simsiam", "policy-entropy", "outcome", "high", "Drawn.", "Nobody.", train)
    first, again = (kept.tried(pair, Setting(3, True), tmp_path) for _ in range(2))
    assert trained == [3]
    assert (again.seconds, again.told, again.own) == (first.seconds, first.told, first.own)
    assert again.outcome.values.tolist() == first.outcome.values.tolist() == [1 - i / 20 for i in range(20)]
    monkeypatch.setattr(kept, "made_of", lambda name: f"another {name}")
    assert kept.tried(pair, Setting(3, True), tmp_path).steps == 20
    assert trained == [3, 3]


def test_a_module_that_is_no_pair_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"there is no pair 'nothing'; there is .*simsiam"):
        pairs.load("nothing")


# -- when the outcome shows it ---------------------------------------------------------------------------------------


def curve(*values: float, statistic: str = "x", every: int = 1) -> Curve:
    return Curve(statistic, np.arange(len(values)) * every, np.array(values, np.float64))


def test_the_outcome_shows_it_from_the_first_of_enough_logs_below_all_that_is_healthy() -> None:
    healthy = [curve(*[0.9] * 40), curve(*[0.8] * 40)]
    falls = curve(*[0.85] * 20, *[0.7] * 20)
    assert shows(falls, healthy, "high") == 22  # the median of five follows two logs later
    assert shows(curve(*[0.85] * 20, *[0.7] * (SHOWN - 1), *[0.85] * 20), healthy, "high") is None
    assert shows(falls, [*healthy, curve(*[0.1] * 40)], "high") is None
    assert shows(curve(*[1.0] * 20, *[3.0] * 20), [curve(*[1.5] * 40)], "low") == 22


def test_a_healthy_run_that_logs_at_other_steps_is_compared_at_the_same_step() -> None:
    seldom = curve(*[1.0] * 20, *[0.2] * 20, every=10)  # falls at step 200
    assert shows(curve(*[1.0] * 50, *[0.3] * 30, every=5), [seldom], "high") is None
    assert shows(curve(*[1.0] * 20, *[0.3] * 30, every=5), [seldom], "high") == 110


def test_an_outcome_that_is_no_number_is_worse_than_any() -> None:
    broken = curve(*[0.9] * 10, *[math.nan] * 20)
    assert shows(broken, [curve(*[0.1] * 30)], "high") == 10
    assert math.isnan(smoothed(broken.values)[10])


# -- rivals ----------------------------------------------------------------------------------------------------------


def test_control_charts_hear_a_shift_and_let_noise_be() -> None:
    noise = 10.0 + np.tile([1.0, -1.0, -1.0, 1.0], 15)
    shifted = noise.copy()
    shifted[40:] -= 4.0
    for chart in (ewma, cusum):
        at = chart(shifted)
        assert at is not None
        assert 40 <= at <= 45
        assert chart(noise) is None
        assert chart(np.full(60, 3.0)) is None
        assert chart(np.array([3.0] * FIRST + [3.0, 3.1])) == FIRST + 1
        assert chart(np.array([*noise[:30], math.nan])) == 30
        assert chart(noise[: FIRST - 5]) is None


def ran(
    seed: int, collapses: bool, values: list[float], told: tuple[Told, ...] = (), **more: list[float]
) -> Ran:
    curves = {name: curve(*one, statistic=name) for name, one in {"x": values, **more}.items()}
    outcome = curve(*([1.0] * 60 + [0.0] * 40 if collapses else [0.9 + seed / 100] * 100))
    setting = Setting(seed, collapses, "tuning")
    return Ran("drawn", "pack", setting, 1.0, 100, outcome, told, curves, frozenset({"x", "y"}))


def fall(to: float, at: int = 50, start: float = 1.0) -> list[float]:
    return [start] * at + [to] * (100 - at)


def test_a_level_is_put_between_the_healthy_and_the_collapsing_of_the_statistic_that_tells_them_apart() -> (
    None
):
    healthy = [ran(i, False, fall(0.8), y=fall(0.2 + i)) for i in range(3)]
    collapsing = [ran(i, True, fall(0.4 - i / 10), y=fall(0.3 + i)) for i in range(3)]
    chart = fitted([*healthy, *collapsing])["level, tuned"]["pack"]
    assert chart.statistic == "x"
    assert "below 0.6" in chart.limits
    assert [chart.alarm(one) for one in healthy] == [None] * 3
    alarms = [chart.alarm(one) for one in collapsing]
    assert all(at is not None and at.step == 50 for at in alarms)
    assert all(chart.first(np.array(fall(0.1, at=2))) == max(2, warm) for warm in WARM_UPS[:1])


# -- what is counted -------------------------------------------------------------------------------------------------


def told(step: int, *, message: bool, pack: str = "pack", kind: str = "fired") -> Told:
    return Told("rule", pack, "family", "warning", kind, step, "x", message, "It falls.")


def test_pages_of_the_pack_count_as_found_and_pages_of_any_as_false() -> None:
    runs = [
        ran(0, True, fall(0.5, 30), (told(20, message=False), told(40, message=True))),
        ran(1, True, fall(0.5, 30), (told(30, message=True, pack="other"),)),
        ran(2, True, fall(0.5, 30), (told(90, message=True),)),
        ran(0, False, fall(1.0), (told(10, message=True, kind="resolved"),)),
        ran(1, False, fall(1.0), (told(30, message=True, pack="other"),)),
        ran(2, False, fall(1.0), (told(30, message=False),)),
    ]
    compared = subjects(runs)
    ours = total(counted(compared["foreshock"], runs, {"drawn": "high"}).values())
    assert (ours.collapsing, ours.found, ours.healthy, ours.false, ours.false_own) == (3, 2, 3, 1, 0)
    assert ours.healthy_steps == 300
    assert ours.leads == [62 - 40, 62 - 90]
    assert ours.left == [0.5, 0.5]
    warned = total(counted(compared["foreshock, warnings too"], runs, {"drawn": "high"}).values())
    assert (warned.found, warned.false, warned.false_own) == (2, 2, 1)
    assert warned.leads[0] == 62 - 20
    level = total(counted(compared["level, tuned"], runs, {"drawn": "high"}).values())
    assert (level.found, level.false) == (3, 0)
    assert level.leads == [32] * 3


def test_who_alarms_before_there_is_a_cause_has_found_nothing() -> None:
    drawn = [
        ran(0, True, fall(0.5, 70), (told(20, message=True),)),
        ran(1, True, fall(0.5, 70), (told(45, message=True),)),
        ran(0, False, fall(1.0)),
    ]
    runs = [Ran(**{**vars(one), "begins": 40}) for one in drawn]
    ours = total(counted(subjects(runs)["foreshock"], runs, {"drawn": "high"}).values())
    assert (ours.collapsing, ours.found, ours.leads) == (2, 1, [62 - 45])


def test_what_the_outcome_never_shows_is_counted_apart() -> None:
    flat = Curve("x", np.arange(100), np.full(100, 0.95))
    collapsing = ran(0, True, fall(0.5), (told(40, message=True),))
    runs = [Ran(**{**vars(collapsing), "outcome": flat}), ran(1, False, fall(1.0))]
    (score,) = counted(subjects(runs)["foreshock"], runs, {"drawn": "high"}).values()
    assert (score.leads, score.unseen) == ([], [60])


@pytest.mark.parametrize(
    ("now", "left"), [(0.25, 0.25), (4.0, 0.25), (1.0, 1.0), (0.0, None), (math.nan, None)]
)
def test_what_is_left_of_the_beginning_is_the_same_for_what_falls_and_what_rises(
    now: float, left: float | None
) -> None:
    assert curve(*[1.0] * 20, *[now] * 20).left(39) == left


def test_levels_are_chosen_on_other_seeds_and_another_size_than_are_reported() -> None:
    assert not set(campaign.TUNING_SEEDS) & set(campaign.REPORTED_SEEDS)
    sizes = {one.seed: one.size for one in campaign.settings()}
    assert all(sizes[seed] == "tuning" for seed in campaign.TUNING_SEEDS)
    assert all(sizes[seed] == "reported" for seed in campaign.REPORTED_SEEDS)
    assert len(campaign.settings()) == 2 * (len(campaign.TUNING_SEEDS) + len(campaign.REPORTED_SEEDS))
