"""What somebody looks for -> the rows of the runs that fit, in their order, a page at a time behind the last one seen.

Every order is by a value and then by the id, both in one direction, so a page begins behind that pair wherever the row now stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, true, tuple_
from sqlalchemy.orm import Session

from foreshock_server.models import Alert, Run, Tag
from foreshock_server.store.runs import RUNNING

VERDICTS = ("none", "fine", "watch", "collapsing")  # from the least to the worst
ORDERS = ("updated", "created", "name", "step", "verdict", "alerts", "owner")
TEXTS = ("name", "owner")  # orders by text, the others go by numbers
FIRING, PENDING = "firing", "pending"


@dataclass(frozen=True)
class Wish:
    """Which runs; what is None or empty does not matter."""

    project: str | None = None
    words: str = ""  # each of which is in the name, the project, the id, the owner, the note or a tag
    state: str | None = None  # running | silent | finished | failed
    verdict: str | None = None
    tags: Sequence[str] = ()  # all of them
    owner: str | None = None
    created_from: float | None = None
    created_until: float | None = None
    archived: bool | None = False  # None: both
    trashed: bool = False
    ids: Sequence[str] = ()


class Place(NamedTuple):
    """Where a run stands in an order."""

    value: float | str
    id: str


def listed(
    session: Session,
    wish: Wish,
    order: str = "updated",
    *,
    down: bool = True,
    limit: int = 100,
    behind: Place | None = None,
    quiet_since: float,
) -> list[tuple[Run, Place]]:
    """The runs and their places. Whoever sent nothing since `quiet_since` is silent, if it says that it runs."""
    by = _by(order)
    value = by.label("place")
    query = _fitting(select(Run.id, value), wish, quiet_since)
    if behind is not None:
        pair, known = tuple_(by, Run.id), tuple_(behind.value, behind.id)
        query = query.where(pair < known if down else pair > known)
    ends = (value.desc(), Run.id.desc()) if down else (value.asc(), Run.id.asc())
    places = {run_id: Place(at, run_id) for run_id, at in session.execute(query.order_by(*ends).limit(limit))}
    rows = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_(places)))}
    return [(rows[run_id], place) for run_id, place in places.items()]


def counted(session: Session, wish: Wish, *, quiet_since: float) -> int:
    """How many fit."""
    return session.scalar(_fitting(select(func.count()).select_from(Run), wish, quiet_since)) or 0


def _fitting(query: Select[Any], wish: Wish, quiet_since: float) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = [
        Run.deleted_at.is_(None),
        Run.trashed_at.is_not(None) if wish.trashed else Run.trashed_at.is_(None),
    ]
    if wish.archived is not None and not wish.trashed:
        conditions.append(Run.archived_at.is_not(None) if wish.archived else Run.archived_at.is_(None))
    for column, wanted in ((Run.project, wish.project), (Run.owner, wish.owner)):
        if wanted is not None:
            conditions.append(column == wanted)
    if wish.ids:
        conditions.append(Run.id.in_(list(wish.ids)))
    if wish.created_from is not None:
        conditions.append(Run.created_at >= wish.created_from)
    if wish.created_until is not None:
        conditions.append(Run.created_at < wish.created_until)
    conditions += [_tagged(Tag.tag == tag) for tag in wish.tags]
    conditions += [_says(word) for word in wish.words.split()]
    if wish.verdict is not None:
        conditions.append(_is(wish.verdict))
    if wish.state is not None:
        conditions.append(Run.state == (RUNNING if wish.state == "silent" else wish.state))
        if wish.state in (RUNNING, "silent"):
            quiet = Run.updated_at < quiet_since
            conditions.append(quiet if wish.state == "silent" else ~quiet)
    return query.where(and_(*conditions))


def _tagged(which: ColumnElement[bool]) -> ColumnElement[bool]:
    return Run.id.in_(select(Tag.run_id).where(which))


def _says(word: str) -> ColumnElement[bool]:
    texts = (Run.name, Run.project, Run.id, Run.owner, Run.note)
    return or_(
        *(text.icontains(word, autoescape=True) for text in texts),
        _tagged(Tag.tag.icontains(word, autoescape=True)),
    )


def _alerts(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Has an alert like that."""
    return Run.id.in_(select(Alert.run_id).where(*which))


_CRITICAL = (Alert.state == FIRING, Alert.severity == "critical")
_OPEN = (Alert.state.in_((FIRING, PENDING)),)


def _is(verdict: str) -> ColumnElement[bool]:
    """The verdict of query/runs.py, which counts the same rows."""
    conditions = {
        "none": Run.points == 0,
        "fine": ~_alerts(*_OPEN),
        "watch": _alerts(*_OPEN) & ~_alerts(*_CRITICAL),
        "collapsing": _alerts(*_CRITICAL),
    }
    return conditions[verdict] & (true() if verdict == "none" else Run.points > 0)


def _by(order: str) -> ColumnElement[Any]:
    if order == "verdict":
        return case(
            (Run.points == 0, 0), (_alerts(*_CRITICAL), 3), (_alerts(*_OPEN), 2), else_=1
        )  # places in VERDICTS
    if order == "alerts":
        open_ones = select(func.count()).where(Alert.run_id == Run.id, Alert.state == FIRING)
        return open_ones.correlate(Run).scalar_subquery()
    by: dict[str, ColumnElement[Any]] = {
        "updated": Run.updated_at.expression,
        "created": Run.created_at.expression,
        "name": func.lower(Run.name),
        "step": func.coalesce(Run.last_step, -(2**63)),
        "owner": func.lower(func.coalesce(Run.owner, "")),
    }
    return by[order]
