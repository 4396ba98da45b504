"""A series of a run -> a rule that watches it: a level beyond what was read, with its runbook begun and its tests drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray

from foreshock_server.deps import Reading
from foreshock_server.errors import Invalid
from foreshock_server.models import Series
from foreshock_server.rules.detectors import ForecastDrop, Shift
from foreshock_server.rules.load import RuleSet
from foreshock_server.rules.matching import ALL_RANKS, SeriesLike
from foreshock_server.rules.own.places import written
from foreshock_server.rules.own.view import taken
from foreshock_server.store.overview import shown
from foreshock_server.store.runs import get_run
from foreshock_server.store.series import find_all

router = APIRouter(tags=["rules"])

POINTS = 2000  # readings that a level is proposed from, of a longer series its extremes
MEDIAN = 5  # readings whose median is compared
DIGITS = 3

Way = Literal["below", "above"]


class Usual(NamedTuple):
    """What was read: the hundredth from the bottom, the middle, the hundredth from the top."""

    low: float
    middle: float
    high: float


@router.get("/runs/{run}/rule-proposal")
def propose_rule(
    request: Request,
    session: Reading,
    run: str,
    series: Annotated[str, Query(min_length=1, max_length=1000, description="key of the series")],
    way: Annotated[
        Way | None, Query(description="which side is bad; left out: as the rules that watch it have it")
    ] = None,
) -> dict[str, Any]:
    """A rule for this series, to begin from: its text, its tests, and the level with what it rests on. Nothing is stored."""
    row = get_run(session, run)
    (found,) = find_all(session, run, [series])
    rules = request.app.state.rulebook.look(session)
    values = shown(session, run, [found], POINTS)[found.series_id].columns.values
    usual = usual_of(np.asarray(values, np.float64))
    side = way or usual_way(rules, found)
    level = level_of(usual, side)
    rule = draft(found, side, level, usual, f"{row.project}/{row.name}", taken(session, rules, None))
    return {
        "run": run,
        "series": series,
        "way": side,
        "level": level,
        "usual": usual._asdict(),
        "text": written(rule),
        "tests": _tests(found, side, level, usual),
    }


def usual_of(values: NDArray[np.float64]) -> Usual:
    """Of finite readings; of a vector, of all its entries. Invalid where there is none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise Invalid(
            "This series has no reading that is a number: a level cannot be proposed.", field="series"
        )
    low, middle, high = np.quantile(finite, [0.01, 0.5, 0.99]).tolist()
    return Usual(low, middle, high)


def usual_way(rules: RuleSet, series: SeriesLike) -> Way:
    """The side that the rules in force call bad; above, where none says."""
    for rule in rules.matching(series):
        detector = rule.detector
        if isinstance(detector, ForecastDrop) or (isinstance(detector, Shift) and detector.kind == "drop"):
            return "below"
        if isinstance(detector, Shift) or getattr(detector, "above", None) is not None:
            return "above"
        if getattr(detector, "below", None) is not None:
            return "below"
    return "above"


def level_of(usual: Usual, way: Way) -> float:
    """As far beyond the farthest hundredth as that is from the middle; of what is never negative at least half of the lowest.

    Rounded away from what was read, to three digits of that distance.
    """
    end = usual.low if way == "below" else usual.high
    apart = abs(end - usual.middle) or abs(usual.middle) / 10 or 1.0
    level = end - apart if way == "below" else end + apart
    if way == "below" and usual.low > 0 and level <= 0:
        level = usual.low / 2
    scale = 10.0 ** (math.floor(math.log10(abs(level))) - DIGITS + 1) if level else 1.0
    steps = math.floor(level / scale) if way == "below" else math.ceil(level / scale)
    return float(f"{steps * scale:.{DIGITS}g}")


def draft(
    series: Series, way: Way, level: float, usual: Usual, run: str, taken: Collection[str]
) -> dict[str, Any]:
    """The rule as a pack would write it."""
    name, where = series.statistic, f" at {series.place}" if series.place else ""
    said = f"{name}{where} is {way} {level:g}"
    read = f"{usual.low:.3g} to {usual.high:.3g}, its median {usual.middle:.3g}"
    return {
        "id": free_id(f"{name}-{way}", taken),
        "title": f"{name} {way} {level:g}",
        "family": series.family,
        "severity": "warning",
        "matches": [_match(series)],
        "detector": {"kind": "threshold", way: level, "median": MEDIAN},
        "for_steps": 0,
        "runbook": {
            "meaning": f"{said}. In {run} it was {read} (98 % of its readings).",
            "check": ["the chart of this series, and what else changed before the step that the alert names"],
            "try": [
                {
                    "text": "compare with the last checkpoint from before that step; write here what helped",
                    "basis": "inference",
                    "source": "general advice, which whoever keeps this rule should make better",
                }
            ],
        },
        "source": f"level proposed from the readings of {run}",
    }


def free_id(wanted: str, taken: Collection[str]) -> str:
    """An id like this that nobody has."""
    stem = re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-")[:80].strip("-") or "rule"
    number, found = 2, stem if len(stem) > 1 else f"{stem}-1"
    while found in taken:
        number, found = number + 1, f"{stem}-{number}"
    return found


def _match(series: Series) -> dict[str, Any]:
    rank = series.labels.get("rank", ALL_RANKS)
    others = {key: _exactly(one) for key, one in series.labels.items() if key not in ("place", "rank")}
    match: dict[str, Any] = {"statistic": _exactly(series.statistic), "place": _exactly(series.place)}
    if rank != ALL_RANKS and re.fullmatch(r"\d{1,6}", rank):
        match["rank"] = rank
    return {**match, **({"labels": others} if others else {})}


def _exactly(name: str) -> str:
    """As a glob that fits this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _tests(series: Series, way: Way, level: float, usual: Usual) -> str:
    """Empty for a series whose names a drawing cannot be about."""
    names = [series.statistic, *(part for pair in series.labels.items() for part in pair)]
    if any(re.search(r"[{},=\s]", one) for one in names):
        return ""
    labels = ",".join(f"{name}={value}" for name, value in series.labels.items())
    key = f"{series.statistic}{{{labels}}}" if labels else series.statistic
    apart = abs(level - usual.middle) / 4
    beyond = level - apart if way == "below" else level + apart
    cases = [
        (
            "it goes beyond the level and stays there",
            f"{usual.middle:.4g}x20 {beyond:.4g}x20",
            [20, 20 + MEDIAN],
        ),
        ("it stays as it was", f"{usual.middle:.4g}x60", "never"),
    ]
    about = {"family": series.family, "unit": series.unit}
    return written(
        {
            "tests": [
                {"name": name, "series": {key: {"draw": drawing, **about}}, "fires": fires}
                for name, drawing, fires in cases
            ]
        }
    )
