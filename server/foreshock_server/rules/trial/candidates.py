"""Words -> runs that rules may be tried on, with the tags that they gave themselves."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Text, cast, or_, select
from sqlalchemy.orm import Session

from foreshock_server.models import Run
from foreshock_server.rules.applies import profile_of

_MOST_LOOKED_AT = 2000  # the latest that may have a tag: configurations are read for that


class Candidate(NamedTuple):
    """A run that has readings."""

    run: Run
    tags: tuple[str, ...]


def candidates(
    session: Session, project: str | None, *, search: str = "", tag: str = "", limit: int = 50
) -> list[Candidate]:
    """The latest first. `search`: part of the id, of the name, or of the project; `tag`: they have this one."""
    if "\0" in search + tag:
        return []
    query = select(Run).where(Run.deleted_at.is_(None), Run.last_step.is_not(None))
    query = query.order_by(Run.updated_at.desc(), Run.id.desc())
    if project is not None:
        query = query.where(Run.project == project)
    if search:
        parts = [one.icontains(search, autoescape=True) for one in (Run.id, Run.name, Run.project)]
        query = query.where(or_(*parts))
    if tag:
        query = query.where(cast(Run.config, Text).contains('"tags"', autoescape=True))
    query = query.limit(_MOST_LOOKED_AT if tag else limit)
    found = (
        Candidate(run, tuple(sorted(profile_of(run.project, run.config).tags)))
        for run in session.scalars(query)
    )
    return [one for one in found if not tag or tag in one.tags][:limit]
