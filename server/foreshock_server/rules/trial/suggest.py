"""Healthy runs and a wanted rate of false alarms -> the threshold that keeps it, with what it rests on, or why there is none.

A healthy run has an *extreme*: the farthest threshold at which the rule just fires in it. If the next healthy run is one like these
N (exchangeable: nothing tells it apart beforehand), its extreme is as likely to take any place among theirs, so that it lies beyond
the k-th farthest with a probability of at most k / (N + 1), whatever their distribution. So k = floor(rate · (N + 1)); with k = 0
there are too few runs to promise anything (this is split conformal prediction: Vovk, Gammerman and Shafer 2005).

Extremes are found by trying the rule with other thresholds on the runs, by the code that judges runs; so is what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from foreshock_server.db import Database
from foreshock_server.errors import Invalid
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.pack import Rule
from foreshock_server.rules.trial.asking import Bounds
from foreshock_server.rules.trial.knobs import KINDS, Knob, knob_of
from foreshock_server.rules.trial.replay import look, replay
from foreshock_server.store.naming import find_run

DIGITS = 3  # of the threshold that is suggested, rounded to its quiet side
PRECISE = 1e-3  # of the threshold: nearer it is not looked for
SURE = 0.95
_MOST_DOUBLINGS = 100


@dataclass
class _Healthy:
    """One run, and between which thresholds its extreme lies."""

    run: str
    name: str
    steps: int
    readings: int
    fires: float | None = None  # it fires at this one
    silent: float | None = None  # and not at this one


def suggest(
    database: Database,
    rule: Rule,
    healthy: Sequence[str],
    rate: float,
    *,
    project: str | None = None,
    bounds: Bounds | None = None,
) -> dict[str, Any]:
    """As JSON: `threshold` for `parameter` of the rule's detector, None with `refused` where nothing can be promised.

    `rate`: the share of healthy runs in which it may fire. Invalid for a rule whose detector has no such threshold.
    """
    knob = _knob_of(rule)
    trying = _Trying(database, rule, knob, bounds or Bounds())
    runs, unjudged = trying.gather(healthy, project)
    count = len(runs)
    allowed = math.floor(rate * (count + 1) + 1e-9)
    found: dict[str, Any] = {
        "rule": rule.id,
        "parameter": knob.name,
        "now": knob.value,
        "wanted_rate": rate,
        "threshold": None,
        "refused": None,
        "rests_on": {
            "runs": count,
            "steps": sum(one.steps for one in runs),
            "readings": sum(one.readings for one in runs),
            "unjudged": unjudged,
        },
    }
    if allowed < 1:
        return {**found, "refused": _too_few(rate, count, len(unjudged))}
    if knob.beside is not None and not trying.is_quiet(runs, allowed, knob.quietest):
        return {
            **found,
            "refused": f"{knob.beside} fires in too many of these {count} runs by itself: change that first.",
        }
    now = sum(trying.fires(one, knob.value) for one in runs)
    value = _allowed(knob, trying.search(runs, allowed))
    if value is None:
        return {
            **found,
            "refused": f"No `{knob.name}` that a pack may write is quiet enough in these {count} runs.",
        }
    firing = [one for one in runs if trying.fires(one, value)]
    return {
        **found,
        "threshold": value,
        "levels": knob.levels(value),  # what to write: the threshold, and what goes with it
        "fires_now_in": now,
        "fires_in": [one.run for one in firing],
        "promised_rate": allowed
        / (count + 1),  # of the next run like these, on average over such sets of runs
        "rate_at_most": _upper(allowed, count),  # with these very runs, in 95 of 100 such sets
        "says": _says(knob, value, allowed, count, len(firing), now),
    }


class _Trying:
    """The rule with one threshold after another."""

    def __init__(self, database: Database, rule: Rule, knob: Knob, bounds: Bounds) -> None:
        self._database, self._rule, self._knob, self._bounds = database, rule, knob, bounds

    def gather(self, wanted: Sequence[str], project: str | None) -> tuple[list[_Healthy], list[str]]:
        """The runs in which the rule comes to a verdict, and the ids of the others."""
        runs: list[_Healthy] = []
        unjudged: list[str] = []
        for name in wanted:
            with self._database.reading() as session:
                run = find_run(session, name, project)
                looked = look(session, run.id, RuleSet((self._rule,), {self._rule.id: ""}))
            if run.id in unjudged or any(run.id == one.run for one in runs):
                raise Invalid(f"The run {name!r} is named twice; name each once.", field="healthy")
            one = _Healthy(run.id, run.name, looked.steps[self._rule.id], looked.readings[self._rule.id])
            if one.readings and self.fires(one, self._knob.loudest):
                runs.append(one)
            else:
                unjudged.append(run.id)
        return runs, unjudged

    def fires(self, one: _Healthy, value: float) -> bool:
        """True when the rule with this threshold fires in the run."""
        sign = self._knob.quiet
        if one.fires is not None and sign * value <= sign * one.fires:
            return True
        if one.silent is not None and sign * value >= sign * one.silent:
            return False
        self._bounds.spend(one.readings)
        detector = self._knob.turned(self._rule.detector, value)
        rules = RuleSet((self._rule.model_copy(update={"detector": detector}),), {self._rule.id: ""})
        with self._database.reading() as session:
            said = next(iter(replay(session, one.run, rules, self._bounds.check)), None)
        if said is None:
            one.silent = value
        else:
            one.fires = value
        return said is not None

    def is_quiet(self, runs: Sequence[_Healthy], allowed: int, value: float) -> bool:
        """True when fewer than `allowed` of them fire."""
        return sum(self.fires(one, value) for one in runs) < allowed

    def search(self, runs: Sequence[_Healthy], allowed: int) -> float:
        """The tightest threshold, to some digits, with which fewer than `allowed` of them fire."""
        knob = self._knob

        def is_quiet(place: float) -> bool:
            return self.is_quiet(runs, allowed, knob.at(place))

        loud, silent = _bracket(knob.place, knob.quiet, is_quiet)
        nothing = (abs(knob.place) or 1.0) / 1e6  # runs that ask for 0 end there

        def apart() -> float:
            """As a share of the threshold."""
            return abs(silent - loud) / (1.0 if knob.factors else max(abs(silent), abs(loud), nothing))

        while apart() > PRECISE:
            middle = loud + (silent - loud) / 2
            if is_quiet(middle):
                silent = middle
            else:
                loud = middle
        return knob.at(silent)


def _bracket(start: float, sign: int, is_quiet: Callable[[float], bool]) -> tuple[float, float]:
    """A threshold that is too tight and one that is not, around or beside the one the rule has."""
    stride = abs(start) / 8 or 1.0
    way = -sign if is_quiet(start) else sign
    last = start
    for _ in range(_MOST_DOUBLINGS):
        following = last + way * stride
        if is_quiet(following) == (way == sign):
            return (last, following) if way == sign else (following, last)
        last, stride = following, 2 * stride
    raise Invalid("No threshold separates these runs; are their readings of any use?", field="healthy")


def _rounded(value: float, sign: int) -> float:
    """To some digits, never to the loud side."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    steps = value / scale
    return float(f"{(math.ceil(steps - 1e-9) if sign > 0 else math.floor(steps + 1e-9)) * scale:.{DIGITS}g}")


def _allowed(knob: Knob, value: float) -> float | None:
    """Rounded, and such that a pack may write it; None where only a louder one could be written."""
    rounded = _rounded(value, knob.quiet)
    if knob.whole:
        rounded = float(math.ceil(rounded - 1e-9))
    within = min(max(rounded, knob.low), knob.high)
    louder = (within - rounded) * knob.quiet < 0
    return None if louder or (within == 0 and knob.low == 0) else within


def _knob_of(rule: Rule) -> Knob:
    if rule.joint is not None:
        raise Invalid(
            f"{rule.id} counts what other rules say; suggest a threshold for each of those.", field="rule"
        )
    knob = knob_of(rule.detector)
    if knob is None:
        raise Invalid(
            f"{rule.id} has a detector of the kind {rule.detector.kind!r}; a threshold can be suggested for {', '.join(KINDS)}. "
            "Of another rule, try its levels with `foreshock rules backtest`.",
            field="rule",
        )
    return knob


def _upper(allowed: int, count: int) -> float:
    """The rate that is not exceeded with SURE: that quantile of Beta(allowed, count + 1 - allowed)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        fewer = sum(math.comb(count, i) * middle**i * (1 - middle) ** (count - i) for i in range(allowed))
        low, high = (middle, high) if fewer > 1 - SURE else (low, middle)
    return high


def _too_few(rate: float, count: int, unjudged: int) -> str:
    needed = math.ceil(1 / rate - 1e-9) - 1
    others = f", and {unjudged} more in which the rule comes to no verdict" if unjudged else ""
    lowest = f"; with {count} no less than {1 / (count + 1):.1%} can be promised" if count else ""
    return (
        f"Too few healthy runs: a false alarm in at most {rate:.3g} of them needs {needed} at least, and there are {count}"
        f"{others}{lowest}."
    )


def _says(knob: Knob, value: float, allowed: int, count: int, firing: int, now: int) -> str:
    written = ", ".join(f"`{name}: {one:g}`" for name, one in knob.levels(value).items())
    spoken = (
        f"{written} fires in {firing} of these {count} healthy runs (now, at {knob.value:g}, in {now}), and in at "
        f"most {allowed / (count + 1):.1%} of further runs like them and as long; with these runs that may be "
        f"{_upper(allowed, count):.1%} (95 %)."
    )
    for name, level, side in knob.after:
        if level is not None and side * knob.quiet * (level - value) < 0:
            spoken += f" `{name}: {level:g}` does not fit it any more: change it, or leave it out."
    return spoken
