"""Attempts of a run -> what of each is superseded: a resume at a step reads anew what earlier attempts had read from there on."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from foreshock_server.models import Attempt

LAST = 2**63 - 1  # no step lies beyond it


def ends(session: Session, run_id: str) -> dict[int, int]:
    """Attempt -> the last step of it that no later attempt read anew (LAST: all of it stands)."""
    query = select(Attempt.attempt, Attempt.first_step).where(Attempt.run_id == run_id)
    found: dict[int, int] = {}
    end = LAST
    for attempt, first in session.execute(query.order_by(Attempt.attempt.desc())):
        found[attempt] = end
        if first is not None:
            end = min(end, first - 1)
    return found
