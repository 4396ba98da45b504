"""Alerts, transitions and the ranges of the series -> one word for the run, and a strip of family by step that shows where.

A cell is the worst of what happened in its steps: `none` (the family has no readings there), `fine`, `resolved-spike` (a short
episode that is over), `watch` (a breach that is pending, or a warning), `collapsing` (a critical alert).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.deps import Reading
from foreshock_server.models import Alert, Series, Transition
from foreshock_server.store import latest
from foreshock_server.store.runs import get_run

router = APIRouter(tags=["alerts"])

NONE, FINE, SPIKE, WATCH, COLLAPSING = "none", "fine", "resolved-spike", "watch", "collapsing"
_WORSE = {NONE: 0, FINE: 1, SPIKE: 2, WATCH: 3, COLLAPSING: 4}
FIRING, PENDING = "firing", "pending"
SPIKE_CELLS = 2.0  # an episode that is over and shorter than this many cells is a spike

FAMILIES = (
    "policy entropy",
    "RL signal",
    "representation",
    "attention",
    "output logits",
    "experts",
    "codebook",
    "latents",
    "diversity",
    "plasticity",
    "optimiser",
    "numerics",
    "adaptation",
    "training",
    "monitor",
)  # in the order of the page; others follow by name


class Episode(NamedTuple):
    """From the first breach to the resolution of one alert, in steps."""

    family: str
    since: int
    critical: int | None  # from when on it was critical
    ended: int | None  # None: it goes on


@router.get("/runs/{run}/verdict")
def get_verdict(
    session: Reading,
    run: str,
    bins: Annotated[int, Query(ge=1, le=2000, description="cells per family")] = 120,
) -> dict[str, Any]:
    """Is the run fine, to be watched, or collapsing; since when, and in which family."""
    return verdict(session, run, bins)


def verdict(session: Session, run_id: str, bins: int) -> dict[str, Any]:
    """The verdict, the sentence of the worst alert, and per family a row of cells and the state now."""
    get_run(session, run_id)
    ranges = latest.ranges(session, run_id)
    if not ranges:
        return {"verdict": NONE, "message": None, "lead": None, "firing": 0, "bins": [], "families": []}
    episodes = _episodes(session, run_id)
    current = _current(session, run_id)
    episodes += [
        Episode(series.family, alert.since_step, None, None)
        for alert, series in current
        if alert.state == PENDING and alert.since_step is not None
    ]
    first = min(low for low, _ in ranges.values())
    last = max([high for _, high in ranges.values()] + [one.ended or one.since for one in episodes])
    cells = cut(first, last, bins)
    states = dict.fromkeys(ranges, FINE)
    for alert, series in current:
        worse = COLLAPSING if (alert.state, alert.severity) == (FIRING, "critical") else WATCH
        states[series.family] = max(states.get(series.family, FINE), worse, key=_WORSE.__getitem__)
    firing = [(alert, series.key) for alert, series in current if alert.state == FIRING]
    lead = min(firing, key=lambda one: (one[0].severity != "critical", one[0].fired_step or 0), default=None)
    return {
        "verdict": max(states.values(), key=_WORSE.__getitem__),
        "message": None if lead is None else lead[0].reading.get("message"),
        "lead": None if lead is None else {"rule": lead[0].rule, "series": lead[1]},
        "firing": len(firing),
        "bins": [list(cell) for cell in cells],
        "families": [
            {
                "family": family,
                "cells": paint(cells, ranges[family], [one for one in episodes if one.family == family]),
                "state": states[family],
            }
            for family in sorted(ranges, key=place_of)
        ],
    }


def cut(first: int, last: int, wanted: int) -> list[tuple[int, int]]:
    """The steps from first to last in at most so many cells of equal width, give or take a step; ends included."""
    count = min(wanted, last - first + 1)
    edges = [first + (last - first + 1) * number // count for number in range(count + 1)]
    return [(low, following - 1) for low, following in pairwise(edges)]


def paint(cells: Sequence[tuple[int, int]], data: tuple[int, int], episodes: Iterable[Episode]) -> list[str]:
    """One word per cell: the worst of what happened in its steps."""
    row = [FINE if low <= data[1] and high >= data[0] else NONE for low, high in cells]
    lows = [low for low, _ in cells]
    width = (cells[-1][1] - cells[0][0] + 1) / len(cells)
    for first, last, word in _stretches(episodes, cells[-1][1], width):
        for number in range(max(0, bisect_right(lows, first) - 1), bisect_right(lows, last)):
            if _WORSE[word] > _WORSE[row[number]]:
                row[number] = word
    return row


def _stretches(episodes: Iterable[Episode], end: int, width: float) -> Iterator[tuple[int, int, str]]:
    for one in episodes:
        # A resume from a checkpoint can end an episode at a lower step than it began.
        first, last = sorted((one.since, end if one.ended is None else one.ended))
        if one.ended is not None and last - first + 1 <= SPIKE_CELLS * width:
            yield first, last, SPIKE
            continue
        yield first, last, WATCH
        if one.critical is not None:
            yield min(one.critical, last), last, COLLAPSING


def _current(session: Session, run_id: str) -> list[tuple[Alert, Series]]:
    query = (
        select(Alert, Series)
        .join(Series, (Series.run_id == Alert.run_id) & (Series.series_id == Alert.series_id))
        .where(Alert.run_id == run_id, Alert.state.in_((FIRING, PENDING)))
    )
    return list(session.execute(query))


def _episodes(session: Session, run_id: str) -> list[Episode]:
    query = (
        select(
            Transition.rule,
            Transition.series_id,
            Transition.episode,
            Transition.kind,
            Transition.severity,
            Transition.step,
            Transition.since_step,
            Series.family,
        )
        .join(Series, (Series.run_id == Transition.run_id) & (Series.series_id == Transition.series_id))
        .where(Transition.run_id == run_id)
    )
    begun: dict[tuple[str, int, int], Episode] = {}
    later: list[tuple[tuple[str, int, int], str, int]] = []
    for rule, series_id, episode, kind, severity, step, since, family in session.execute(query):
        key = (rule, series_id, episode)
        if kind == "fired":
            begun[key] = Episode(
                family, step if since is None else since, step if severity == "critical" else None, None
            )
        else:
            later.append((key, kind, step))
    for key, kind, step in later:
        if key in begun and kind == "escalated":
            begun[key] = begun[key]._replace(critical=step)
        elif key in begun:
            begun[key] = begun[key]._replace(ended=step)
    return list(begun.values())


def place_of(family: str) -> tuple[int, str]:
    """Where a family stands on the page: in the order of FAMILIES, unknown ones after it by name."""
    return (FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family)
