"""Rules and stored runs -> where each rule would have fired, how early, and in how many healthy runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from foreshock_server.db import Database
from foreshock_server.errors import Invalid
from foreshock_server.models import Run
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.state import Kind
from foreshock_server.rules.trial.asking import Bounds
from foreshock_server.rules.trial.curves import Levels, curve_of, last_levels
from foreshock_server.rules.trial.replay import Looked, Said, look, replay
from foreshock_server.store.naming import find_run

MOST_TOLD = 200  # transitions of one rule in one run that are told one by one
_PER_TRANSITION = 100  # readings that cost as much


@dataclass(frozen=True)
class Subjected:
    """A run that rules were tried on."""

    run: Run
    healthy: bool
    outcome: int | None  # the step at which people saw it
    looked: Looked
    said: Mapping[str, list[Said]] = field(default_factory=dict)  # by rule, in the order of steps
    ends: Mapping[str, Mapping[str, Levels]] = field(
        default_factory=dict
    )  # by rule and series: the last lines


class Asked(NamedTuple):
    """A run to try the rules on."""

    run: str  # id or name
    healthy: bool = False  # nothing should fire in it
    outcome: int | None = None  # the step at which people saw it


def backtest(
    database: Database,
    rules: RuleSet,
    asked: Sequence[Asked],
    *,
    project: str | None = None,
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """What these rules say of these runs, as JSON. `project`: only its runs are there. Each run is read in one moment of its own."""
    bounds = bounds or Bounds()
    tried: list[Subjected] = []
    for one in asked:
        with database.reading() as session:
            run = find_run(session, one.run, project)
            if any(run.id == other.run.id for other in tried):
                raise Invalid(f"The run {one.run!r} is named twice; name each once.", field="runs")
            looked = look(session, run.id, rules)
            # Of a rule that waits for news most readings cost next to nothing.
            bounds.spend(
                sum(looked.readings[rule.id] * (0.05 if rule.detector.skips else 1.0) for rule in rules.rules)
            )
            said: dict[str, list[Said]] = {}
            ends: dict[str, dict[str, Levels]] = {}
            for each in replay(session, run.id, rules, bounds.check, partial(last_levels, ends)):
                bounds.spend(_PER_TRANSITION)
                said.setdefault(each.rule, []).append(each)
            for some in said.values():
                some.sort(key=lambda each: (each.attempt, each.change.step))  # writers came one after another
            tried.append(Subjected(run, one.healthy, one.outcome, looked, said, ends))
    return _report(rules, tried)


def _report(rules: RuleSet, tried: Sequence[Subjected]) -> dict[str, Any]:
    return {
        "rules": [_of_rule(rule.id, rule.title, tried) for rule in rules.rules],
        "runs": [
            {
                "run": one.run.id,
                "project": one.run.project,
                "name": one.run.name,
                "healthy": one.healthy,
                "outcome_step": one.outcome,
                "last_step": one.run.last_step,
            }
            for one in tried
        ],
    }


def _of_rule(rule: str, title: str, tried: Sequence[Subjected]) -> dict[str, Any]:
    runs = [_of_run(rule, one) for one in tried if not one.healthy]
    healthy = [one for one in tried if one.healthy]
    looked = [one for one in healthy if one.looked.readings[rule]]
    fired = [one.run.id for one in looked if _first(one.said.get(rule, ())) is not None]
    return {
        "rule": rule,
        "title": title,
        "runs": runs,
        "healthy_runs": [_of_run(rule, one) for one in healthy],
        "healthy": {
            "runs": len(healthy),
            "watched": len(looked),  # those that have a series for it
            "steps": sum(one.looked.steps[rule] for one in looked),
            "fired": len(fired),
            "fired_in": fired,
        },
        "summary": _summary(runs, len(fired), len(looked)),
    }


def _of_run(rule: str, one: Subjected) -> dict[str, Any]:
    said = one.said.get(rule, [])
    first = _first(said)
    step = None if first is None else first.change.step
    told = {
        "run": one.run.id,
        "watched": len(one.looked.series[rule]),
        "readings": one.looked.readings[rule],
        "fired_step": step,
        "attempt": None if first is None else first.attempt,
        "since_step": None if first is None else first.change.since_step,
        "severity": None if first is None else first.change.severity.value,
        "series": None if first is None else first.key,
        "level": None if first is None else first.change.detail["level"],  # of its readings, that fired
        "share_of_baseline": None if first is None else first.change.detail["share_of_baseline"],
        "message": None if first is None else first.change.detail["message"],
        "critical_step": next(
            (each.change.step for each in said if each.change.severity.value == "critical"), None
        ),
        "resolved_step": _resolved(said),
        "firings": sum(each.change.kind is Kind.FIRED for each in said),
        "places": len({each.key for each in said if each.change.kind is Kind.FIRED}),
        "lead": None if step is None or one.outcome is None else one.outcome - step,
        "shown": curve_of(
            [one.key for one in one.looked.series[rule]], said, one.ends.get(rule, {}), one.run.last_step
        ),
        "transitions": [_told(each) for each in said[:MOST_TOLD]],
        "transitions_left_out": max(0, len(said) - MOST_TOLD),
    }
    return {**told, "summary": _described(told)}


def _first(said: Iterable[Said]) -> Said | None:
    return next((one for one in said if one.change.kind is Kind.FIRED), None)


def _resolved(said: Iterable[Said]) -> int | None:
    """The step from which no series fired any more, for the first time."""
    firing: set[str] = set()
    for one in said:
        if one.change.kind is Kind.RESOLVED:
            firing.discard(one.key)
            if not firing:
                return one.change.step
        else:
            firing.add(one.key)
    return None


def _told(one: Said) -> dict[str, Any]:
    change = one.change
    return {
        "series": one.key,
        "episode": change.episode,
        "kind": change.kind.value,
        "severity": change.severity.value,
        "attempt": one.attempt,
        "step": change.step,
        "since_step": change.since_step,
        "at": change.at,
    }


def _summary(runs: Sequence[Mapping[str, Any]], fired_healthy: int, healthy: int) -> str:
    """One line: `fired at 412, 74 % of baseline, lead 530 steps, 0 of 12 healthy runs`."""
    watched = [one for one in runs if one["watched"]]
    fired = [one for one in watched if one["fired_step"] is not None]
    parts = []
    if len(watched) == 1:
        parts.append(watched[0]["summary"])
    elif watched:
        parts.append(f"fired in {len(fired)} of {len(watched)} runs")
        leads = sorted(one["lead"] for one in fired if one["lead"] is not None)
        if leads:
            parts.append(f"median lead {leads[(len(leads) - 1) // 2]:,} steps")
    elif runs:
        parts.append("no run has a series for it")
    if healthy:
        parts.append(f"{fired_healthy} of {healthy} healthy runs")
    return ", ".join(parts)


def _described(one: Mapping[str, Any]) -> str:
    """Of one run."""
    if not one["watched"]:
        return "no series for it"
    if one["fired_step"] is None:
        return "did not fire"
    parts = [f"fired at {one['fired_step']:,}"]
    if one["share_of_baseline"] is not None:
        parts.append(f"{one['share_of_baseline']:.0%} of baseline".replace("%", " %"))
    if one["lead"] is not None:
        early = one["lead"] >= 0
        parts.append(f"lead {one['lead']:,} steps" if early else f"{-one['lead']:,} steps after the outcome")
    if one["resolved_step"] is not None:
        parts.append(f"resolved at {one['resolved_step']:,}")
    return ", ".join(parts)
