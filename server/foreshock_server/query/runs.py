"""Run rows -> runs as people read them: state, losses, what the monitor cost, verdict, lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foreshock_server.models import Project, Run, Series, Writer
from foreshock_server.query.families import families_of
from foreshock_server.query.leads import Leads, last_of
from foreshock_server.query.verdict import COLLAPSING, FINE, FIRING, NONE, PENDING, WATCH
from foreshock_server.settings import Settings
from foreshock_server.store import alerts, shelf
from foreshock_server.store.runs import RUNNING, list_attempts

SILENT = "silent"
DELETED = "deleted"  # only in live lists, which show what goes as well as what comes


def state_of(run: Run, settings: Settings, now: float) -> str:
    """running, finished, failed; silent: running as far as we were told, but nothing came for a while; or deleted."""
    if run.deleted_at is not None:
        return DELETED
    if run.state == RUNNING and now - run.updated_at > settings.silent_after:
        return SILENT
    return run.state


def verdict_of(run: Run, counts: Mapping[tuple[str, str], int]) -> str:
    """The run's verdict in one word, from its alerts counted by (state, severity): the one that query/verdict.py explains."""
    if not run.points:
        return NONE
    if counts.get((FIRING, "critical")):
        return COLLAPSING
    return (
        WATCH if any(state in (FIRING, PENDING) for (state, _), number in counts.items() if number) else FINE
    )


def overhead_percent(costs: Sequence[Mapping[str, Any]]) -> float | None:
    """Our time on the training threads as a share of their wall time, over all writers that said; None: none did."""
    wall = sum(cost.get("wall_seconds", 0.0) for cost in costs)
    ours = sum(cost.get("training_seconds", 0.0) for cost in costs if "wall_seconds" in cost)
    return round(100.0 * ours / wall, 4) if wall > 0 else None


# Under which names configurations say how many steps a run shall take.
_PLANNED = (
    "max_steps",
    "total_steps",
    "num_steps",
    "train_steps",
    "num_train_steps",
    "num_training_steps",
    "max_iters",
    "steps",
)


def planned_steps(config: Mapping[str, Any]) -> int | None:
    """How many steps the run's configuration says that it shall take; None: it does not say so in a known way."""
    said = (config.get(name) for name in _PLANNED)
    return next((one for one in said if type(one) is int and 0 < one < 2**53), None)


def as_json(
    session: Session, runs: Sequence[Run], leads: Leads, settings: Settings, now: float
) -> list[dict[str, Any]]:
    """The runs as a list shows them, in the same order."""
    ids = [run.id for run in runs]
    writers: dict[str, list[Writer]] = {}
    for writer in session.scalars(select(Writer).where(Writer.run_id.in_(ids))):
        writers.setdefault(writer.run_id, []).append(writer)
    counts = alerts.counts(session, ids)
    sparks = leads.of(session, runs)
    families, tags = families_of(session, runs), shelf.tags_of(session, ids)
    return [
        {
            "id": run.id,
            "project": run.project,
            "name": run.name,
            "state": state_of(run, settings, now),
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "revision": run.revision,
            "last_step": run.last_step,
            "points": run.points,
            "dropped": sum(writer.dropped for writer in writers.get(run.id, [])),
            "lost": _lost(writers.get(run.id, [])),
            "overhead_percent": overhead_percent([writer.cost for writer in writers.get(run.id, [])]),
            "verdict": verdict_of(run, counts.get(run.id, {})),
            "firing": sum(number for (state, _), number in counts.get(run.id, {}).items() if state == FIRING),
            "families": families.get(run.id, []),
            "lead": sparks.get(run.id),
            "planned_steps": planned_steps(run.config),
            "owner": run.owner,
            "tags": tags.get(run.id, []),
            "archived": run.archived_at is not None,
            "trashed_at": run.trashed_at,
            "url": f"{settings.page_url}/runs/{run.id}",
        }
        for run in runs
    ]


def details(session: Session, run: Run, writers: Sequence[Writer]) -> dict[str, Any]:
    """What the page of one run shows beyond the list."""
    return {
        "config": run.config,
        "note": run.note,
        "note_by": run.note_by,
        "note_at": run.note_at,
        "attempts": [
            {
                "attempt": attempt.attempt,
                "state": attempt.state,
                "started_at": attempt.started_at,
                "finished_at": attempt.finished_at,
                "info": attempt.info,
                "writers": [
                    {
                        "writer": writer.writer,
                        "acked": writer.acked_seq,
                        "final": writer.final_seq,  # null: not told; more than acked: blocks are still on their way
                        "dropped": writer.dropped,
                        "lost": writer.lost,
                        "cost": writer.cost,
                        "seen_at": writer.seen_at,
                    }
                    for writer in writers
                    if writer.attempt == attempt.attempt
                ],
            }
            for attempt in list_attempts(session, run.id)
        ],
    }


def series_json(series: Series) -> dict[str, Any]:
    """A series as people read it."""
    return {
        "key": series.key,
        "statistic": series.statistic,
        "family": series.family,
        "place": series.place,
        "labels": series.labels,
        "unit": series.unit,
        "dtype": series.dtype,
        "about": series.about,
        "axis": series.axis,
        "first_step": series.first_step,
        "last_step": series.last_step,
        "last": last_of(series),
        "points": series.points,
        "nonfinite": series.nonfinite,
    }


def projects(session: Session, only: str | None = None) -> list[dict[str, Any]]:
    """Every project, or only this one, with what it holds and how long that is kept, the latest first; those without a run last, by name."""
    query = (
        select(Run.project, func.count(), func.sum(Run.points), func.max(Run.updated_at))
        .where(Run.deleted_at.is_(None), Run.trashed_at.is_(None))
        .group_by(Run.project)
        .order_by(func.max(Run.updated_at).desc())
    )
    settled = select(Project).order_by(Project.name)
    if only is not None:
        query, settled = query.where(Run.project == only), settled.where(Project.name == only)
    kept = {row.name: row.retention_days for row in session.scalars(settled)}
    found = [
        {
            "project": name,
            "runs": number,
            "points": int(points),
            "updated_at": at,
            "retention_days": kept.pop(name, None),
        }
        for name, number, points, at in session.execute(query)
    ]
    return found + [
        {"project": name, "runs": 0, "points": 0, "updated_at": None, "retention_days": days}
        for name, days in kept.items()
    ]


def statistics(session: Session, only: str | None = None) -> list[dict[str, Any]]:
    """Every statistic that any run recorded, or any of this project, with one description of it."""
    place = func.row_number().over(
        partition_by=(Series.statistic, Series.family), order_by=(Series.run_id.desc(), Series.series_id)
    )
    gone = select(Run.id).where(Run.deleted_at.is_not(None))
    places = select(Series.run_id, Series.series_id, place.label("place")).where(Series.run_id.not_in(gone))
    if only is not None:
        places = places.join(Run, Run.id == Series.run_id).where(Run.project == only)
    ranked = places.subquery()
    query = (
        select(Series)
        .join(ranked, (Series.run_id == ranked.c.run_id) & (Series.series_id == ranked.c.series_id))
        .where(ranked.c.place == 1)
        .order_by(Series.family, Series.statistic)
    )
    return [
        {
            "statistic": series.statistic,
            "family": series.family,
            "unit": series.unit,
            "title": series.about.get("title"),
            "low": series.about.get("low"),
            "high": series.about.get("high"),
            "source": series.about.get("source"),
        }
        for series in session.scalars(query)
    ]


def _lost(writers: Sequence[Writer]) -> dict[str, int]:
    lost: dict[str, int] = {}
    for writer in writers:
        for reason, number in writer.lost.items():
            lost[reason] = lost.get(reason, 0) + number
    return lost
