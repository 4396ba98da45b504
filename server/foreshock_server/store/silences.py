"""Silences as rows: made, listed, taken back. One that is over stays in the list for a while, so that people see why nothing came."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownSilence
from foreshock_server.models import Silence

KEPT_SECONDS = 30 * 86400.0  # in the list, after its end


def create_silence(
    session: Session,
    *,
    project: str | None,
    matches: Mapping[str, Any],
    seconds: float,
    reason: str,
    made_by: str,
    now: float,
) -> Silence:
    """From now on, for so many seconds."""
    silence = Silence(
        id=uuid.uuid4().hex,
        project=project,
        matches=dict(matches),
        reason=reason,
        made_by=made_by,
        created_at=now,
        ends_at=now + seconds,
    )
    session.add(silence)
    session.flush()
    return silence


def get_silence(session: Session, silence_id: str) -> Silence:
    """The silence with this id."""
    silence = None if "\0" in silence_id else session.get(Silence, silence_id)
    if silence is None:
        raise UnknownSilence
    return silence


def end_silence(session: Session, silence: Silence, now: float) -> Silence:
    """Take it back: what goes on and was muted by it is told soon. One that is over stays as it is."""
    silence.ends_at = min(silence.ends_at, now)
    session.flush()
    return silence


def list_silences(
    session: Session, now: float, project: str | None = None, *, over: bool = False, limit: int = 200
) -> Sequence[Silence]:
    """Those in force, which end first; with `over` those that ended lately too. Of a project: its own and those of all."""
    since = now - KEPT_SECONDS if over else now
    query = select(Silence).where(Silence.ends_at > since).order_by(Silence.ends_at, Silence.id).limit(limit)
    if project is not None:
        query = query.where(_concerns(project))
    return session.scalars(query).all()


def in_force(session: Session, project: str, now: float) -> Sequence[Silence]:
    """Those that may mute alerts of this project now, the oldest first."""
    query = select(Silence).where(Silence.ends_at > now, _concerns(project))
    return session.scalars(query.order_by(Silence.created_at, Silence.id)).all()


def _concerns(project: str) -> ColumnElement[bool]:
    return or_(Silence.project.is_(None), Silence.project == project)
