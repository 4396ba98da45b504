"""Deliveries that a channel collects -> one delivery for all of them, when the first has waited for long enough."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from foreshock_server.models import Channel, Delivery
from foreshock_server.store.once import insert_once
from foreshock_server.store.outbox import COLLECTED, Parcel, parcels

DIGEST = "digest"  # kind of the delivery that stands for the others
MOST = 1000  # in one

_NAMESPACE = uuid.UUID("6f0cf5a6-3c1d-5a57-9d5b-646967657374")


def due(session: Session, now: float) -> list[str]:
    """The channels whose digest is to be sent now; those that collect no longer send what they have."""
    first = func.min(Delivery.created_at)
    query = (
        select(Channel.id)
        .join(Delivery, Delivery.channel_id == Channel.id)
        .where(Delivery.state == COLLECTED, Delivery.digest.is_(None))
        .group_by(Channel.id, Channel.digest_seconds)
        .having(first + func.coalesce(Channel.digest_seconds, 0.0) <= now)
        .order_by(Channel.id)
    )
    return list(session.scalars(query))


def make(session: Session, channel_id: str, now: float) -> bool:
    """Put what the channel has collected into the outbox as one delivery; False when somebody else did.

    Its id is computed from the first of them, so of two that do it at once one is undone by the unique key. It travels under the run of
    that one. One alone goes as what it is.
    """
    collected = session.scalars(
        select(Delivery)
        .where(Delivery.channel_id == channel_id, Delivery.state == COLLECTED, Delivery.digest.is_(None))
        .order_by(Delivery.created_at, Delivery.id)
        .limit(MOST)
        .with_for_update()
    ).all()
    if not collected:
        return False
    first = collected[0]
    if len(collected) == 1:
        first.state, first.next_at, first.created_at = "waiting", now, now
        session.flush()
        return True
    digest = str(uuid.uuid5(_NAMESPACE, f"{channel_id} {first.id}"))
    made = insert_once(
        session,
        Delivery,
        {
            "id": digest,
            **_under(first),
            "kind": DIGEST,
            "channel_id": channel_id,
            "state": "waiting",
            "tries": 0,
            "next_at": now,
            "leased_until": 0.0,
            "created_at": now,
        },
    )
    session.execute(
        update(Delivery).where(Delivery.id.in_([one.id for one in collected])).values(digest=digest),
        execution_options={"synchronize_session": False},
    )
    return made


def parts(session: Session, digest: str) -> Sequence[Parcel]:
    """What this delivery stands for, as it came; what belonged to a run that was deleted since is left out."""
    query = select(Delivery).where(Delivery.digest == digest).order_by(Delivery.created_at, Delivery.id)
    return parcels(session, session.scalars(query).all())


def hand_over(session: Session, run_id: str) -> None:
    """The run loses its rows: digests that travel under it, and stand for others too, go on under the first of these, by the same id."""
    travelling = select(Delivery.id).where(Delivery.run_id == run_id, Delivery.kind == DIGEST)
    for digest in session.scalars(travelling.order_by(Delivery.id)).all():
        others = select(Delivery).where(Delivery.digest == digest, Delivery.run_id != run_id)
        heir = session.scalars(others.order_by(Delivery.created_at, Delivery.id).limit(1)).first()
        if heir is not None:
            session.execute(
                update(Delivery).where(Delivery.id == digest).values(_under(heir)),
                execution_options={"synchronize_session": False},
            )


def _under(part: Delivery) -> dict[str, Any]:
    """What a digest says of the message that it travels as."""
    return {
        "run_id": part.run_id,
        "rule": part.rule,
        "series_id": part.series_id,
        "episode": part.episode,
        "about": part.about or part.kind,
        "incident": part.incident,
    }
