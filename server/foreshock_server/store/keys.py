"""Keys and page sessions as rows: made, listed, ended. What is secret about them was hashed before it came here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from foreshock_server.errors import UnknownKey
from foreshock_server.models import Key, PageSession

SESSIONS_OF_A_KEY = 200  # the latest; older ones end


@dataclass(frozen=True)
class Known:
    """Everything that lets somebody in, at one moment."""

    keys: Mapping[str, Key]  # by id, without those revoked
    sessions: Mapping[str, PageSession]  # by digest, without those that are over
    ever: bool  # was there ever a key? Then nobody is let in without one, also after the last was revoked


def known(session: Session, now: float) -> Known:
    """What there is at this time; the rows stay readable after the session."""
    keys = session.scalars(select(Key).where(Key.revoked_at.is_(None))).all()
    sessions = session.scalars(select(PageSession).where(PageSession.expires_at > now)).all()
    ever = bool(keys) or session.scalar(select(Key.id).limit(1)) is not None
    for row in (*keys, *sessions):
        session.expunge(row)
    return Known({key.id: key for key in keys}, {one.digest: one for one in sessions}, ever)


def any_key(session: Session) -> bool:
    """True when there is a key that lets somebody in."""
    return session.scalar(select(Key.id).where(Key.revoked_at.is_(None)).limit(1)) is not None


def create_key(
    session: Session,
    *,
    key_id: str,
    digest: str,
    name: str,
    project: str | None,
    scopes: Sequence[str],
    now: float,
) -> Key:
    """The key; `digest` is all that is kept of its secret."""
    key = Key(
        id=key_id,
        digest=digest,
        name=name,
        project=project,
        scopes=list(scopes),
        created_at=now,
        used_at=None,
        revoked_at=None,
    )
    session.add(key)
    session.flush()
    return key


def list_keys(session: Session) -> Sequence[Key]:
    """All of them: those that hold first, then those revoked, each the latest first."""
    order = (Key.revoked_at.is_not(None), Key.created_at.desc(), Key.id)
    return session.scalars(select(Key).order_by(*order)).all()


def revoke_key(session: Session, key_id: str, now: float) -> Key:
    """The key, which lets nobody in any more, and its page sessions neither. Saying it twice changes nothing."""
    key = session.get(Key, key_id, with_for_update=True)
    if key is None:
        raise UnknownKey
    if key.revoked_at is None:
        key.revoked_at = now
    session.execute(delete(PageSession).where(PageSession.key_id == key_id))
    session.flush()
    return key


def note_use(session: Session, uses: Mapping[str, float]) -> None:
    """Remember when keys were last used."""
    for key_id, at in sorted(uses.items()):
        session.execute(
            update(Key)
            .where(Key.id == key_id, or_(Key.used_at.is_(None), Key.used_at < at))
            .values(used_at=at),
            execution_options={"synchronize_session": False},
        )


def open_session(session: Session, *, digest: str, key_id: str, now: float, lifetime: float) -> None:
    """A browser is signed in for so many seconds. What is over is forgotten, and of very many the oldest."""
    latest = (
        select(PageSession.created_at)
        .where(PageSession.key_id == key_id)
        .order_by(PageSession.created_at.desc())
        .offset(SESSIONS_OF_A_KEY - 2)
        .limit(1)
    )
    oldest_kept = session.scalar(latest)
    over = PageSession.expires_at <= now
    if oldest_kept is not None:
        over = or_(over, (PageSession.key_id == key_id) & (PageSession.created_at < oldest_kept))
    session.execute(delete(PageSession).where(over), execution_options={"synchronize_session": False})
    session.add(PageSession(digest=digest, key_id=key_id, created_at=now, expires_at=now + lifetime))
    session.flush()


def close_sessions(session: Session, digests: Sequence[str]) -> None:
    """A browser signs out."""
    session.execute(delete(PageSession).where(PageSession.digest.in_(digests)))
