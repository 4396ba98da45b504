"""Deliveries after their end: one of them in full, dead letters tried again, old ones forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from foreshock_server.errors import Invalid, Outdated, UnknownDelivery
from foreshock_server.models import Delivery
from foreshock_server.store import breakers
from foreshock_server.store.outbox import Parcel, parcels, place_in_line, runs_of

AT_ONCE = 1000  # rows that one call forgets


class Retried(NamedTuple):
    """What became of dead letters."""

    ids: list[str]  # they wait again
    outdated: int  # they stay: something later about the same was delivered


def get_delivery(session: Session, delivery_id: str, project: str | None = None) -> Parcel:
    """The delivery with this id, of one project's runs if one is named."""
    query = select(Delivery).where(Delivery.id == delivery_id)
    if project is not None:
        query = query.where(Delivery.run_id.in_(runs_of(project)))
    found = session.scalars(query).first()
    if found is None:
        raise UnknownDelivery
    return parcels(session, [found])[0]


def retry_one(session: Session, delivery_id: str, now: float) -> Parcel:
    """Let a message that was given up wait anew, under its old id."""
    delivery = get_delivery(session, delivery_id).delivery
    if delivery.state != "failed":
        raise Invalid(f"Only what failed is tried again; this message is {delivery.state}.", field="id")
    if not retry(session, now, Delivery.id == delivery_id).ids:
        raise Outdated
    session.expire_all()
    return get_delivery(session, delivery_id)


def retry(session: Session, now: float, *which: ColumnElement[bool]) -> Retried:
    """Let all dead letters wait anew that these conditions choose; the patience with each begins again.

    What is outdated stays: after "it is over" nobody shall read "it fires".
    """
    later = aliased(Delivery)
    behind = place_in_line(later.kind) > place_in_line(Delivery.kind)
    alone = Delivery.incident.is_(None)  # from before there were incidents: then those of one alert
    same_alert = and_(alone, later.rule == Delivery.rule, later.series_id == Delivery.series_id)
    overtaken = exists().where(
        later.run_id == Delivery.run_id,
        later.channel_id == Delivery.channel_id,
        later.state == "delivered",
        or_(
            and_(later.incident == Delivery.incident, behind),
            and_(same_alert, later.episode > Delivery.episode),
            and_(same_alert, later.episode == Delivery.episode, behind),
        ),
    )
    dead = (Delivery.state == "failed", *which)
    chosen = session.scalars(
        select(Delivery.id).where(*dead, ~overtaken).order_by(Delivery.id).with_for_update()
    ).all()
    left = session.scalars(select(Delivery.id).where(*dead, overtaken)).all()
    channels = session.scalars(
        update(Delivery)
        .where(Delivery.id.in_(chosen))
        .values(state="waiting", tries=0, next_at=now, leased_until=0.0, retried_at=now)
        .returning(Delivery.channel_id),
        execution_options={"synchronize_session": False},
    ).all()
    for channel_id in sorted(set(channels)):  # somebody believes that it works again
        breakers.forget(session, channel_id)
    return Retried(list(chosen), len(left))


def forget_before(session: Session, before: float) -> int:
    """Take away what was delivered or given up before that time; how many rows went, AT_ONCE at most."""
    old: Sequence[str] = session.scalars(
        select(Delivery.id)
        .where(Delivery.state != "waiting", Delivery.created_at < before)
        .order_by(Delivery.created_at)
        .limit(AT_ONCE)
    ).all()
    if old:
        session.execute(delete(Delivery).where(Delivery.id.in_(old)))
    return len(old)
