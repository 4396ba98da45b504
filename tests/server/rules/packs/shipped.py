"""The drawn tests that ship with the built-in packs, by rule; and what they say its statistic reads in health and in illness."""

from __future__ import annotations

import functools
from collections import defaultdict
from statistics import median
from typing import NamedTuple

from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.trial.cases import Case
from foreshock_server.rules.trial.drawing import draw
from foreshock_server.rules.trial.files import builtin_cases

BEFORE = 20  # readings before the illness that say what is healthy


class Shipped(NamedTuple):
    """The tests of one rule."""

    rule: Rule
    rules: RuleSet  # of its pack
    cases: tuple[Case, ...]

    @property
    def firing(self) -> list[Case]:
        """In which it falls ill after having been well."""
        return [one for one in self.cases if _first(one) > 0]

    @property
    def begins_ill(self) -> list[Case]:
        """In which it is ill from the first step: told then, or seen to be passed over."""
        return [one for one in self.cases if one.fires != "never" and not _first(one)]

    @property
    def quiet(self) -> list[Case]:
        """In which it is well throughout."""
        return [one for one in self.cases if one.fires == "never"]


class Levels(NamedTuple):
    """Of a rule's statistic, as its firing test draws it."""

    healthy: float
    ill: float
    every: int  # steps from one reading to the next
    statistic: str


@functools.cache
def shipped() -> dict[str, Shipped]:
    """By the id of the rule."""
    found: dict[str, Shipped] = {}
    for file, rules in builtin_cases():
        cases = defaultdict(list)
        for one in file.tests:
            cases[one.rule].append(one)
        found |= {
            rule.id: Shipped(rule, rules, tuple(cases[rule.id])) for rule in rules.rules if rule.id in cases
        }
    return found


def levels_of(rule_id: str) -> Levels:
    """Before the illness, and where its end is expected to be ill."""
    case = shipped()[rule_id].firing[0]
    ((key, drawing),) = case.series.items()
    assert isinstance(drawing, str)
    value = {one.step: one.value for one in draw(drawing, every=case.every) if one.value is not None}
    first, until = _first(case), case.expect[0].range[1]
    healthy = median(
        value[step] for step in sorted(value) if step < first and step >= first - BEFORE * case.every
    )
    return Levels(healthy, value[until], case.every, key.partition("{")[0])


def _first(case: Case) -> int:
    """The step from which on it may fire; 0 also for one that is not said to fire."""
    if case.fires is None or case.fires == "never":
        return 0
    return int(case.fires[0] if isinstance(case.fires, list) else case.fires)
