"""Runs -> the one series of each that tells most, as a few dozen points: what the list of runs draws."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from foreshock_server.models import Run, Series
from foreshock_server.query.columns import draw
from foreshock_server.query.vectors import course
from foreshock_server.store.latest import Counted, up_to_date
from foreshock_server.store.numbers import written
from foreshock_server.store.overview import shown

# What a run is led by: the first of these that it has, else its first series.
STATISTICS = (
    "policy_entropy",
    "policy_entropy_normalized",
    "effective_rank",
    "effective_rank_normalized",
    "embedding_std",
    "loss",
)
SPARK = 60  # points
DIGITS = 4  # of each, for a line that is thirty pixels high
KEEP = 10.0  # times as long as it took to draw them, sparks of runs that go on are shown again: many may be looking
PATIENCE = 0.01  # seconds after which no more old sparks are drawn anew for one answer …
TOGETHER = 4  # … and so many are between two looks at the clock
_KEPT = 2000  # sparks held in memory


class _Kept(NamedTuple):
    revision: int  # of the run, that it was drawn from
    until: float  # on the monotonic clock: shown till then, whatever the run does
    lead: dict[str, Any]


class Leads:
    """Remembers each run's spark until the run changes, and then for a while that is longer the busier this process is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def of(self, session: Session, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
        """The lead of each run that has a series. Old ones are drawn anew for PATIENCE seconds, the oldest first; the others next time."""
        began = self._clock()
        with self._lock:
            known = {run.id: self._kept[run.id] for run in runs if run.id in self._kept}
        leads = {run_id: one.lead for run_id, one in known.items()}
        new = [run for run in runs if run.id not in known]
        leads |= self._draw(session, new, began) if new else {}
        old = [
            run
            for run in runs
            if run.id in known and known[run.id].revision != run.revision and known[run.id].until <= began
        ]
        old.sort(key=lambda run: known[run.id].until)
        for start in range(0, len(old), TOGETHER):
            leads |= self._draw(session, old[start : start + TOGETHER], began)
            if self._clock() - began > PATIENCE:
                break
        return leads

    def _draw(self, session: Session, runs: Sequence[Run], began: float) -> dict[str, dict[str, Any]]:
        """`began`: when the question did, which says how busy this process is."""
        revisions = {run.id: run.revision for run in runs}
        drawn = {series.run_id: _lead(session, series) for series in _choose(session, list(revisions))}
        until = self._clock()
        until += KEEP * (until - began)
        with self._lock:
            for run_id, lead in drawn.items():
                self._kept[run_id] = _Kept(revisions[run_id], until, lead)
                self._kept.move_to_end(run_id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return drawn


def _choose(session: Session, run_ids: Sequence[str]) -> list[Series]:
    if not run_ids:
        return []
    first = (
        select(Series.run_id, Series.statistic, func.min(Series.series_id))
        .where(Series.run_id.in_(run_ids), Series.statistic.in_(STATISTICS))
        .group_by(Series.run_id, Series.statistic)
    )
    best: dict[str, tuple[int, int]] = {}  # rank, series
    for run_id, statistic, number in session.execute(first):
        rank = STATISTICS.index(statistic)
        if run_id not in best or rank < best[run_id][0]:
            best[run_id] = (rank, number)
    others = [run_id for run_id in run_ids if run_id not in best]
    if others:
        any_first = select(Series.run_id, func.min(Series.series_id)).where(Series.run_id.in_(others))
        best.update(
            (run_id, (0, number)) for run_id, number in session.execute(any_first.group_by(Series.run_id))
        )
    chosen = [(run_id, number) for run_id, (_, number) in best.items()]
    query = select(Series).where(tuple_(Series.run_id, Series.series_id).in_(chosen))
    return list(session.scalars(query))


def _lead(session: Session, series: Series) -> dict[str, Any]:
    found = shown(session, series.run_id, [series], SPARK)[series.series_id]
    drawn = draw(series, found, SPARK).columns
    if (
        series.axis is None and found.exact
    ):  # its readings are all here, and need not be counted to know the last
        last = written(float(found.columns.values[-1])) if len(found.columns) else None
    else:
        last = last_of(up_to_date(session, [series])[0])
    return {
        "key": series.key,
        "statistic": series.statistic,
        "unit": series.unit,
        "last": last,
        "spark": {
            "steps": drawn.steps.tolist(),
            "values": [written(float(f"{value:.{DIGITS}g}")) for value in course(drawn.values).tolist()],
        },
    }


def last_of(series: Series | Counted) -> float | str | None:
    """The latest reading as JSON says it; None when there is none yet."""
    return series.last_text if series.last_text is not None else series.last_value
