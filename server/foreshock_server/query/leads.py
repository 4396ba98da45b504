"""Runs -> the one series of each that tells most, as a few dozen points: what the list of runs draws."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from foreshock_server.models import Run, Series
from foreshock_server.query.columns import draw
from foreshock_server.store.columns import glimpse
from foreshock_server.store.numbers import written

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
_KEPT = 2000  # sparks held in memory


class Leads:
    """Remembers each run's spark until the run changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[int, dict[str, Any]]] = OrderedDict()

    def of(self, session: Session, runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
        """The lead of each run that has a series."""
        with self._lock:
            known = {run.id: self._kept[run.id] for run in runs if run.id in self._kept}
        leads = {run.id: known[run.id][1] for run in runs if known.get(run.id, (None,))[0] == run.revision}
        missing = {run.id: run for run in runs if run.id not in leads}
        for series in _choose(session, list(missing)):
            lead = _lead(session, series)
            leads[series.run_id] = lead
            with self._lock:
                self._kept[series.run_id] = (missing[series.run_id].revision, lead)
                self._kept.move_to_end(series.run_id)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return leads


def _choose(session: Session, run_ids: Sequence[str]) -> list[Series]:
    if not run_ids:
        return []
    best: dict[str, tuple[int, Series]] = {}
    query = select(Series).where(Series.run_id.in_(run_ids), Series.statistic.in_(STATISTICS))
    for series in session.scalars(query.order_by(Series.series_id)):
        rank = STATISTICS.index(series.statistic)
        if series.run_id not in best or rank < best[series.run_id][0]:
            best[series.run_id] = (rank, series)
    others = [run_id for run_id in run_ids if run_id not in best]
    if others:
        first = (
            select(Series.run_id, func.min(Series.series_id))
            .where(Series.run_id.in_(others))
            .group_by(Series.run_id)
        )
        query = select(Series).where(tuple_(Series.run_id, Series.series_id).in_(first))
        best.update((series.run_id, (0, series)) for series in session.scalars(query))
    return [series for _, series in best.values()]


def _lead(session: Session, series: Series) -> dict[str, Any]:
    drawn = draw(series, glimpse(session, series.run_id, series.series_id), SPARK).columns
    return {
        "key": series.key,
        "statistic": series.statistic,
        "unit": series.unit,
        "last": last_of(series),
        "spark": {
            "steps": drawn.steps.tolist(),
            "values": [written(value) for value in drawn.values.tolist()],
        },
    }


def last_of(series: Series) -> float | str | None:
    """The latest reading as JSON says it; None when there is none yet."""
    return series.last_text if series.last_text is not None else series.last_value
