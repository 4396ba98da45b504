"""Transitions -> one Delivery row per channel; a worker claims a row, sends it outside any transaction, records what happened.

At least once, always with the same id: a row leaves `waiting` only when its outcome is stored, and its id is computed
from what it is about, so neither a retry, nor a restart, nor a second evaluation of the same steps makes another one.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Subquery, case, func, or_, select, update
from sqlalchemy.orm import Session

from foreshock_server.models import Breaker, Channel, Delivery, Incident, Run, Series, Transition
from foreshock_server.store import breakers
from foreshock_server.store.once import insert_once

LEASE_SECONDS = 30.0  # how long a claimed delivery is one worker's; longer than any send may take
PER_CHANNEL = 2  # sends in course to one channel, so that a slow receiver cannot hold every sender
PATIENCE_SECONDS = 24 * 3600.0  # a receiver that is down this long has lost the message
LEAST_TRIES = 8  # but a server that was itself away for a day still tries for half an hour
REFUSED_TRIES = 5  # a receiver that says no five times, over two and a half minutes (a deployment), means it
LONGEST_WAIT = 3600.0  # a Retry-After beyond this does not silence a channel
LOG_KEPT = 20  # tries that a delivery remembers

COLLECTED = "collected"  # state of what goes with a digest; see store/digests.py

_NAMESPACE = uuid.UUID("6f0cf5a6-3c1d-5a57-9d5b-6f7265736f63")
_ORDER = {"fired": 0, "escalated": 1, "repeated": 2, "digest": 2, "resolved": 3}


@dataclass(frozen=True)
class Try:
    """One try to deliver, as it is remembered."""

    at: float
    seconds: float
    status: int | None = None  # what the receiver answered, if it did
    said: str = ""  # the beginning of its answer


@dataclass(frozen=True)
class Parcel:
    """A delivery with the rows that its message is made from; a part that is gone is None."""

    delivery: Delivery
    channel: Channel | None
    transition: Transition | None
    run: Run | None
    series: Series | None
    incident: Incident | None = None


def delivery_id(transition: Transition, channel_id: str, kind: str | None = None, turn: int = 0) -> str:
    """The id under which this transition travels to this channel, on every try and every evaluation.

    `kind`, if it is another than the transition's, and `turn` tell the messages about one transition apart.
    """
    about: tuple[Any, ...] = (
        transition.run_id,
        transition.rule,
        transition.series_id,
        transition.episode,
        transition.kind,
        channel_id,
    )
    if kind not in (None, transition.kind):
        about = (*about, kind, turn)
    return str(uuid.uuid5(_NAMESPACE, json.dumps(about)))


def backoff(tries: int, chance: float) -> float:
    """Seconds until the next try: 1, 5, 25, 125, 625, 900, 900 … with a quarter of jitter; chance is in [0, 1)."""
    return min(900.0, 5.0 ** min(tries - 1, 5)) * (0.75 + 0.5 * chance)


def enqueue(session: Session, transition: Transition, now: float) -> int:
    """Put one delivery per enabled channel of the run's project into the outbox; counts the new ones."""
    project = select(Run.project).where(Run.id == transition.run_id).scalar_subquery()
    channels = session.scalars(
        select(Channel).where(Channel.enabled, or_(Channel.project.is_(None), Channel.project == project))
    ).all()
    return sum(put(session, transition, channel, now) for channel in channels)


def put(
    session: Session,
    transition: Transition,
    channel: Channel,
    now: float,
    *,
    incident: int | None = None,
    kind: str | None = None,
    turn: int = 0,
) -> bool:
    """Put one delivery into the outbox; True when it was not there. `kind`: fired, escalated, repeated or resolved, where it is not
    the transition's own."""
    kind = kind or transition.kind
    return insert_once(
        session,
        Delivery,
        {
            "id": delivery_id(transition, channel.id, kind, turn),
            "run_id": transition.run_id,
            "rule": transition.rule,
            "series_id": transition.series_id,
            "episode": transition.episode,
            "kind": kind,
            "about": None if kind == transition.kind else transition.kind,
            "incident": incident,
            "channel_id": channel.id,
            "state": COLLECTED if channel.digest_seconds else "waiting",
            "tries": 0,
            "next_at": now,
            "leased_until": 0.0,
            "created_at": now,
        },
    )


def claim(
    session: Session,
    now: float,
    lease_seconds: float = LEASE_SECONDS,
    limit: int = 8,
    per_channel: int = PER_CHANNEL,
) -> list[Delivery]:
    """Deliveries that this caller, and no other, may send until the lease ends; channels take turns.

    An incident's messages keep their order: a resolution waits until its firing was delivered or given up.
    """
    waiting = _waiting(now, per_channel)
    turn = func.row_number().over(
        partition_by=waiting.c.channel_id,
        order_by=(waiting.c.next_at, waiting.c.created_at, waiting.c.id),
    )
    due = (
        select(waiting.c.id, waiting.c.next_at, waiting.c.sends, waiting.c.room, turn.label("turn"))
        .where(
            waiting.c.line == 1,
            waiting.c.next_at <= now,
            waiting.c.leased_until <= now,
            waiting.c.quiet_until <= now,
        )
        .subquery()
    )
    chosen = (
        select(due.c.id)
        .where(due.c.turn + due.c.sends <= due.c.room)
        .order_by(due.c.turn, due.c.next_at)
        .limit(limit)
    )
    # Again, now holding the rows: another worker may have won since the choice. Skipping what it holds, nobody waits.
    locked = session.scalars(
        select(Delivery.id).where(Delivery.id.in_(chosen), *_free(now)).with_for_update(skip_locked=True)
    ).all()
    won = session.scalars(
        update(Delivery)
        .where(Delivery.id.in_(locked))
        .values(leased_until=now + lease_seconds, tries=Delivery.tries + 1)
        .returning(Delivery),
        execution_options={"synchronize_session": False, "populate_existing": True},
    ).all()
    return sorted(won, key=lambda delivery: (delivery.next_at, delivery.created_at, delivery.id))


def parcels(session: Session, deliveries: Sequence[Delivery]) -> list[Parcel]:
    """Each delivery with its channel and everything its message says, in the same order."""
    query = (
        select(Delivery, Channel, Transition, Run, Series, Incident)
        .outerjoin(Channel, Channel.id == Delivery.channel_id)
        .outerjoin(
            Transition,
            (Transition.run_id == Delivery.run_id)
            & (Transition.rule == Delivery.rule)
            & (Transition.series_id == Delivery.series_id)
            & (Transition.episode == Delivery.episode)
            & (Transition.kind == func.coalesce(Delivery.about, Delivery.kind)),
        )
        .outerjoin(Run, Run.id == Delivery.run_id)
        .outerjoin(Series, (Series.run_id == Delivery.run_id) & (Series.series_id == Delivery.series_id))
        .outerjoin(Incident, (Incident.run_id == Delivery.run_id) & (Incident.number == Delivery.incident))
        .where(Delivery.id.in_([delivery.id for delivery in deliveries]))
    )
    found = {row[0].id: Parcel(*row) for row in session.execute(query)}
    return [found[delivery.id] for delivery in deliveries]


def opening(session: Session, delivery: Delivery) -> Parcel | None:
    """The first message about the same incident that the channel has, where its receiver gave it a name."""
    if delivery.incident is None:
        return None
    query = select(Delivery).where(
        Delivery.run_id == delivery.run_id,
        Delivery.incident == delivery.incident,
        Delivery.channel_id == delivery.channel_id,
        Delivery.id != delivery.id,
        Delivery.kind != "digest",
        Delivery.receipt.is_not(None),
    )
    found = session.scalars(query.order_by(Delivery.delivered_at, Delivery.id).limit(1)).first()
    return None if found is None else parcels(session, [found])[0]


def delivered(
    session: Session, delivery: Delivery, now: float, tried: Try | None = None, receipt: str | None = None
) -> None:
    """The receiver has it. True even if the lease ended meanwhile; `error` keeps what went wrong before.

    What waits behind a channel that failed until now may go at once.
    """
    if breakers.worked(session, delivery.channel_id):
        release(session, delivery.channel_id, now)
    session.execute(
        update(Delivery)
        .where(Delivery.id == delivery.id, Delivery.state != "delivered")
        .values(
            state="delivered",
            delivered_at=now,
            leased_until=0.0,
            log=_logged(delivery, tried, None),
            receipt=receipt,
        ),
        execution_options={"synchronize_session": False},
    )


def release(session: Session, channel_id: str, now: float) -> None:
    """The channel works again: what waits for it is due."""
    waiting = (Delivery.channel_id == channel_id, Delivery.state == "waiting")
    _lock(session, *waiting)
    session.execute(
        update(Delivery).where(*waiting, Delivery.next_at > now).values(next_at=now),
        execution_options={"synchronize_session": False},
    )


def failed(
    session: Session,
    delivery: Delivery,
    now: float,
    error: str,
    *,
    retry_after: float | None = None,
    permanent: bool = False,
    refused: bool = False,
    chance: float = 0.5,
    tried: Try | None = None,
    of_channel: bool = True,
) -> bool:
    """The receiver does not have it; True when that is final.

    `permanent` gives up at once, `refused` after REFUSED_TRIES, anything else after PATIENCE_SECONDS.
    `of_channel` False: nothing was sent, so it says nothing about the channel.
    Says nothing if the lease is no longer this worker's: the other one's outcome counts.
    """
    breaker = breakers.broke(session, delivery.channel_id, now, error, chance) if of_channel else None
    wait = max(backoff(delivery.tries, chance), min(retry_after or 0.0, LONGEST_WAIT))
    age = now - (delivery.retried_at or delivery.created_at)
    worn_out = age >= PATIENCE_SECONDS and delivery.tries >= LEAST_TRIES
    final = permanent or worn_out or (refused and delivery.tries >= REFUSED_TRIES)
    waiting = (Delivery.channel_id == delivery.channel_id, Delivery.state == "waiting")
    if retry_after:  # it said so about itself, not about this message: everything for it waits
        _lock(session, *waiting)
        quiet_until = now + min(retry_after, LONGEST_WAIT)
        session.execute(
            update(Delivery).where(*waiting, Delivery.next_at < quiet_until).values(next_at=quiet_until),
            execution_options={"synchronize_session": False},
        )
    recorded = session.scalar(
        update(Delivery)
        .where(
            Delivery.id == delivery.id,
            Delivery.state == "waiting",
            Delivery.leased_until == delivery.leased_until,
        )
        .values(
            state="failed" if final else "waiting",
            error=error,
            leased_until=0.0,
            next_at=now + wait,
            log=_logged(delivery, tried, error),
        )
        .returning(Delivery.id),
        execution_options={"synchronize_session": False},
    )
    if breaker is not None and _lost(breaker, now):
        # What was never tried, since the channel was tried with others, has been waited for as long.
        begun = func.coalesce(Delivery.retried_at, Delivery.created_at)
        old = (*waiting, Delivery.leased_until <= now, begun <= now - PATIENCE_SECONDS)
        _lock(session, *old)
        session.execute(
            update(Delivery).where(*old).values(state="failed", error=f"given up with its channel: {error}"),
            execution_options={"synchronize_session": False},
        )
    return final and recorded is not None


def next_due(session: Session, now: float, per_channel: int = PER_CHANNEL) -> float | None:
    """The earliest time at which `claim` can return something; None when nothing waits."""
    if session.connection().execute(_SOMETHING_WAITS).first() is None:
        return None
    waiting = _waiting(now, per_channel)
    free: ColumnElement[float] = case(
        (waiting.c.leased_until > waiting.c.next_at, waiting.c.leased_until), else_=waiting.c.next_at
    )
    own: ColumnElement[float] = case((waiting.c.quiet_until > free, waiting.c.quiet_until), else_=free)
    full = (waiting.c.sends >= waiting.c.room) & (waiting.c.free_at > own)
    due: float | None = session.scalar(
        select(func.min(case((full, waiting.c.free_at), else_=own))).where(waiting.c.line == 1)
    )
    return due


def list_deliveries(
    session: Session,
    run_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    project: str | None = None,
    incident: int | None = None,
) -> list[Parcel]:
    """The newest deliveries first; of one run, in one state, of one project's runs, about the incidents of this number."""
    query = select(Delivery).order_by(Delivery.created_at.desc(), Delivery.id).limit(limit)
    if run_id is not None:
        query = query.where(Delivery.run_id == run_id)
    if state is not None:
        query = query.where(Delivery.state == state)
    if project is not None:
        query = query.where(Delivery.run_id.in_(runs_of(project)))
    if incident is not None:
        query = query.where(Delivery.incident == incident)
    return parcels(session, session.scalars(query).all())


def of_incident(session: Session, incident: Incident) -> list[Parcel]:
    """All that was said about it, to whom, in order."""
    query = select(Delivery).where(
        Delivery.run_id == incident.run_id, Delivery.incident == incident.number, Delivery.kind != "digest"
    )
    return parcels(session, session.scalars(query.order_by(Delivery.created_at, Delivery.id)).all())


def count_deliveries(
    session: Session, run_id: str | None = None, project: str | None = None
) -> Mapping[str, int]:
    """How many wait, were delivered, failed; and how many tries all of them took."""
    query = select(Delivery.state, func.count(), func.sum(Delivery.tries)).group_by(Delivery.state)
    if run_id is not None:
        query = query.where(Delivery.run_id == run_id)
    if project is not None:
        query = query.where(Delivery.run_id.in_(runs_of(project)))
    counts = {"waiting": 0, "delivered": 0, "failed": 0, "tries": 0}
    for state, deliveries, tries in session.execute(query):
        counts[state] = deliveries
        counts["tries"] += int(tries)
    return counts


def runs_of(project: str) -> Select[Any]:
    """The ids of a project's runs."""
    return select(Run.id).where(Run.project == project)


def _free(now: float) -> tuple[ColumnElement[bool], ...]:
    return (Delivery.state == "waiting", Delivery.next_at <= now, Delivery.leased_until <= now)


def place_in_line(kind: Any) -> ColumnElement[int]:
    """Of messages about the same alert, the order in which they are sent."""
    return case(_ORDER, value=kind, else_=len(_ORDER))


def _lost(breaker: Breaker, now: float) -> bool:
    since = now if breaker.failing_since is None else breaker.failing_since
    return now - since >= PATIENCE_SECONDS and breaker.failures >= LEAST_TRIES


def _lock(session: Session, *which: ColumnElement[bool]) -> None:
    """Two workers may be told at once: locked in one order, neither waits for the other in a circle."""
    session.execute(select(Delivery.id).where(*which).order_by(Delivery.id).with_for_update())


def _logged(delivery: Delivery, tried: Try | None, error: str | None) -> list[Any] | None:
    if tried is None:
        return delivery.log
    entry = {"try": delivery.tries, **asdict(tried), "error": error}
    return [*(delivery.log or []), entry][-LOG_KEPT:]


def _waiting(now: float, per_channel: int) -> Subquery:
    """What waits, in one pass: `line`, its place among the messages of the same incident to the same channel (1: it may go);
    `sends`, how many sends its channel has in course, and `free_at`, when the first of their leases ends;
    `room`, how many it may have, and `quiet_until`, before which it may have none."""
    sending = Delivery.leased_until > now
    alone = Delivery.incident.is_(None)  # from before there were incidents: then those of one alert
    alert = (
        Delivery.run_id,
        Delivery.channel_id,
        Delivery.incident,
        case((alone, Delivery.rule)),
        case((alone, Delivery.series_id)),
    )
    kind = place_in_line(Delivery.kind)
    order = (case((alone, Delivery.episode), else_=0), kind, Delivery.created_at)
    channel = Delivery.channel_id
    return (
        select(
            Delivery.id,
            Delivery.channel_id,
            Delivery.next_at,
            Delivery.leased_until,
            Delivery.created_at,
            func.row_number().over(partition_by=alert, order_by=order).label("line"),
            func.sum(case((sending, 1), else_=0)).over(partition_by=channel).label("sends"),
            func.min(case((sending, Delivery.leased_until))).over(partition_by=channel).label("free_at"),
            breakers.room(per_channel).label("room"),
            breakers.QUIET_UNTIL.label("quiet_until"),
        )
        .outerjoin(Breaker, Breaker.channel_id == Delivery.channel_id)
        .where(Delivery.state == "waiting")
        .subquery()
    )


# Made once: to put it together takes longer than to run it, and mostly nothing waits.
_SOMETHING_WAITS = select(Delivery.id).where(Delivery.state == "waiting").limit(1)
