"""Trainings of both sizes -> how often, how early and how wrongly each of us alarmed in those that are reported, by family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.zoo.judging.outcome import shows
from tests.zoo.judging.rivals import Alarm, Chart, fitted
from tests.zoo.judging.trial import Ran

OURS, OURS_WARNINGS = "foreshock", "foreshock, warnings too"
_Alarms = Callable[[Ran], "Alarm | None"]


@dataclass(frozen=True)
class Subject:
    """One of those that are compared: what it says of a run with what it has for the run's family, and with all that it has."""

    own: _Alarms
    any: _Alarms


@dataclass
class Score:
    """Of one subject in one family, or in all of them."""

    collapsing: int = 0
    found: int = 0
    healthy: int = 0
    healthy_steps: int = 0
    false: int = 0  # healthy runs with any alarm
    false_own: int = 0  # with one of the family
    left: list[float] = field(default_factory=list)  # share of the baseline at the alarm
    leads: list[int] = field(default_factory=list)  # steps from the alarm until the outcome shows it
    unseen: list[int] = field(default_factory=list)  # and to the end of the run, where the outcome never does

    def add(self, other: Score) -> None:
        """What was counted elsewhere."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def subjects(tuning: Sequence[Ran]) -> dict[str, Subject]:
    """Ours as they ship, and the rivals, fitted to these runs."""
    return ours() | {name: _rival(charts) for name, charts in fitted(tuning).items()}


def ours() -> dict[str, Subject]:
    """The rules, with and without warnings that stay on the page."""
    return {OURS: _ours(pages=True), OURS_WARNINGS: _ours(pages=False)}


def counted(
    subject: Subject, reported: Sequence[Ran], better: Mapping[str, Literal["high", "low"]]
) -> dict[str, Score]:
    """By family; `better`: by pair, which way its outcome should go."""
    scores: dict[str, Score] = {}
    for one in reported:
        score = scores.setdefault(one.family, Score())
        if one.setting.collapses:
            twins = [two.outcome for two in reported if two.pair == one.pair and not two.setting.collapses]
            score.add(_of_collapsing(subject, one, shows(one.outcome, twins, better[one.pair])))
        else:
            score.add(_of_healthy(subject, one))
    return scores


def by_family(
    compared: Mapping[str, Subject], ran: Sequence[Ran], better: Mapping[str, Literal["high", "low"]]
) -> dict[str, dict[str, Score]]:
    """The families in order, and at last `all`: of each what was counted of each subject."""
    scores = {name: counted(subject, ran, better) for name, subject in compared.items()}
    families = sorted({one.family for one in ran})
    found = {family: {name: some[family] for name, some in scores.items()} for family in families}
    return found | {"all": {name: total(some.values()) for name, some in scores.items()}}


def total(scores: Iterable[Score]) -> Score:
    """Of all families."""
    everything = Score()
    for one in scores:
        everything.add(one)
    return everything


def _of_collapsing(subject: Subject, ran: Ran, shown: int | None) -> Score:
    alarm = subject.own(ran)
    if alarm is None or alarm.step < ran.begins:  # who alarms before there is a cause has not seen it
        return Score(collapsing=1)
    left = ran.watched[alarm.key].left(alarm.step) if alarm.key in ran.watched else None
    return Score(
        collapsing=1,
        found=1,
        left=[] if left is None else [left],
        leads=[] if shown is None else [shown - alarm.step],
        unseen=[ran.steps - alarm.step] if shown is None else [],
    )


def _of_healthy(subject: Subject, ran: Ran) -> Score:
    return Score(
        healthy=1,
        healthy_steps=ran.steps,
        false=int(subject.any(ran) is not None),
        false_own=int(subject.own(ran) is not None),
    )


def _ours(*, pages: bool) -> Subject:
    def of_pack(ran: Ran, pack: str | None) -> Alarm | None:
        told = ran.alarm(pages=pages, pack=pack)
        return None if told is None else Alarm(told.step, told.series)

    return Subject(lambda ran: of_pack(ran, ran.family), lambda ran: of_pack(ran, None))


def _rival(charts: Mapping[str, Chart]) -> Subject:
    def own(ran: Ran) -> Alarm | None:
        return charts[ran.family].alarm(ran) if ran.family in charts else None

    def first_of_all(ran: Ran) -> Alarm | None:
        return min((at for one in charts.values() if (at := one.alarm(ran)) is not None), default=None)

    return Subject(own, first_of_all)
