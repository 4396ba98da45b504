"""A frame of a writer -> its columns that some rule watches, grouped as they are gone through. Neither ever changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Series
from foreshock_server.rules.detectors import Absence
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.store.layout import Slot

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


class Plan(NamedTuple):
    """What rules watch of one frame."""

    skims: tuple[Skim, ...]
    columns: tuple[Column, ...]
    vectors: tuple[Vector, ...]
    presences: tuple[Presence, ...] = ()


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

    def plan(self, places: Sequence[Slot], known: Mapping[int, Subject]) -> Plan:
        """Of a frame whose series lie in these places."""
        skimmed: dict[str, list[tuple[int, int]]] = {}
        single: list[Column] = []
        vectors: list[Vector] = []
        presences: list[Presence] = []
        for slot in places:
            for rule in self._matching(known[slot.series_id]):
                rank = self._ranks[rule.id]
                if isinstance(rule.detector, Absence):
                    presences.append(Presence(rule, rank, slot))
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
        return Plan(tuple(skims), tuple(single), tuple(vectors), tuple(presences))

    def _matching(self, series: Subject) -> tuple[Rule, ...]:
        about = (series.statistic, series.family, series.place, *sorted(series.labels.items()))
        found = self._matches.get(about)
        if found is None:
            if len(self._matches) >= _MATCHES_KEPT:
                self._matches.clear()
            found = self._matches[about] = tuple(self.rules.matching(series))
        return found


def _names(series: Subject, size: int) -> tuple[str, ...]:
    """What the entries of this vector are called."""
    axis = series.axis or {"name": "entry"}
    ticks = axis.get("ticks") or range(size)
    return tuple(
        f"{axis['name']} {one:g}" if isinstance(one, float) else f"{axis['name']} {one}" for one in ticks
    )
