"""A frame of a writer -> its columns that some rule watches, grouped as they are gone through. Neither ever changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Series
from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.joint import Joint
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.store.layout import Slot
from foreshock_server.store.rows import RowGroup

_MATCHES_KEPT = 50_000  # descriptions of series: runs of one project have the same


class Subject(NamedTuple):
    """What rules and sentences need of a series; lighter than its row, as many are kept."""

    series_id: int
    key: str
    statistic: str
    family: str
    place: str
    unit: str
    labels: dict[str, Any]
    axis: dict[str, Any] | None = None  # of a vector


class Skim(NamedTuple):
    """The columns of a rule for which most readings change nothing, so that all are looked at in one go."""

    rule: Rule
    rank: int  # of the rule among those in force
    positions: NDArray[np.intp]
    series_ids: NDArray[np.int64]


class Column(NamedTuple):
    """A column and a rule for which every reading counts."""

    rule: Rule
    rank: int
    position: int
    series_id: int


class Vector(NamedTuple):
    """The columns of a vector and a rule, which sees one number a step of them."""

    rule: Rule
    rank: int
    slot: Slot
    names: tuple[str, ...]  # of the entries


class Presence(NamedTuple):
    """The columns of a series and a rule that asks whether it comes."""

    rule: Rule
    rank: int
    slot: Slot


class Blend(NamedTuple):
    """The columns from which a rule derives its readings."""

    rule: Rule
    rank: int
    home: int | None  # the series that what all of them make is kept under; None: each of `first` has its own
    first: tuple[Slot, ...]  # of the series that the rule is about
    other: tuple[Slot, ...]  # of those they are compared with


class Junction(NamedTuple):
    """A rule about what others say, some of which watch series of this frame."""

    rule: Rule
    rank: int
    joint: Joint
    parts: tuple[frozenset[str], ...]  # of each part, the ids of its rules
    titles: Mapping[str, str]  # by the ids of all of them


class Guarded(NamedTuple):
    """The columns of a series and a rule that counts a reading only while what it rests on will do."""

    rule: Rule
    slot: Slot


class Plan(NamedTuple):
    """What rules watch of one frame."""

    skims: tuple[Skim, ...]
    columns: tuple[Column, ...]
    vectors: tuple[Vector, ...]
    presences: tuple[Presence, ...] = ()
    blends: tuple[Blend, ...] = ()
    junctions: tuple[Junction, ...] = ()
    boundaries: tuple[Column, ...] = ()  # of rules that say when a new task begins
    guarded: tuple[Guarded, ...] = ()
    companions: tuple[Slot, ...] = ()  # the series that some rule's readings may rest on


def there(slot: Slot, group: RowGroup) -> NDArray[np.bool_]:
    """Of each row of the group, whether it has a reading of the series; of a vector one entry is enough."""
    if group.absent is None:
        return np.ones(len(group.steps), np.bool_)
    absent = slot.of(group.absent)
    return np.asarray(~absent if absent.ndim == 1 else ~absent.all(axis=1), np.bool_)


def subjects(session: Session, run_id: str, after: int = 0) -> dict[int, Subject]:
    """The series of the run with a higher id, by id; they are numbered as they appear."""
    query = select(
        Series.series_id,
        Series.key,
        Series.statistic,
        Series.family,
        Series.place,
        Series.unit,
        Series.labels,
        Series.axis,
    ).where(Series.run_id == run_id, Series.series_id > after)
    return {row.series_id: Subject(*row) for row in session.execute(query)}


class Planner:
    """Which columns these rules watch."""

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._ranks = {rule.id: rank for rank, rule in enumerate(rules.rules)}
        self._matches: dict[tuple[Any, ...], tuple[Rule, ...]] = {}
        self._compared: dict[tuple[Any, ...], tuple[Rule, ...]] = {}
        self._junctions = [
            _junction(rule, rule.joint, self._ranks[rule.id], rules.parts_of(rule))
            for rule in rules.rules
            if rule.joint is not None
        ]

    def plan(self, places: Sequence[Slot], known: Mapping[int, Subject]) -> Plan:
        """Of a frame whose series lie in these places."""
        skimmed: dict[str, list[tuple[int, int]]] = {}
        single: list[Column] = []
        vectors: list[Vector] = []
        derived: dict[str, list[Slot]] = {}
        presences: list[Presence] = []
        guarded: list[Guarded] = []
        boundaries: list[Column] = []
        for slot in places:
            for rule in self._matching(known[slot.series_id]):
                rank = self._ranks[rule.id]
                if rule.derive is not None:
                    derived.setdefault(rule.id, []).append(slot)
                    continue
                if rule.needs:
                    guarded.append(Guarded(rule, slot))
                if rule.listening is not None:
                    presences.append(Presence(rule, rank, slot))
                if isinstance(rule.detector, Absence):
                    continue
                if rule.boundary is not None and slot.width is None:
                    boundaries.append(Column(rule, rank, slot.first, slot.series_id))
                elif slot.width is not None:
                    vectors.append(Vector(rule, rank, slot, _names(known[slot.series_id], slot.width)))
                elif rule.detector.skips:
                    skimmed.setdefault(rule.id, []).append((slot.first, slot.series_id))
                else:
                    single.append(Column(rule, rank, slot.first, slot.series_id))
        skims = []
        for rule_id, found in skimmed.items():
            rank, (where, series_ids) = self._ranks[rule_id], np.array(found).T.copy()
            skims.append(Skim(self.rules.rules[rank], rank, where, series_ids))
        blends = tuple(self._blends(derived, places, known))
        companions = tuple(
            slot
            for slot in places
            if slot.width is None and known[slot.series_id].statistic in self.rules.companions
        )
        plan = Plan(
            tuple(skims),
            tuple(single),
            tuple(vectors),
            tuple(presences),
            blends,
            boundaries=tuple(sorted(boundaries, key=_told_first)),
            guarded=tuple(guarded),
            companions=companions,
        )
        return plan._replace(junctions=self._about(plan))

    def _about(self, plan: Plan) -> tuple[Junction, ...]:
        """The joint rules about those that are at work in this plan."""
        if not self._junctions:
            return ()
        work: list[Skim | Column | Vector | Blend] = [
            *plan.skims,
            *plan.boundaries,
            *plan.columns,
            *plan.vectors,
            *plan.blends,
        ]
        at_work = {one.rule.id for one in work}
        return tuple(one for one in self._junctions if not at_work.isdisjoint(one.titles))

    def _blends(
        self, first: Mapping[str, list[Slot]], places: Sequence[Slot], known: Mapping[int, Subject]
    ) -> Iterator[Blend]:
        """Of rules that derive their readings; `first`: by rule, the places of series that it is about."""
        other: dict[str, list[Slot]] = {}
        for slot in places:
            for rule in self._comparing(known[slot.series_id]):
                other.setdefault(rule.id, []).append(slot)
        for rule_id in {**first, **other}:
            rank = self._ranks[rule_id]
            rule = self.rules.rules[rank]
            if rule.derive is not None and rule.derive.many:
                for home, some in self._groups(rule, first[rule_id], known).items():
                    yield Blend(rule, rank, home, tuple(some), ())
            else:
                yield Blend(rule, rank, None, tuple(first.get(rule_id, ())), tuple(other.get(rule_id, ())))

    def _groups(
        self, rule: Rule, slots: Sequence[Slot], known: Mapping[int, Subject]
    ) -> dict[int, list[Slot]]:
        """Those of one statistic and rank together, by the first series of the run that is one of them: later ones have higher ids."""
        homes: dict[tuple[str, str], int] = {}
        found: dict[int, list[Slot]] = {}
        for number, one in sorted(known.items()):
            if any(each is rule for each in self._matching(one)):
                homes.setdefault(_kind_of(one), number)
        for slot in slots:
            found.setdefault(homes[_kind_of(known[slot.series_id])], []).append(slot)
        return found

    def _matching(self, series: Subject) -> tuple[Rule, ...]:
        """The rules that are about this series."""
        return _kept(self._matches, series, self.rules.matching)

    def _comparing(self, series: Subject) -> tuple[Rule, ...]:
        """The rules that compare others with this series."""
        return _kept(self._compared, series, self.rules.comparing)


def _junction(rule: Rule, joint: Joint, rank: int, parts: Sequence[Sequence[Rule]]) -> Junction:
    ids = tuple(frozenset(one.id for one in some) for some in parts)
    return Junction(rule, rank, joint, ids, {one.id: one.title for some in parts for one in some})


def _kept(
    found: dict[tuple[Any, ...], tuple[Rule, ...]],
    series: Subject,
    otherwise: Callable[[Subject], Iterable[Rule]],
) -> tuple[Rule, ...]:
    about = (series.statistic, series.family, series.place, *sorted(series.labels.items()))
    rules = found.get(about)
    if rules is None:
        if len(found) >= _MATCHES_KEPT:
            found.clear()
        rules = found[about] = tuple(otherwise(series))
    return rules


def _kind_of(series: Subject) -> tuple[str, str]:
    return series.statistic, series.labels.get("rank", "")


def _told_first(column: Column) -> bool:
    """What a run says of its tasks comes before what is found."""
    return column.rule.boundary != "announced"


def _names(series: Subject, size: int) -> tuple[str, ...]:
    """What the entries of this vector are called."""
    axis = series.axis or {"name": "entry"}
    ticks = axis.get("ticks") or range(size)
    return tuple(
        f"{axis['name']} {one:g}" if isinstance(one, float) else f"{axis['name']} {one}" for one in ticks
    )
