"""A channel whose sends fail -> tried rarely, by one message at a time, until one arrives; then all that waits goes.

Closed: everything is sent when it is due. After SENDS failures in a row it is open: nothing is sent until `quiet_until`, then a
single message tries (half-open). When it fails too the next silence is longer, up to LONGEST. Kept in the database, so that all
workers know, and a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select, update
from sqlalchemy.orm import Session

from foreshock_server.models import Breaker
from foreshock_server.store.once import insert_once

SENDS = 5  # failures in a row after which a channel counts as failing
SHORTEST, LONGEST = 30.0, 900.0  # seconds of silence: doubled with each failure

QUIET_UNTIL: ColumnElement[float] = func.coalesce(Breaker.quiet_until, 0.0)


def room(usual: int) -> ColumnElement[int]:
    """How many sends to a channel may be in course at once."""
    return case((Breaker.failures >= SENDS, 1), else_=usual)


def broke(session: Session, channel_id: str, now: float, error: str, chance: float) -> Breaker:
    """A send failed; the breaker as it is now. Its row stays locked until the transaction ends."""
    insert_once(session, Breaker, {"channel_id": channel_id, "failures": 0, "quiet_until": 0.0})
    breaker = session.scalars(
        update(Breaker)
        .where(Breaker.channel_id == channel_id)
        .values(
            failures=Breaker.failures + 1,
            failing_since=func.coalesce(Breaker.failing_since, now),
            error=error,
        )
        .returning(Breaker),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).one()
    if breaker.failures >= SENDS:
        breaker.quiet_until = now + silence(breaker.failures, chance)
        session.flush()
    return breaker


def silence(failures: int, chance: float) -> float:
    """Seconds until the next try: 30, 60, 120 … 900, with a quarter of jitter; chance is in [0, 1)."""
    return min(LONGEST, SHORTEST * 2.0 ** min(failures - SENDS, 10)) * (0.75 + 0.5 * chance)


def worked(session: Session, channel_id: str) -> bool:
    """A send arrived; True when sends had failed before. Costs a healthy channel no write."""
    mended = session.scalar(
        update(Breaker)
        .where(Breaker.channel_id == channel_id, Breaker.failures > 0)
        .values(failures=0, failing_since=None, quiet_until=0.0)
        .returning(Breaker.channel_id),
        execution_options={"synchronize_session": False},
    )
    return mended is not None


def forget(session: Session, channel_id: str) -> None:
    """The channel is gone, or another than it was."""
    session.execute(delete(Breaker).where(Breaker.channel_id == channel_id))


def breakers(session: Session) -> dict[str, Breaker]:
    """By channel; those that never failed have none."""
    return {breaker.channel_id: breaker for breaker in session.scalars(select(Breaker))}


def shown(breaker: Breaker | None, now: float) -> Mapping[str, Any]:
    """How a channel is: closed, open (until when) or half-open; and why."""
    if breaker is None or breaker.failures == 0:
        return {"state": "closed", "failures": 0, "since": None, "until": None, "error": None}
    resting = breaker.quiet_until > now
    state = "closed" if breaker.failures < SENDS else "open" if resting else "half-open"
    return {
        "state": state,
        "failures": breaker.failures,
        "since": breaker.failing_since,
        "until": breaker.quiet_until if resting else None,
        "error": breaker.error,
    }
