"""The rows of a run that nobody may see -> gone, a portion at a time; its emptied row stays and says that it was deleted."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, literal, select, tuple_
from sqlalchemy.orm import Session

from foreshock_server.models import Base, Run
from foreshock_server.store import digests

MOST_ROWS = 1000  # in one transaction
MOST_BYTES = 8 * 2**20  # of blocks or segments in one transaction, unless a single one is larger
CLEANED = "deleted"  # state of a run without rows
IMPORTING = "importing"  # state of a run that is not all there yet; it is hidden like a deleted one

TABLES = (  # all that carry a run, in the order in which they are emptied
    "deliveries",
    "incidents",
    "alerts",
    "transitions",
    "merges",
    "rollups",
    "segments",
    "clocks",
    "blocks",
    "frames",
    "series",
    "writers",
    "attempts",
    "tags",
)
_VOLUME = {"blocks": "rows", "clocks": "data", "segments": "data", "rollups": "data"}


def is_clean(run: Run) -> bool:
    """True when nothing of this deleted run is left but its row."""
    return run.deleted_at is not None and run.state == CLEANED


def remove_some(session: Session, run_id: str) -> int:
    """How many rows of this deleted run went now; 0 when nothing is left, or another is at it."""
    run = session.get(Run, run_id, with_for_update={"skip_locked": True}, populate_existing=True)
    if run is None or is_clean(run):
        return 0
    digests.hand_over(session, run_id)  # one that was made while the run was deleted
    for name in TABLES:
        removed = _portion(session, name, run_id)
        if removed:
            return removed
    emptied(run)
    return 1


def emptied(run: Run) -> None:
    """Nothing but the row is left: what it says about people's work goes too."""
    run.state, run.name, run.config, run.points, run.owner = CLEANED, "", {}, 0, None


def _portion(session: Session, name: str, run_id: str) -> int:
    table = Base.metadata.tables[name]
    keys = list(table.primary_key.columns)
    mine = table.c.run_id == run_id
    size = func.length(table.c[_VOLUME[name]]) if name in _VOLUME else literal(0)
    found: list[tuple[Any, ...]] = []
    total = 0
    for *key, length in session.execute(select(*keys, size).where(mine).order_by(*keys).limit(MOST_ROWS)):
        total += length
        if found and total > MOST_BYTES:
            break
        found.append(tuple(key))
    if not found:
        return 0
    # From the first key to the last: one range of the primary key, however many rows.
    between = tuple_(*keys).between(tuple_(*found[0]), tuple_(*found[-1]))
    session.execute(delete(table).where(mine, between))
    return len(found)
